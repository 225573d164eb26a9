//! How much memory a process has, as Linux says.

use anyhow::{Context, Result};

/// Bytes resident now.
///
/// # Errors
///
/// If the process is gone.
pub fn resident(pid: u64) -> Result<u64> {
    status(pid, "VmRSS:")
}

/// The most bytes that were ever resident.
///
/// # Errors
///
/// If the process is gone.
pub fn peak(pid: u64) -> Result<u64> {
    status(pid, "VmHWM:")
}

fn status(pid: u64, field: &str) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kibibytes: u64 = kibibytes
        .with_context(|| format!("{path} has no {field}"))?
        .parse()?;
    Ok(kibibytes * 1024)
}
