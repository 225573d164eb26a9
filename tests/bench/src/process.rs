//! The processes that are started, and what the operating system says about them.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};

/// How long a process may take to end when asked.
const GRACE: Duration = Duration::from_secs(5);

/// CPU time of a process, by thread.
#[derive(Debug)]
pub struct CpuTime(BTreeMap<PathBuf, Duration>);

impl CpuTime {
    /// What was used since the reading `before`. What a thread did that has ended meanwhile is lost.
    pub fn since(&self, before: &Self) -> Duration {
        let threads = self.0.iter();
        threads
            .map(|(thread, now)| {
                now.saturating_sub(before.0.get(thread).copied().unwrap_or_default())
            })
            .sum()
    }
}

/// CPU times, one for each process of a target.
pub type CpuTimes = Vec<CpuTime>;

/// A child process on one core. It is killed when dropped, and by the kernel if this process dies first.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program` with `args` on `core`, its output in `folder/name.log`.
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    pub fn start(
        name: &str,
        core: usize,
        program: &Path,
        args: &[String],
        environment: &[(&str, &str)],
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let output = File::create(&log)?;
        // Both replace themselves by the program: the child's id stays the program's.
        let child = Command::new("taskset")
            .args(["-c", &core.to_string(), "setpriv", "--pdeathsig", "KILL"])
            .arg(program)
            .args(args)
            .envs(environment.iter().copied())
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("{name} cannot be started"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
        })
    }

    /// Fails if it has ended, with the end of its log.
    ///
    /// # Errors
    ///
    /// If it has ended.
    pub fn check(&mut self) -> anyhow::Result<()> {
        let Some(status) = self.child.try_wait()? else {
            return Ok(());
        };
        bail!("{} ended with {status}:\n{}", self.name, self.last_words());
    }

    /// The end of its log.
    pub fn last_words(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let last = lines.len().saturating_sub(8);
        lines.get(last..).unwrap_or_default().join("\n")
    }

    /// The time it has used, read to the nanosecond: the user and system time in `stat` comes in steps of
    /// 10 ms, of which small calls take a dozen in a cell.
    ///
    /// # Errors
    ///
    /// If it is gone, or the kernel does not say.
    pub fn cpu(&self) -> anyhow::Result<CpuTime> {
        let mut threads = BTreeMap::new();
        for thread in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let thread = thread?.path();
            // One that has ended since the folder was read counts as one that ended before.
            let Ok(text) = fs::read_to_string(thread.join("schedstat")) else {
                continue;
            };
            let on_cpu = text.split_whitespace().next();
            let on_cpu = on_cpu.and_then(|nanoseconds| nanoseconds.parse().ok());
            let on_cpu = on_cpu.context("/proc/PID/task/TID/schedstat is not as expected")?;
            threads.insert(thread, Duration::from_nanos(on_cpu));
        }
        let name = &self.name;
        anyhow::ensure!(
            !threads.is_empty(),
            "{name} is gone, or this kernel has no schedstat:\n{}",
            self.last_words()
        );
        Ok(CpuTime(threads))
    }

    /// Its resident memory, in kB.
    ///
    /// # Errors
    ///
    /// If it is gone.
    pub fn resident_kb(&self) -> anyhow::Result<u64> {
        let text = self.read("status")?;
        text.lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
            .with_context(|| format!("/proc/PID/status of {} has no VmRSS", self.name))
    }

    fn read(&self, file: &str) -> anyhow::Result<String> {
        fs::read_to_string(format!("/proc/{}/{file}", self.child.id()))
            .with_context(|| format!("{} is gone:\n{}", self.name, self.last_words()))
    }

    /// Asks it to end, waits, and kills it if it does not.
    pub fn stop(mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let asked = pid.is_some_and(|pid| kill_process(pid, Signal::TERM).is_ok());
        let until = Instant::now() + GRACE;
        while asked && Instant::now() < until {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has ended by itself if this fails.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a program prints, both streams.
///
/// # Errors
///
/// If it cannot be started.
pub fn output(program: &Path, args: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{} cannot be started", program.display()))?;
    let text = [output.stdout, output.stderr].concat();
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Free loopback addresses, no two the same.
///
/// # Errors
///
/// If the system has none.
pub fn free_addresses<const N: usize>() -> anyhow::Result<[SocketAddr; N]> {
    let mut addresses = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); N];
    let mut listeners = Vec::with_capacity(N);
    for address in &mut addresses {
        let listener = TcpListener::bind(*address)?;
        *address = listener.local_addr()?;
        listeners.push(listener);
    }
    Ok(addresses)
}
