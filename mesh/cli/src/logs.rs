//! `weft logs`, and the last lines of a log for error messages.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{IsTerminal as _, Read as _, Seek as _, SeekFrom, Write as _, stdout},
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::Duration,
};

use anyhow::{anyhow, bail};

use serde_json::Value;

use crate::{args::LogsArgs, data::DataFolder, locate, terminal::Paint};

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
    let paint = Paint::stdout();
    let shown = |line: String| match stdout().is_terminal() {
        true => readable(&line, paint),
        // Whole JSON, for programs.
        false => line,
    };
    let width = match matching.as_slice() {
        [_] => None,
        several => several.iter().map(|(name, _)| name.len()).max(),
    };
    let mut places = Vec::new();
    for (name, path) in &matching {
        for line in tail(path, args.lines) {
            show(name, width, &shown(line))?;
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
                show(name, width, &shown(line))?;
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
    let mut out = stdout().lock();
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

/// A line of JSON as somebody at a terminal reads it; other lines as they are, but harmless.
pub fn readable(line: &str, paint: Paint) -> String {
    let Ok(Value::Object(mut fields)) = serde_json::from_str(line) else {
        return harmless(line);
    };
    let mut take = |name: &str| match fields.remove(name) {
        Some(Value::String(text)) => harmless(&text),
        _ => String::new(),
    };
    let (time, level, message) = (take("time"), take("level"), take("message"));
    let target = take("target");
    let clock = time
        .split_once('T')
        .map_or(time.as_str(), |(_, clock)| clock);
    let clock: String = clock.chars().take("12:34:56.789".len()).collect();
    let level = match level.as_str() {
        "ERROR" | "WARN" => paint.bad(&format!("{level:<5}")),
        _ => format!("{level:<5}"),
    };
    let mut out = format!("{} {level} {message}", paint.dim(&clock));
    for (name, value) in &fields {
        if ["process", "span_id"].contains(&name.as_str()) {
            continue;
        }
        let value = match value {
            Value::String(text) if text.is_empty() || text.contains([' ', '"']) => {
                format!("{text:?}")
            }
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let _ = write!(
            out,
            " {}{}",
            paint.dim(&format!("{name}=")),
            harmless(&value)
        );
    }
    let _ = write!(out, " {}", paint.dim(&target));
    out.trim_end().to_owned()
}

/// Without what a terminal would obey.
fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\t' => out.push(letter),
            letter if letter.is_control() => out.extend(letter.escape_default()),
            letter => out.push(letter),
        }
    }
    out
}

fn logs_in(folder: &Path) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let entries = fs::read_dir(folder).map_err(|error| {
        anyhow!(
            "no logs in {}: nothing was started there yet ({error})\n  help: `weft up` starts everything; \
             --data names another folder",
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
    fn json_is_read_as_text_and_cannot_command_the_terminal() {
        let line = r#"{"time":"2026-11-21T04:24:56.453072Z","level":"WARN","process":"orders","message":"refused",
            "target":"orders::saga","order":"orders/1","why":"two words","attempts":3,"x":"\u001b[2J"}"#;
        let paint = Paint::stderr();
        if !paint.is_on() {
            let expected = "04:24:56.453 WARN  refused attempts=3 order=orders/1 why=\"two words\" \
                            x=\\u{1b}[2J orders::saga";
            assert_eq!(readable(line, paint), expected);
        }
        assert_eq!(
            readable("thread 'main' panicked\x07", paint),
            "thread 'main' panicked\\u{7}"
        );
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
