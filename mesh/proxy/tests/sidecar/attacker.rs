//! What it takes to attack a sidecar: raw HTTP/2 at either of its listeners, and a bystander beside it.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use rustls::ClientConfig;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpSocket,
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use weft_identity::{Expected, client_config, server_name};

use crate::{
    echo::Echo,
    support::{AUTHORITY, Mesh, Running, eventually},
};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const ACK: u8 = 1;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// The stream that a client opens after `before` others.
pub fn stream(before: usize) -> u32 {
    before as u32 * 2 + 1
}

/// A header block of literals, none of which is to be remembered.
pub fn block(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in pairs {
        bytes.push(0);
        for text in [name, value] {
            assert!(text.len() < 127, "the length is one byte");
            bytes.push(text.len() as u8);
            bytes.extend(text.as_bytes());
        }
    }
    bytes
}

/// The header block of a call that is answered.
pub fn request(method: &str) -> Vec<u8> {
    block(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", AUTHORITY),
        (":path", &format!("/test.Echo/{method}")),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ])
}

pub fn open(number: usize, flags: u8) -> Vec<u8> {
    frame(
        HEADERS,
        END_HEADERS | flags,
        stream(number),
        &request("Unary"),
    )
}

/// A message that says `text`, less than 120 bytes.
pub fn message(text: &str) -> Vec<u8> {
    let length = text.len() as u8;
    let mut bytes = vec![0, 0, 0, 0, length + 2, 0x0a, length];
    bytes.extend(text.as_bytes());
    bytes
}

/// A call of `method` with `text`.
pub fn call(number: usize, method: &str, text: &str) -> Vec<u8> {
    let mut bytes = frame(HEADERS, END_HEADERS, stream(number), &request(method));
    bytes.extend(frame(DATA, END_STREAM, stream(number), &message(text)));
    bytes
}

/// Preface, SETTINGS, and the acknowledgement of the sidecar's.
pub fn greeting(settings: &[(u16, u32)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (name, value) in settings {
        payload.extend(name.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    let settings = [
        frame(SETTINGS, 0, 0, &payload),
        frame(SETTINGS, ACK, 0, &[]),
    ];
    [PREFACE, &settings.concat()].concat()
}

pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A listener of a sidecar, and what a caller that is let in speaks TLS with.
#[derive(Clone)]
pub struct Door {
    pub address: SocketAddr,
    pub tls: Option<Arc<ClientConfig>>,
    /// Where the attacker is.
    pub from: IpAddr,
}

impl Door {
    /// Mutual TLS, entered as a caller that a rule allows.
    pub fn inbound(mesh: &Mesh, server: &Running) -> Self {
        let identity = mesh.identity("orders");
        Self {
            address: server.inbound,
            tls: Some(client_config(&identity, Expected::Any).unwrap()),
            from: [127, 0, 0, 1].into(),
        }
    }

    /// Cleartext on loopback.
    pub fn outbound(caller: &Running) -> Self {
        Self {
            address: caller.outbound,
            tls: None,
            from: [127, 0, 0, 1].into(),
        }
    }

    /// TCP alone, and the address the sidecar sees.
    pub async fn knock(&self) -> (tokio::net::TcpStream, String) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((self.from, 0).into()).unwrap();
        let tcp = socket.connect(self.address).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        let own = tcp.local_addr().unwrap().to_string();
        (tcp, own)
    }

    /// As a caller that is let in, without a word of HTTP/2.
    pub async fn connect(&self) -> Attacker {
        let (tcp, own) = self.knock().await;
        let stream: Box<dyn Stream> = match &self.tls {
            None => Box::new(tcp),
            Some(tls) => {
                let name = server_name(self.address.ip());
                let tls = TlsConnector::from(Arc::clone(tls)).connect(name, tcp);
                Box::new(tls.await.unwrap())
            }
        };
        Attacker { stream, own }
    }

    /// As [`Door::connect`], greeted.
    pub async fn enter(&self, settings: &[(u16, u32)]) -> Attacker {
        let mut attacker = self.connect().await;
        attacker.send(&greeting(settings)).await.unwrap();
        attacker
    }
}

/// How the sidecar ended a connection: code and reason of its GOAWAY.
pub type Ending = (u32, String);

/// A connection whose owner keeps to no rule.
pub struct Attacker {
    pub stream: Box<dyn Stream>,
    /// As the sidecar logs it.
    pub own: String,
}

impl Attacker {
    pub async fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// Sends until the sidecar closes. Reads what comes meanwhile.
    pub async fn flood(self, pieces: impl IntoIterator<Item = Vec<u8>>) -> Ending {
        let (mut read, mut write) = tokio::io::split(self.stream);
        let reading = tokio::spawn(async move {
            let mut goaway = None;
            while let Some((kind, payload)) = next_frame(&mut read).await {
                if kind == GOAWAY {
                    let code = u32::from_be_bytes(payload[4..8].try_into().unwrap());
                    goaway = Some((code, String::from_utf8(payload[8..].to_vec()).unwrap()));
                }
            }
            goaway
        });
        let flooding = async {
            for piece in pieces {
                if reading.is_finished()
                    || write.write_all(&piece).await.is_err()
                    || write.flush().await.is_err()
                {
                    break;
                }
            }
            reading.await.unwrap()
        };
        let ended = timeout(Duration::from_secs(10), flooding).await;
        let goaway = ended.expect("the connection is kept open");
        goaway.expect("the connection is closed without a word")
    }

    /// The code of the next reset, and its stream.
    pub async fn next_reset(&mut self) -> (u32, u32) {
        let reset = async {
            let mut head = [0; 9];
            loop {
                self.stream.read_exact(&mut head).await.unwrap();
                let [_, a, b, c, d] = *head.last_chunk::<5>().unwrap();
                let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
                self.stream.read_exact(&mut payload).await.unwrap();
                if head[3] == RST_STREAM {
                    let code = u32::from_be_bytes(payload[..].try_into().unwrap());
                    return (u32::from_be_bytes([a, b, c, d]), code);
                }
            }
        };
        timeout(Duration::from_secs(5), reset)
            .await
            .expect("a reset comes")
    }

    /// Answers PINGs and takes whatever comes but gives no window, until the sidecar closes.
    pub async fn linger(&mut self) -> Option<Ending> {
        let mut goaway = None;
        while let Some((kind, payload)) = next_frame(&mut self.stream).await {
            match kind {
                PING => _ = self.send(&frame(PING, ACK, 0, &payload)).await,
                GOAWAY => {
                    let code = u32::from_be_bytes(payload[4..8].try_into().unwrap());
                    goaway = Some((code, String::from_utf8(payload[8..].to_vec()).unwrap()));
                }
                _ => {}
            }
        }
        goaway
    }
}

/// `None` at the end of the connection.
async fn next_frame(read: &mut (impl AsyncRead + Unpin)) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 9];
    read.read_exact(&mut head).await.ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; length as usize];
    read.read_exact(&mut payload).await.ok()?;
    Some((head[3], payload))
}

