//! How the rest of the process talks to the thread of the data plane.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use mio::{Poll, Waker};
use tokio::sync::{oneshot, watch};
use weft_identity::Identity;
use weft_model::dataplane::Snapshot;
use weft_policy::Options;

use super::{
    core::Core,
    kind::Side,
    turn::{Turns, waker_token},
};

/// How long the thread may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// Commands that may wait. They are rare and obeyed within a turn: so many mean that the thread hangs.
const COMMANDS: usize = 1024;

/// What the thread is told.
pub(crate) enum Command {
    /// This is who we are: mutual TLS can begin.
    Identify(Arc<Identity>),
    /// Decide by this from the next request on.
    Configure(Arc<Snapshot>),
    /// Accept connections.
    Listen(Side, TcpListener),
    /// Stop accepting, say GOAWAY, and tell when the last connection has ended.
    Drain(Side, oneshot::Sender<()>),
    /// End what is still open.
    Cut(Side),
    /// Whatever else somebody wants to know.
    Ask(Box<dyn FnOnce(&mut Core) + Send>),
    /// End the thread.
    Stop,
}

/// The running thread. Dropping it ends the thread and every connection.
pub(crate) struct Plane {
    commands: mpsc::SyncSender<Command>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
    ended: watch::Receiver<()>,
}

impl Plane {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system has no more file descriptors or threads.
    pub(crate) fn start(app: SocketAddr, options: &Options) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), waker_token())?;
        let (commands, obeyed) = mpsc::sync_channel(COMMANDS);
        let core = Core::new(poll.registry().try_clone()?, app, options);
        let turns = Turns::new(poll, core, obeyed);
        let dispatch = tracing::dispatcher::get_default(Clone::clone);
        // Dropped with the thread, however that ends.
        let (alive, ended) = watch::channel(());
        let thread = std::thread::Builder::new()
            .name("data-plane".to_owned())
            .spawn(move || {
                let _alive = alive;
                let run = || turns.run();
                if let Err(error) = tracing::dispatcher::with_default(&dispatch, run) {
                    tracing::error!(%error, "the data plane cannot wait for connections");
                }
            })?;
        Ok(Self {
            commands,
            waker,
            thread: Some(thread),
            ended,
        })
    }

    /// Waits until the thread has ended, which it does not by itself.
    pub(crate) async fn ended(&self) {
        let mut ended = self.ended.clone();
        while ended.changed().await.is_ok() {}
    }

    /// Tells the thread something. It is obeyed in the thread's next turn.
    pub(crate) fn tell(&self, command: Command) {
        match self.commands.try_send(command) {
            Ok(()) => _ = self.waker.wake(),
            Err(mpsc::TrySendError::Full(_)) => {
                tracing::error!(waiting = COMMANDS, "the data plane obeys no commands");
            }
            // The thread is gone only after an error that it has logged.
            Err(mpsc::TrySendError::Disconnected(_)) => {}
        }
    }

    /// Asks the thread something and waits for the answer: a turn, mostly microseconds. `None` if it
    /// does not come.
    pub(crate) fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Core) -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, answered) = mpsc::sync_channel(1);
        self.tell(Command::Ask(Box::new(move |core| {
            // Whoever asked may have stopped waiting.
            let _ = answer.send(question(core));
        })));
        answered.recv_timeout(ANSWER_TIMEOUT).ok()
    }
}

impl std::fmt::Debug for Plane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plane").finish_non_exhaustive()
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.tell(Command::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
