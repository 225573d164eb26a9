//! A connection whose owner keeps to no rule.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf},
    task::JoinHandle,
    time::{Instant, timeout, timeout_at},
};

use super::{
    door::{Door, Stream},
    frames::{PREFACE, kind, settings},
};

/// How a connection was when its attacker gave up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The other side had closed it, with the error code of a GOAWAY if there was one.
    Closed(Option<u32>),
    /// It was open and all was sent.
    Open,
    /// It was open, and the other side had stopped reading.
    Stalled,
}

impl Ending {
    /// Whether the other side closed it.
    pub fn is_closed(self) -> bool {
        matches!(self, Self::Closed(_))
    }
}

/// An HTTP/2 connection, opened as far as its preface.
pub struct Raw {
    write: WriteHalf<Box<dyn Stream>>,
    reading: Reading,
}

enum Reading {
    Not(ReadHalf<Box<dyn Stream>>),
    Until(JoinHandle<Option<u32>>),
}

impl Raw {
    /// Connects, sends preface and SETTINGS, and reads whatever comes, acknowledging nothing.
    ///
    /// # Errors
    ///
    /// If it is not let in.
    pub async fn open(door: &Door, pairs: &[(u16, u32)]) -> io::Result<Self> {
        let mut raw = Self::open_deaf(door, pairs).await?;
        raw.reading = match raw.reading {
            Reading::Not(read) => Reading::Until(tokio::spawn(read_frames(read))),
            reading => reading,
        };
        Ok(raw)
    }

    /// As [`Raw::open`], but never reads.
    ///
    /// # Errors
    ///
    /// If it is not let in.
    pub async fn open_deaf(door: &Door, pairs: &[(u16, u32)]) -> io::Result<Self> {
        Self::over(door.connect().await?, pairs).await
    }

    /// As [`Raw::open_deaf`], over a connection that is there.
    ///
    /// # Errors
    ///
    /// If the other side has closed it.
    pub async fn over(stream: Box<dyn Stream>, pairs: &[(u16, u32)]) -> io::Result<Self> {
        let (read, write) = tokio::io::split(stream);
        let mut raw = Self {
            write,
            reading: Reading::Not(read),
        };
        raw.send(PREFACE).await?;
        raw.send(&settings(pairs)).await?;
        Ok(raw)
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    ///
    /// If the other side has closed the connection.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write.write_all(bytes).await?;
        self.write.flush().await
    }

    /// Sends one piece after the other until the other side closes, stops reading for `patience`, or
    /// nothing is left. Waits as long for the end then.
    pub async fn flood(
        mut self,
        pieces: impl IntoIterator<Item = Vec<u8>>,
        patience: Duration,
    ) -> Ending {
        for piece in pieces {
            match timeout(patience, self.send(&piece)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Ending::Closed(self.goaway().await),
                Err(_) => return Ending::Stalled,
            }
        }
        self.ending(patience).await
    }

    /// Waits for the other side to close.
    pub async fn ending(self, patience: Duration) -> Ending {
        match self.reading {
            Reading::Not(mut read) => {
                let mut sink = Vec::new();
                match timeout(patience, read.read_to_end(&mut sink)).await {
                    Ok(_) => Ending::Closed(None),
                    Err(_) => Ending::Open,
                }
            }
            Reading::Until(frames) => match timeout(patience, frames).await {
                Ok(goaway) => Ending::Closed(goaway.unwrap_or_default()),
                Err(_) => Ending::Open,
            },
        }
    }

    async fn goaway(self) -> Option<u32> {
        match self.reading {
            Reading::Not(_) => None,
            Reading::Until(frames) => {
                let ended = timeout(Duration::from_secs(5), frames).await;
                ended.ok().and_then(Result::ok).flatten()
            }
        }
    }
}

/// Reads to the end; returns the error code of the last GOAWAY.
async fn read_frames(mut read: ReadHalf<Box<dyn Stream>>) -> Option<u32> {
    let mut goaway = None;
    let mut head = [0; 9];
    while read.read_exact(&mut head).await.is_ok() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        if read.read_exact(&mut payload).await.is_err() {
            break;
        }
        if head[3] == kind::GOAWAY
            && let Some(code) = payload.get(4..8)
        {
            goaway = Some(u32::from_be_bytes([code[0], code[1], code[2], code[3]]));
        }
    }
    goaway
}

/// Whether the other side closes a connection before `until`; and what it sent before.
pub async fn closes(stream: &mut (impl Stream + ?Sized), until: Instant) -> Option<Vec<u8>> {
    let mut seen = Vec::new();
    let read = timeout_at(until, stream.read_to_end(&mut seen)).await;
    read.is_ok().then_some(seen)
}
