//! What is measured: the proxies, how each is started, alone or as a pair with mutual TLS between.

mod envoy;
mod haproxy;
mod nghttpx;
mod nginx;
mod place;
mod weft;

use std::{net::SocketAddr, path::Path};

pub use place::{Place, Running};
pub use weft::Control;

/// A proxy, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// No proxy.
    Direct,
    /// Our sidecar.
    Weft,
    /// What the ratios are to.
    Envoy,
    /// HAProxy.
    Haproxy,
    /// nginx.
    Nginx,
    /// The proxy of nghttp2.
    Nghttpx,
    /// `hyper_proxy.rs`.
    Hyper,
    /// `copy_proxy.rs`: one hop only.
    Copy,
}

impl Peer {
    /// All, in the report's order.
    pub const ALL: [Self; 8] = [
        Self::Direct,
        Self::Weft,
        Self::Envoy,
        Self::Haproxy,
        Self::Nginx,
        Self::Nghttpx,
        Self::Hyper,
        Self::Copy,
    ];

    /// Its name, also of its processes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Weft => "weft",
            Self::Envoy => "envoy",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
            Self::Nghttpx => "nghttpx",
            Self::Hyper => "bare-hyper",
            Self::Copy => "byte-copy",
        }
    }
}

/// How many proxies stand between client and server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// None.
    Direct,
    /// One, without TLS.
    Hop,
    /// Two, mutual TLS between them.
    Pair,
}

impl Layout {
    /// Its name in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Hop => "hop",
            Self::Pair => "pair",
        }
    }
}

/// One thing that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The proxy.
    pub peer: Peer,
    /// How it stands.
    pub layout: Layout,
}

/// One proxy of a layout.
#[derive(Debug)]
struct Stand<'a> {
    name: &'a str,
    listen: SocketAddr,
    upstream: SocketAddr,
    tls: Option<Side>,
    certificates: &'a Path,
    folder: &'a Path,
}

/// Which side of a proxy has mutual TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Downstream,
    Upstream,
}

impl Stand<'_> {
    fn certificate(&self, file: &str) -> String {
        self.certificates.join(file).display().to_string()
    }

    /// Writes a configuration file and returns its path.
    fn write(&self, extension: &str, text: &str) -> anyhow::Result<String> {
        let path = self.folder.join(format!("{}.{extension}", self.name));
        std::fs::write(&path, text)?;
        Ok(path.display().to_string())
    }
}

fn copy(stand: &Stand<'_>) -> Vec<String> {
    vec![
        "copy".to_owned(),
        format!("--listen={}", stand.listen),
        format!("--upstream={}", stand.upstream),
    ]
}

fn hyper(stand: &Stand<'_>) -> Vec<String> {
    let mut args = vec![
        "hyper".to_owned(),
        format!("--listen={}", stand.listen),
        format!("--upstream={}", stand.upstream),
    ];
    if let Some(side) = stand.tls {
        let side = match side {
            Side::Downstream => "downstream",
            Side::Upstream => "upstream",
        };
        args.push(format!("--tls={side}"));
        args.push(format!("--certificates={}", stand.certificates.display()));
    }
    args
}