/// A workload behind a sidecar, and a sidecar that calls it.
pub struct Scene {
    pub mesh: Mesh,
    pub echo: Echo,
    pub server: Running,
    pub caller: Running,
}

impl Scene {
    pub async fn new(trust_domain: &str) -> Self {
        let mesh = Mesh::new(trust_domain);
        let (echo, server, _) = mesh.echo().await;
        let caller = mesh.caller("orders", &[server.inbound]).await;
        Self {
            mesh,
            echo,
            server,
            caller,
        }
    }

    pub fn inbound(&self) -> Door {
        Door::inbound(&self.mesh, &self.server)
    }

    pub fn outbound(&self) -> Door {
        Door::outbound(&self.caller)
    }

    /// The sidecar of each door.
    pub fn doors(&self) -> [(Door, &Running); 2] {
        [
            (self.inbound(), &self.server),
            (self.outbound(), &self.caller),
        ]
    }

    /// Somebody who calls through both sidecars meanwhile.
    pub async fn bystander(&self) -> Bystander {
        let mut lasting = self.caller.client().await;
        lasting.unary("hello").await.unwrap();
        let (rounds, stop) = (
            Arc::new(AtomicUsize::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let outbound = self.caller.outbound;
        let (counted, stopped) = (Arc::clone(&rounds), Arc::clone(&stop));
        let calling = tokio::spawn(async move {
            while !stopped.load(Ordering::SeqCst) {
                let round = async {
                    assert_eq!(
                        lasting
                            .unary("on a lasting connection")
                            .await
                            .unwrap()
                            .len(),
                        23
                    );
                    let mut new = crate::support::client_of(outbound).await;
                    assert_eq!(new.unary("on a new one").await.unwrap().len(), 12);
                };
                let answered = timeout(Duration::from_secs(5), round).await;
                answered.expect("the bystander is answered");
                counted.fetch_add(1, Ordering::SeqCst);
                // The machine is for the attack.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        Bystander {
            rounds,
            stop,
            calling,
        }
    }
}

/// Calls without a pause, on a connection that lasts and on a new one each time.
pub struct Bystander {
    rounds: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    calling: JoinHandle<()>,
}

impl Bystander {
    /// Waits until it has been answered again, on both connections.
    pub async fn is_answered(&self) {
        let goal = self.rounds.load(Ordering::SeqCst) + 2;
        let is_answered =
            || self.rounds.load(Ordering::SeqCst) >= goal || self.calling.is_finished();
        eventually("the bystander is answered", is_answered).await;
    }

    /// Ends the calls, each of which was answered.
    pub async fn was_unharmed(self) {
        self.is_answered().await;
        self.stop.store(true, Ordering::SeqCst);
        self.calling.await.expect("the bystander was not harmed");
    }
}
