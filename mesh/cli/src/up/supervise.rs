//! Keeps one process running: starts it, starts it again when it dies, drains it when asked.

use std::{
    fs::OpenOptions,
    os::unix::fs::OpenOptionsExt as _,
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use tokio::{
    process::{Child, ChildStdin, Command},
    sync::{mpsc, watch},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{board::Board, plan::Spec};
use crate::{data::unix_seconds, system};

/// A process that lived shorter than this failed to start.
const QUICK: Duration = Duration::from_secs(10);
/// So many failures to start in a row end `weft up` while it is starting.
const MAX_QUICK_FAILURES: u32 = 4;
const FIRST_BACKOFF: Duration = Duration::from_millis(200);
const MAX_BACKOFF: Duration = Duration::from_secs(10);
/// How long a one-time token is good for: long enough for a slow start.
const TOKEN_TTL: Duration = Duration::from_secs(300);

/// What a supervisor reports.
#[derive(Debug)]
pub enum Event {
    /// The process died and is started again after the pause.
    Restarts {
        /// Its name.
        name: String,
        /// How it ended.
        why: String,
        /// When it is started again.
        pause: Duration,
    },
    /// It failed to start too often while the mesh was starting. Its supervisor gave up.
    GaveUp {
        /// Its name.
        name: String,
        /// How it ended.
        why: String,
    },
}

/// What all supervisors share.
#[derive(Clone, Debug)]
pub struct Context {
    /// The state of all processes.
    pub board: Arc<Board>,
    /// The key that one-time tokens are made with.
    pub token_key: Arc<Vec<u8>>,
    /// Where to report to.
    pub events: mpsc::Sender<Event>,
    /// Cancelled once everything has been ready: from then on no supervisor gives up.
    pub started: CancellationToken,
    /// Cancelled when nothing may take longer.
    pub kill: CancellationToken,
    /// How long a process may drain.
    pub grace: Duration,
}

/// Supervises a process until `stop` is cancelled and the process has ended. While `hold` is true the
/// process is not started, and drained if it runs.
pub async fn supervise(
    spec: Spec,
    context: Context,
    mut hold: watch::Receiver<bool>,
    stop: CancellationToken,
) {
    let mut failures = 0;
    loop {
        tokio::select! {
            freed = hold.wait_for(|held| !held) => if freed.is_err() { return },
            () = stop.cancelled() => return,
        }
        context
            .board
            .change(&spec.name, |process| process.held = false);
        let began = Instant::now();
        let why = match start(&spec, &context) {
            Err(error) => format!("cannot be started: {error:#}"),
            // `wait` would close an input that the child still had.
            Ok((mut child, _input)) => tokio::select! {
                status = child.wait() => describe(status),
                () = stop.cancelled() => {
                    drain(&mut child, &context).await;
                    context.board.change(&spec.name, ended);
                    return;
                }
                held = is_held(&mut hold) => {
                    drain(&mut child, &context).await;
                    context.board.change(&spec.name, |process| {
                        ended(process);
                        process.held = held;
                    });
                    failures = 0;
                    continue;
                }
            },
        };
        context.board.change(&spec.name, ended);
        failures = if began.elapsed() < QUICK {
            failures + 1
        } else {
            1
        };
        let name = spec.name.clone();
        if failures >= MAX_QUICK_FAILURES && !context.started.is_cancelled() {
            let _ = context.events.send(Event::GaveUp { name, why }).await;
            return;
        }
        let pause = backoff(failures);
        let _ = context
            .events
            .send(Event::Restarts { name, why, pause })
            .await;
        tokio::select! {
            () = sleep(pause) => {}
            () = stop.cancelled() => return,
        }
        context
            .board
            .change(&spec.name, |process| process.restarts += 1);
    }
}

async fn is_held(hold: &mut watch::Receiver<bool>) -> bool {
    let held = hold.wait_for(|held| *held).await.is_ok();
    if !held {
        // Nobody is left who could hold it.
        std::future::pending::<()>().await;
    }
    held
}

fn ended(process: &mut crate::data::Process) {
    process.pid = None;
    process.start_ticks = None;
    process.ready = false;
}

fn backoff(failures: u32) -> Duration {
    let factor = 2_u32.saturating_pow(failures.saturating_sub(1).min(16));
    FIRST_BACKOFF.saturating_mul(factor).min(MAX_BACKOFF)
}

fn describe(status: std::io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => format!("ended with {status}"),
        Err(error) => format!("cannot be waited for: {error}"),
    }
}

fn start(spec: &Spec, context: &Context) -> anyhow::Result<(Child, Option<ChildStdin>)> {
    if let Some((account, file)) = &spec.token {
        let token = weft_identity::token::mint(&context.token_key, account, TOKEN_TTL)?;
        weft_identity::write_private(file, token.as_bytes())
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    let log = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(&spec.log)
        .with_context(|| format!("cannot open {}", spec.log.display()))?;
    let mut command = Command::new(&spec.program);
    command
        .args(&spec.args)
        .envs(spec.env.iter().map(|(name, value)| (name, value)))
        .current_dir(&spec.folder)
        // Held open by this process: when it is killed, the child reads the end and drains.
        .stdin(Stdio::piped())
        .stdout(log.try_clone()?)
        .stderr(log)
        // Ctrl-C in the terminal is for `weft up`, which drains in order.
        .process_group(0)
        .kill_on_drop(true);
    let mut child = command
        .spawn()
        .with_context(|| format!("{}", spec.program.display()))?;
    context.board.change(&spec.name, |process| {
        process.pid = child.id();
        process.start_ticks = child.id().and_then(system::start_ticks);
        process.started_at = unix_seconds();
    });
    let input = child.stdin.take();
    Ok((child, input))
}

/// Asks the process to drain, and ends it at the grace period.
async fn drain(child: &mut Child, context: &Context) {
    if let Some(pid) = child.id()
        && system::terminate(pid).is_ok()
    {
        // A little longer than the process itself allows, so that it ends by its own rules.
        let grace = context.grace + Duration::from_millis(500);
        tokio::select! {
            ended = timeout(grace, child.wait()) => if ended.is_ok() { return },
            () = context.kill.cancelled() => {}
        }
    }
    let _ = child.kill().await;
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::{
        data::{DataFolder, Process, State},
        up::plan::Kind,
    };

    fn spec(folder: &Path, script: &str) -> Spec {
        Spec {
            name: "sock-1".to_owned(),
            kind: Kind::Service,
            service: Some("sock".to_owned()),
            program: PathBuf::from("sh"),
            own_program: false,
            args: vec!["-c".to_owned(), script.to_owned()],
            env: vec![("GREETING".to_owned(), "hello".to_owned())],
            folder: folder.to_owned(),
            token: None,
            identity: None,
            ports: Default::default(),
            log: folder.join("sock-1.log"),
        }
    }

    fn context(folder: &Path) -> (Context, mpsc::Receiver<Event>) {
        let (events, received) = mpsc::channel(16);
        let state = State {
            pid: std::process::id(),
            start_ticks: 0,
            mesh: PathBuf::new(),
            ready: false,
            edge: ([127, 0, 0, 1], 1).into(),
            control: ([127, 0, 0, 1], 1).into(),
            processes: vec![Process {
                name: "sock-1".to_owned(),
                ..Process::default()
            }],
        };
        let board = Board::new(DataFolder::new(folder.to_owned()), state).unwrap();
        let context = Context {
            board: Arc::new(board),
            token_key: Arc::default(),
            events,
            started: CancellationToken::new(),
            kill: CancellationToken::new(),
            grace: Duration::from_secs(5),
        };
        (context, received)
    }

    fn free() -> watch::Receiver<bool> {
        watch::channel(false).1
    }

    #[tokio::test]
    async fn a_held_process_is_drained_and_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let (context, _events) = context(folder.path());
        let (hold, held) = watch::channel(false);
        let stop = CancellationToken::new();
        // `cat` ends when its input does.
        let spec = spec(folder.path(), "exec cat");
        let running = tokio::spawn(supervise(spec, context.clone(), held, stop.clone()));
        let first = pid_of(&context.board).await;
        hold.send_replace(true);
        while !context.board.state().processes[0].held {
            sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(system::start_ticks(first), None);
        assert_eq!(context.board.state().processes[0].pid, None);
        hold.send_replace(false);
        assert_ne!(pid_of(&context.board).await, first);
        stop.cancel();
        running.await.unwrap();
        assert_eq!(context.board.state().processes[0].restarts, 0);
    }

    async fn pid_of(board: &Board) -> u32 {
        loop {
            if let Some(pid) = board.state().processes[0].pid {
                return pid;
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn a_killed_process_is_started_again_and_drained_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let (context, mut events) = context(folder.path());
        context.started.cancel();
        let stop = CancellationToken::new();
        let script = "trap 'echo bye; exit 0' TERM; echo $GREETING; while :; do sleep 0.05; done";
        let running = supervise(
            spec(folder.path(), script),
            context.clone(),
            free(),
            stop.clone(),
        );
        let running = tokio::spawn(running);
        let first = pid_of(&context.board).await;
        system::kill(first).unwrap();
        let Some(Event::Restarts { why, pause, .. }) = events.recv().await else {
            panic!("no restart");
        };
        assert!(why.contains("signal: 9"), "{why}");
        assert_eq!(pause, FIRST_BACKOFF);
        sleep(pause).await;
        let second = loop {
            match pid_of(&context.board).await {
                pid if pid != first => break pid,
                _ => sleep(Duration::from_millis(5)).await,
            }
        };
        assert_eq!(context.board.state().processes[0].restarts, 1);
        // `sh` sets its trap before it says hello for the second time.
        let log = folder.path().join("sock-1.log");
        while crate::logs::tail(&log, 9).len() < 2 {
            sleep(Duration::from_millis(5)).await;
        }
        stop.cancel();
        running.await.unwrap();
        assert_eq!(system::start_ticks(second), None);
        assert_eq!(crate::logs::tail(&log, 9), ["hello", "hello", "bye"]);
    }

    #[tokio::test]
    async fn a_process_that_never_starts_is_given_up_while_the_mesh_starts() {
        let folder = tempfile::tempdir().unwrap();
        let (context, mut events) = context(folder.path());
        let spec = spec(folder.path(), "echo no database >&2; exit 3");
        tokio::spawn(supervise(spec, context, free(), CancellationToken::new()));
        let mut restarts = 0;
        let why = loop {
            match events.recv().await.unwrap() {
                Event::Restarts { .. } => restarts += 1,
                Event::GaveUp { why, .. } => break why,
            }
        };
        assert_eq!((restarts, why.as_str()), (3, "ended with exit status: 3"));
        let log = crate::logs::tail(&folder.path().join("sock-1.log"), 1);
        assert_eq!(log, ["no database"]);
    }

    #[tokio::test]
    async fn a_process_that_ignores_the_request_is_ended_at_the_grace_period() {
        let folder = tempfile::tempdir().unwrap();
        let (mut context, _events) = context(folder.path());
        context.grace = Duration::from_millis(10);
        let stop = CancellationToken::new();
        let script = "trap '' TERM; echo hello; while :; do sleep 0.05; done";
        let running = supervise(
            spec(folder.path(), script),
            context.clone(),
            free(),
            stop.clone(),
        );
        let running = tokio::spawn(running);
        let pid = pid_of(&context.board).await;
        while crate::logs::tail(&folder.path().join("sock-1.log"), 1).is_empty() {
            sleep(Duration::from_millis(5)).await;
        }
        stop.cancel();
        running.await.unwrap();
        assert_eq!(system::start_ticks(pid), None);
    }

    #[test]
    fn pauses_double_up_to_ten_seconds() {
        let pauses: Vec<_> = [1, 2, 3, 20]
            .map(backoff)
            .map(|pause| pause.as_millis())
            .into();
        assert_eq!(pauses, [200, 400, 800, 10_000]);
    }
}
