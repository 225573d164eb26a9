//! However long a stream is, the sidecars keep only a window of it.

use std::time::Duration;

use bytes::Bytes;
use tonic::Status;

use crate::{
    workload::{Client, PIECE, pause},
    world::{LONG, World},
};

const MEBIBYTE: u64 = 1 << 20;
/// 100 MiB.
const PIECES: usize = 1600;
const HOUR: Duration = Duration::from_secs(3600);
/// A reader that takes this long for a piece takes 2 s and more for all of them.
const SLOW: Duration = Duration::from_millis(1);

/// Reads a long answer and returns how much came.
async fn read(mut client: Client, millis: u64) -> Result<u64, Status> {
    let (mut pieces, mut bytes) = (client.produce(PIECES).await?, 0);
    while let Some(piece) = pieces.message().await? {
        bytes += piece.payload.len() as u64;
        pause(millis).await;
    }
    Ok(bytes)
}

async fn write(mut client: Client, pause: Duration) -> Result<u64, Status> {
    client.collect(PIECES, pause).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_of_100_mib_pass_in_constant_memory_whoever_is_slow() {
    let world = World::start(HOUR).await;
    let [fast, slow, up, slowly_up] = [
        world.client().await,
        world.client().await,
        world.client().await,
        world.client().await,
    ];
    let before = [&world.caller, &world.server].map(|sidecar| sidecar.peak());
    let passed = tokio::time::timeout(3 * LONG, async {
        tokio::join!(
            read(fast, 0),
            read(slow, SLOW.as_millis() as u64),
            write(up, Duration::ZERO),
            write(slowly_up, SLOW),
        )
    });
    let (fast, slow, up, slowly_up) = passed.await.expect("all streams end");
    for bytes in [fast, slow, up, slowly_up] {
        assert_eq!(bytes.unwrap(), (PIECES * PIECE.len()) as u64);
    }
    for (sidecar, before) in [&world.caller, &world.server].into_iter().zip(before) {
        let grown = sidecar.peak() - before;
        assert!(
            grown < 16 * MEBIBYTE,
            "{} grew by {grown} bytes",
            sidecar.pid()
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_16_mib_pass_both_ways() {
    let world = World::start(HOUR).await;
    let mut client = world.client().await;
    let message: Vec<u8> = (0..16 * MEBIBYTE).map(|at| (at % 251) as u8).collect();
    let message = Bytes::from(message);
    let before = [&world.caller, &world.server].map(|sidecar| sidecar.peak());
    let reply = client.echo(message.clone()).await.unwrap().into_inner();
    assert!(reply.payload == message, "it came back changed");
    for (sidecar, before) in [&world.caller, &world.server].into_iter().zip(before) {
        let grown = sidecar.peak() - before;
        assert!(
            grown < 16 * MEBIBYTE,
            "{} grew by {grown} bytes",
            sidecar.pid()
        );
    }
}
