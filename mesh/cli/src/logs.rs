//! `weft logs`, and the last lines of a log for error messages.

use std::{
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::Duration,
};

use anyhow::{Context as _, bail};

use crate::{args::LogsArgs, data::DataFolder, locate};

/// Enough of a log's end for any number of lines somebody reads.
const TAIL_BYTES: u64 = 4 << 20;

/// Prints the last lines of the matching logs, then follows them if asked to.
///
/// # Errors
///
/// If no log has the name, or none can be read.
pub fn run(args: &LogsArgs) -> anyhow::Result<ExitCode> {
    let data = DataFolder::new(locate::data_folder(&args.place)?);
    let known = logs_in(&data.logs())?;
    let matching: Vec<_> = known
        .iter()
        .filter(|(name, _)| belongs(name, &args.name))
        .collect();
    if matching.is_empty() {
        let names: Vec<_> = known.iter().map(|(name, _)| name.as_str()).collect();
        bail!(
            "no log of `{}` in {}\n  help: there are {}",
            args.name,
            data.logs().display(),
            names.join(", ")
        );
    }
    let width = match matching.as_slice() {
        [_] => None,
        several => several.iter().map(|(name, _)| name.len()).max(),
    };
    let mut places = Vec::new();
    for (name, path) in &matching {
        for line in tail(path, args.lines) {
            show(name, width, &line)?;
        }
        places.push(
            fs::metadata(path)
                .map(|file| file.len())
                .unwrap_or_default(),
        );
    }
    if !args.follow {
        return Ok(ExitCode::SUCCESS);
    }
    loop {
        thread::sleep(Duration::from_millis(200));
        for ((name, path), place) in matching.iter().zip(&mut places) {
            for line in lines_after(path, place)? {
                show(name, width, &line)?;
            }
        }
    }
}

/// The last lines of a file, without a half line at its beginning. Empty if it cannot be read.
pub fn tail(path: &Path, count: usize) -> Vec<String> {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let start = file.metadata()?.len().saturating_sub(TAIL_BYTES);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let text = String::from_utf8_lossy(&read().unwrap_or_default()).into_owned();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..]
        .iter()
        .map(|line| (*line).to_owned())
        .collect()
}

/// Whole lines written since `place`, which moves behind them. A file that shrank was rotated.
fn lines_after(path: &Path, place: &mut u64) -> anyhow::Result<Vec<String>> {
    let Ok(mut file) = File::open(path) else {
        return Ok(Vec::new());
    };
    let length = file.metadata()?.len();
    if length < *place {
        *place = 0;
    }
    file.seek(SeekFrom::Start(*place))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') else {
        return Ok(Vec::new());
    };
    *place += end as u64 + 1;
    let text = String::from_utf8_lossy(&bytes[..end]).into_owned();
    Ok(text.lines().map(str::to_owned).collect())
}

fn show(name: &str, width: Option<usize>, line: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let written = match width {
        Some(width) => writeln!(out, "{name:width$} | {line}"),
        None => writeln!(out, "{line}"),
    };
    match written {
        // `weft logs orders | head` is no failure.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => Ok(other?),
    }
}

fn logs_in(folder: &Path) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let entries = fs::read_dir(folder).with_context(|| {
        format!(
            "no logs in {}: nothing was started there yet",
            folder.display()
        )
    })?;
    let mut logs: Vec<_> = entries
        .flatten()
        .filter_map(|entry| {
            let path = entry.path();
            let name = path.file_name()?.to_str()?.strip_suffix(".log")?.to_owned();
            Some((name, path))
        })
        .collect();
    logs.sort();
    Ok(logs)
}

/// Whether the log of process `log` is meant by `name`: itself, or a service whose replica it is.
fn belongs(log: &str, name: &str) -> bool {
    let Some(rest) = log.strip_prefix(name) else {
        return false;
    };
    let replica = rest
        .strip_prefix('-')
        .map(|rest| rest.strip_suffix("-sidecar").unwrap_or(rest));
    rest.is_empty() || replica.is_some_and(|number| number.parse::<u32>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_stands_for_its_replicas_and_their_sidecars() {
        for log in ["orders-1", "orders-1-sidecar", "orders-12"] {
            assert!(belongs(log, "orders"), "{log}");
        }
        assert!(belongs("orders-1", "orders-1") && belongs("edge", "edge"));
        for log in ["orders-archive-1", "edge", "order-1", "orders-sidecar"] {
            assert!(!belongs(log, "orders"), "{log}");
        }
    }

    #[test]
    fn the_tail_is_whole_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.log");
        fs::write(&path, "one\ntwo\nthree\n").unwrap();
        assert_eq!(tail(&path, 2), ["two", "three"]);
        assert_eq!(tail(&folder.path().join("none"), 2), Vec::<String>::new());
        let mut place = 4;
        assert_eq!(lines_after(&path, &mut place).unwrap(), ["two", "three"]);
        fs::write(&path, "new\nhalf").unwrap();
        assert_eq!(lines_after(&path, &mut place).unwrap(), ["new"]);
    }
}
