//! `weft test`.

use std::{
    io,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use weft_simulate::{Case, Outcome, Suite};

use crate::{args::TestArgs, terminal::Paint};

/// What the name of a policy test file ends with.
const ENDING: &str = ".policytest.yaml";
/// More lines of a timeline would hide the reason of a failure.
const MOST_LINES: usize = 40;
/// Folders in folders: deeper is a loop of links.
const DEEPEST: usize = 32;

/// Plays the cases of files and folders: exit code 1 if one fails, 2 if a file cannot be read.
///
/// # Errors
///
/// If a folder cannot be read or holds no policy test.
pub fn run(args: &TestArgs) -> anyhow::Result<ExitCode> {
    let files = match files(&args.files) {
        Ok(files) => files,
        Err(error) => {
            complain!("{} {error:#}", Paint::stderr().bad("error:"));
            return Ok(ExitCode::from(2));
        }
    };
    let started = Instant::now();
    let mut report = Report {
        args,
        paint: Paint::stdout(),
        passed: 0,
        failed: 0,
        virtual_time: Duration::ZERO,
    };
    let mut unreadable = 0;
    for file in &files {
        match Suite::load(file, contracts::pool()) {
            Ok(suite) => report.suite(&suite),
            Err(problems) => {
                unreadable += 1;
                if args.json {
                    say!("{}", problems.to_json());
                } else {
                    complain!("{problems}\n");
                }
            }
        }
    }
    report.summary(files.len(), unreadable, started.elapsed());
    if let Some(text) = args
        .filter
        .as_ref()
        .filter(|_| report.passed + report.failed == 0)
    {
        let error = Paint::stderr().bad("error:");
        complain!("{error} no case or file has `{text}` in its name");
        return Ok(ExitCode::from(2));
    }
    Ok(match (unreadable, report.failed) {
        (0, 0) => ExitCode::SUCCESS,
        (0, _) => ExitCode::FAILURE,
        _ => ExitCode::from(2),
    })
}

fn files(places: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for place in places {
        if !place.is_dir() {
            files.push(place.clone());
            continue;
        }
        let before = files.len();
        let read = within(place, 0, &mut files);
        read.with_context(|| format!("cannot read the folder {}", place.display()))?;
        if files.len() == before {
            anyhow::bail!("no *{ENDING} in {} or below", place.display());
        }
    }
    Ok(files)
}

fn within(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> io::Result<()> {
    let entries: io::Result<Vec<_>> = std::fs::read_dir(folder)?.collect();
    let mut entries: Vec<_> = entries?.into_iter().map(|entry| entry.path()).collect();
    entries.sort();
    for path in entries {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if path.is_dir() && !name.starts_with('.') && name != "target" && depth < DEEPEST {
            within(&path, depth + 1, files)?;
        } else if name.ends_with(ENDING) {
            files.push(path);
        }
    }
    Ok(())
}

/// Prints cases as they are done, and counts them.
struct Report<'a> {
    args: &'a TestArgs,
    paint: Paint,
    passed: usize,
    failed: usize,
    virtual_time: Duration,
}

impl Report<'_> {
    fn suite(&mut self, suite: &Suite) {
        let wanted = |case: &&Case| match &self.args.filter {
            Some(text) => case.name.contains(text.as_str()) || suite.file().contains(text.as_str()),
            None => true,
        };
        let cases: Vec<_> = suite.cases.iter().filter(wanted).collect();
        if !cases.is_empty() && !self.args.json {
            say!("{}", self.paint.strong(suite.file()));
        }
        for case in cases {
            let started = Instant::now();
            let outcome = suite.run(case, self.args.verbose);
            let real = started.elapsed();
            self.virtual_time += outcome.virtual_time;
            if outcome.mismatches.is_empty() {
                self.passed += 1;
            } else {
                self.failed += 1;
            }
            if self.args.json {
                say!("{}", json(suite, case, &outcome, real));
            } else {
                self.case(suite, case, &outcome);
            }
        }
    }

    fn case(&self, suite: &Suite, case: &Case, outcome: &Outcome) {
        let paint = self.paint;
        let name = &case.name.value;
        if outcome.mismatches.is_empty() {
            say!("  {} {name}", paint.good("✓"));
        } else {
            say!("  {} {}", paint.bad("✗"), paint.strong(name));
        }
        for mismatch in &outcome.mismatches {
            let (file, line, column) = (suite.file(), mismatch.span.line, mismatch.span.column);
            say!(
                "      {}  {}",
                mismatch.what,
                paint.dim(&format!("{file}:{line}:{column}"))
            );
            say!("        expected  {}", paint.good(&mismatch.expected));
            say!("        found     {}", paint.bad(&mismatch.found));
        }
        let calls = outcome.timeline.iter().filter_map(|line| line.call).max();
        for line in outcome.timeline.iter().take(MOST_LINES) {
            let call = match line.call.filter(|_| calls > Some(1)) {
                Some(call) => format!("call {call}  "),
                None => String::new(),
            };
            let at = millis(line.at);
            say!(
                "      {}  {call}{}",
                paint.dim(&format!("{at:>12}")),
                line.text
            );
        }
        let more = outcome.timeline.len().saturating_sub(MOST_LINES);
        if more > 0 {
            say!(
                "      {}",
                paint.dim(&format!("and {more} lines more: --json has them all"))
            );
        }
    }

    fn summary(&self, files: usize, unreadable: usize, real: Duration) {
        if self.args.json {
            return;
        }
        let paint = self.paint;
        let passed = paint.good(&format!("{} passed", self.passed));
        let failed = format!("{} failed", self.failed);
        let failed = if self.failed > 0 {
            paint.bad(&failed)
        } else {
            failed
        };
        let unread = match unreadable {
            0 => String::new(),
            n => format!(
                ", {}",
                paint.bad(&format!("{n} of {files} files cannot be read"))
            ),
        };
        let (own, real) = (self.virtual_time.as_secs_f64(), real.as_secs_f64());
        say!("\n{passed}, {failed}{unread}: {own:.1} s of virtual time in {real:.2} s");
    }
}

fn millis(time: Duration) -> String {
    format!("{:.2} ms", time.as_nanos() as f64 / 1e6)
}

fn json(suite: &Suite, case: &Case, outcome: &Outcome, real: Duration) -> serde_json::Value {
    let mismatches = outcome.mismatches.iter().map(|mismatch| {
        serde_json::json!({
            "what": mismatch.what,
            "expected": mismatch.expected,
            "found": mismatch.found,
            "line": mismatch.span.line,
            "column": mismatch.span.column,
        })
    });
    let timeline = outcome.timeline.iter().map(|line| {
        let millis = line.at.as_nanos() as f64 / 1e6;
        serde_json::json!({ "atMillis": millis, "call": line.call, "text": line.text })
    });
    serde_json::json!({
        "file": suite.file(),
        "line": case.name.span.line,
        "name": case.name.value,
        "passed": outcome.mismatches.is_empty(),
        "mismatches": mismatches.collect::<Vec<_>>(),
        "calls": outcome.calls,
        "virtualMillis": outcome.virtual_time.as_nanos() as f64 / 1e6,
        "realMillis": real.as_nanos() as f64 / 1e6,
        "timeline": timeline.collect::<Vec<_>>(),
    })
}
