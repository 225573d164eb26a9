//! A workload that says nothing for long is left alone.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::support::Mesh;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const END_HEADERS: u8 = 4;
const END_STREAM_AND_HEADERS: u8 = 5;

/// `:status: 200` and `content-type: application/grpc`, in HPACK.
const ANSWER: &[u8] = b"\x88\x0f\x10\x10application/grpc";
/// `grpc-status: 0`.
const TRAILERS: &[u8] = b"\0\x0bgrpc-status\x010";

/// More than proxies wait before they ask a silent peer whether it is there.
const QUIET: Duration = Duration::from_secs(6);

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Reads a frame: its kind, flags and stream.
async fn read(tcp: &mut TcpStream) -> io::Result<(u8, u8, u32)> {
    let mut head = [0; 9];
    tcp.read_exact(&mut head).await?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; length as usize];
    tcp.read_exact(&mut payload).await?;
    let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
    Ok((head[3], head[4], stream))
}

/// Answers a request with headers, and nothing for long. Counts what a gRPC server takes for an attack.
async fn serve(mut tcp: TcpStream, pings: Arc<AtomicUsize>) -> io::Result<()> {
    let mut preface = [0; 24];
    tcp.read_exact(&mut preface).await?;
    tcp.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
    let stream = loop {
        match read(&mut tcp).await? {
            (SETTINGS, 0, _) => tcp.write_all(&frame(SETTINGS, 1, 0, &[])).await?,
            (HEADERS, _, stream) => break stream,
            _ => {}
        }
    };
    tcp.write_all(&frame(HEADERS, END_HEADERS, stream, ANSWER))
        .await?;
    let counted = async {
        while let Ok((kind, ..)) = read(&mut tcp).await {
            pings.fetch_add(usize::from(kind == PING), Ordering::SeqCst);
        }
    };
    let _ = timeout(QUIET, counted).await;
    let mut rest = frame(DATA, 0, stream, b"\0\0\0\0\0");
    rest.extend(frame(HEADERS, END_STREAM_AND_HEADERS, stream, TRAILERS));
    tcp.write_all(&rest).await?;
    tcp.read_to_end(&mut Vec::new()).await.map(drop)
}

#[tokio::test]
async fn a_workload_whose_stream_is_quiet_gets_no_pings() {
    let mesh = Mesh::new("quiet.local");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let app = listener.local_addr().unwrap();
    let pings = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&pings);
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            tokio::spawn(serve(tcp, Arc::clone(&counted)));
        }
    });
    let server = mesh.sidecar("echo", app, mesh.allowing(&["orders"])).await;
    let caller = mesh.caller("orders", &[server.inbound]).await;
    let mut ticks = caller.client().await.ticks("quiet").await.unwrap();
    assert_eq!(ticks.message().await.unwrap().as_deref(), Some(""));
    assert_eq!(ticks.message().await.unwrap(), None);
    assert_eq!(pings.load(Ordering::SeqCst), 0);
}
