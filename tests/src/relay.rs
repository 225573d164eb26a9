//! A TCP relay that counts what passes.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::AbortHandle,
};

/// Relays until dropped.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    counts: Arc<[AtomicU64; 2]>,
    task: AbortHandle,
}

impl Relay {
    /// Relays every connection to `target`.
    ///
    /// # Errors
    ///
    /// If no port is free.
    pub async fn start(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let counts = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
        let counting = Arc::clone(&counts);
        let task = tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let counts = Arc::clone(&counting);
                tokio::spawn(async move {
                    let Ok(mut far) = TcpStream::connect(target).await else {
                        return;
                    };
                    let (from_near, to_near) = near.split();
                    let (from_far, to_far) = far.split();
                    // Who resets its connection at the end has been relayed all the same.
                    let _ = tokio::try_join!(
                        pass(from_near, to_far, &counts[0]),
                        pass(from_far, to_near, &counts[1]),
                    );
                });
            }
        });
        Ok(Self {
            address,
            counts,
            task: task.abort_handle(),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many bytes went to the target and came back.
    pub fn bytes(&self) -> (u64, u64) {
        let [there, back] = &*self.counts;
        (there.load(Ordering::Relaxed), back.load(Ordering::Relaxed))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    count: &AtomicU64,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        count.fetch_add(read as u64, Ordering::Relaxed);
        to.write_all(&buffer[..read]).await?;
    }
}
