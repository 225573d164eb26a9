//! The three kinds of listeners a mesh has.

use std::{io, net::SocketAddr, sync::Arc};

use anyhow::{Context, Result, ensure};
use contracts::sockshop::catalogue::v1::{
    BatchGetVariantsRequest, ListProductsRequest, catalogue_service_client::CatalogueServiceClient,
};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;
use tonic::{
    Code,
    transport::{Channel, Endpoint},
};
use weft_identity::server_name;

use super::certificates;
use crate::Shop;

/// Bytes in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A listener of the running shop and the process it belongs to.
#[derive(Clone, Debug)]
pub struct Door {
    /// The process.
    pub process: &'static str,
    /// Its process id.
    pub pid: u64,
    /// Where it listens.
    pub address: SocketAddr,
    /// What a caller that is let in speaks TLS with.
    tls: Option<Arc<ClientConfig>>,
    /// `:authority` and `:path` of a call that is answered.
    target: [&'static str; 2],
}

impl Door {
    /// What everybody can reach: cleartext HTTP/1.1 and HTTP/2.
    ///
    /// # Errors
    ///
    /// If the shop has no edge.
    pub fn edge(shop: &Shop) -> Result<Self> {
        let target = [
            "shop.test",
            "/sockshop.catalogue.v1.CatalogueService/ListProducts",
        ];
        Self::new(shop, "edge", "listen", None, target)
    }

    /// What workloads can reach: mutual TLS. This one enters as the edge.
    ///
    /// # Errors
    ///
    /// If the shop has no such sidecar.
    pub fn inbound(shop: &Shop) -> Result<Self> {
        let tls = Some(certificates::valid(shop, "edge")?);
        let target = [
            "catalogue:7070",
            "/sockshop.catalogue.v1.CatalogueService/ListProducts",
        ];
        Self::new(shop, "catalogue-1-sidecar", "inbound", tls, target)
    }

    /// What the workload beside the sidecar can reach: cleartext HTTP/2 on loopback.
    ///
    /// # Errors
    ///
    /// If the shop has no such sidecar.
    pub fn outbound(shop: &Shop) -> Result<Self> {
        let target = [
            "catalogue:7070",
            "/sockshop.catalogue.v1.CatalogueService/BatchGetVariants",
        ];
        Self::new(shop, "orders-1-sidecar", "outbound", None, target)
    }

    /// All three.
    ///
    /// # Errors
    ///
    /// As for each of them.
    pub fn all(shop: &Shop) -> Result<[Self; 3]> {
        Ok([
            Self::edge(shop)?,
            Self::inbound(shop)?,
            Self::outbound(shop)?,
        ])
    }

    fn new(
        shop: &Shop,
        process: &'static str,
        port: &str,
        tls: Option<Arc<ClientConfig>>,
        target: [&'static str; 2],
    ) -> Result<Self> {
        let state = shop.process(process)?;
        let address = state["ports"][port].as_str().context("no such port")?;
        Ok(Self {
            process,
            pid: state["pid"].as_u64().context("no pid")?,
            address: address.parse()?,
            tls,
            target,
        })
    }

    /// Connects as a caller that is let in.
    ///
    /// # Errors
    ///
    /// If it is not.
    pub async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        match &self.tls {
            None => Ok(Box::new(connect_tcp(self.address).await?)),
            Some(tls) => connect_tls(self.address, tls.clone()).await,
        }
    }

    /// The headers of a call that is answered.
    pub fn headers(&self) -> Vec<(&'static str, &'static str)> {
        let [authority, path] = self.target;
        vec![
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", authority),
            (":path", path),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ]
    }

    /// A client with a connection of its own.
    ///
    /// # Errors
    ///
    /// If it is not let in.
    pub async fn client(&self) -> Result<CatalogueServiceClient<Channel>> {
        let door = self.clone();
        let connector = tower::service_fn(move |_: http::Uri| {
            let door = door.clone();
            async move { door.connect().await.map(TokioIo::new) }
        });
        let endpoint = Endpoint::from_shared(format!("http://{}", self.target[0]))?;
        let channel = endpoint.connect_with_connector(connector).await?;
        Ok(CatalogueServiceClient::new(channel))
    }

    /// One call that a well-behaved client makes.
    ///
    /// # Errors
    ///
    /// If not the service answered it.
    pub async fn call(&self, client: &mut CatalogueServiceClient<Channel>) -> Result<()> {
        if self.target[1].ends_with("/ListProducts") {
            let request = ListProductsRequest {
                page_size: 2,
                ..Default::default()
            };
            let page = client.list_products(request).await?.into_inner();
            ensure!(page.products.len() == 2, "{page:?}");
            return Ok(());
        }
        let request = BatchGetVariantsRequest {
            names: vec!["products/none/variants/none".into()],
        };
        match client.batch_get_variants(request).await {
            Err(status) if status.code() == Code::NotFound => Ok(()),
            other => Err(anyhow::anyhow!("expected NOT_FOUND: {other:?}")),
        }
    }
}

/// A TLS connection as `config` says.
///
/// # Errors
///
/// If the handshake fails on this side. A server's refusal of our certificate comes with the first read.
pub async fn connect_tls(
    address: SocketAddr,
    config: Arc<ClientConfig>,
) -> io::Result<Box<dyn Stream>> {
    let tcp = connect_tcp(address).await?;
    let name = server_name(address.ip());
    Ok(Box::new(
        TlsConnector::from(config).connect(name, tcp).await?,
    ))
}

/// As gRPC clients connect: small frames are sent at once.
async fn connect_tcp(address: SocketAddr) -> io::Result<TcpStream> {
    let tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    Ok(tcp)
}
