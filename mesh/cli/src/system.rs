//! What the operating system knows about processes and ports, from `/proc`.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// When a process started, in clock ticks since boot: with its pid it names one process for ever.
pub fn start_ticks(pid: u32) -> Option<u64> {
    // The second field is the name in parentheses and may hold spaces; the rest is counted behind it.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    if rest.starts_with('Z') {
        return None;
    }
    rest.split(' ').nth(19)?.parse().ok()
}

/// The program of a process. A binary that was rebuilt since keeps its name here.
pub fn executable(pid: u32) -> Option<PathBuf> {
    let path = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let text = path.to_string_lossy();
    Some(PathBuf::from(
        text.strip_suffix(" (deleted)").unwrap_or(&text),
    ))
}

/// The path of this binary, also after a build has replaced it.
///
/// # Errors
///
/// If `/proc` does not tell.
pub fn own_executable() -> anyhow::Result<PathBuf> {
    executable(std::process::id()).context("this program cannot be found")
}

/// Resident memory in bytes.
pub fn resident_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// Asks a process to drain. One that is gone already is fine.
///
/// # Errors
///
/// If it may not be signalled.
pub fn terminate(pid: u32) -> io::Result<()> {
    signal(pid, Signal::TERM)
}

/// Ends a process at once.
///
/// # Errors
///
/// If it may not be signalled.
pub fn kill(pid: u32) -> io::Result<()> {
    signal(pid, Signal::KILL)
}

/// Asks every process of a group to end, as Ctrl-C in its terminal would.
///
/// # Errors
///
/// If they may not be signalled.
pub fn terminate_group(leader: u32) -> io::Result<()> {
    let Some(leader) = i32::try_from(leader).ok().and_then(Pid::from_raw) else {
        return Ok(());
    };
    match kill_process_group(leader, Signal::INT) {
        Err(error) if error == rustix::io::Errno::SRCH => Ok(()),
        other => other.map_err(Into::into),
    }
}

fn signal(pid: u32, signal: Signal) -> io::Result<()> {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return Ok(());
    };
    match kill_process(pid, signal) {
        Err(error) if error == rustix::io::Errno::SRCH => Ok(()),
        other => other.map_err(Into::into),
    }
}

/// Who listens on a TCP port: pid and command line, where `/proc` tells.
pub fn listener_of(address: SocketAddr) -> Option<(u32, String)> {
    let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| listening_inodes(&table, address.port()))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let processes = fs::read_dir("/proc").ok()?.flatten();
    for process in processes {
        let Some(pid) = process
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let Ok(files) = fs::read_dir(process.path().join("fd")) else {
            continue;
        };
        let holds = |file: &Path| {
            let target = fs::read_link(file).ok();
            target.is_some_and(|target| inodes.iter().any(|inode| Path::new(inode) == target))
        };
        if files.flatten().any(|file| holds(&file.path())) {
            return Some((pid, command_line(pid)));
        }
    }
    None
}

/// The inodes of the listening sockets of one port in a `/proc/net/tcp` table.
fn listening_inodes(table: &str, port: u16) -> Vec<String> {
    const LISTEN: &str = "0A";
    let rows = table.lines().skip(1).filter_map(|line| {
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        let local = fields.get(1)?.rsplit_once(':')?.1;
        let matches = u16::from_str_radix(local, 16).ok()? == port && *fields.get(3)? == LISTEN;
        matches.then(|| fields.get(9).map(|inode| (*inode).to_owned()))?
    });
    rows.collect()
}

fn command_line(pid: u32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = line.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    words.collect::<Vec<_>>().join(" ").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_pid_and_start() {
        let pid = std::process::id();
        assert_eq!(start_ticks(pid), start_ticks(pid));
        assert!(start_ticks(pid).is_some_and(|ticks| ticks > 0));
        assert_eq!(executable(pid), std::env::current_exe().ok());
        assert!(resident_bytes(pid).is_some_and(|bytes| bytes > 100_000));
    }

    #[test]
    fn who_holds_a_port_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (pid, command) = listener_of(listener.local_addr().unwrap()).unwrap();
        assert_eq!(pid, std::process::id());
        assert!(!command.is_empty());
    }
}
