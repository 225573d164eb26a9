//! Builds the services' programs with one `cargo build`.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Stdio,
    time::Instant,
};

use anyhow::{Context as _, anyhow, bail};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, BufReader},
    process::Command,
};
use tokio_util::sync::CancellationToken;

use super::progress::Progress;
use crate::{system, terminal::Paint};

/// What `cargo run` sets for the program it runs. A build below must not see it.
const CARGO_RUN_ENV: [&str; 8] = [
    "CARGO_MANIFEST_DIR",
    "CARGO_MANIFEST_PATH",
    "CARGO_PKG_",
    "CARGO_CRATE_NAME",
    "CARGO_BIN_",
    "CARGO_PRIMARY_PACKAGE",
    "CARGO_TARGET_TMPDIR",
    "RUSTC_WORKSPACE_WRAPPER",
];

/// Builds `packages` in the profile of this binary and returns their programs by package.
///
/// # Errors
///
/// If the build fails, with the compiler's messages, or when `asked` is cancelled; cargo and what it
/// started have ended then.
pub async fn build(
    packages: &[&str],
    workspace: &Path,
    progress: &Progress,
    asked: &CancellationToken,
) -> anyhow::Result<BTreeMap<String, PathBuf>> {
    if packages.is_empty() {
        return Ok(BTreeMap::new());
    }
    let started = Instant::now();
    progress.update(&format!("building {}", packages.join(", ")));
    let mut child = command(packages, workspace)?.spawn().map_err(|error| {
        anyhow!(
            "cargo cannot be started: {error}\n  help: install Rust, or use --no-build with binaries \
             beside weft"
        )
    })?;
    let stdout = child.stdout.take().context("cargo has no output")?;
    let stderr = child.stderr.take().context("cargo has no messages")?;
    let group = child.id();
    let work = async {
        let (programs, messages) = tokio::join!(programs_in(stdout), follow(stderr, progress));
        (child.wait().await, programs, messages)
    };
    tokio::pin!(work);
    let (status, programs, messages) = tokio::select! {
        ended = &mut work => ended,
        () = asked.cancelled() => {
            progress.update("stopping the build");
            if let Some(group) = group {
                system::terminate_group(group)?;
            }
            let _ = work.await;
            progress.clear();
            bail!("stopped while building; nothing was started");
        }
    };
    progress.clear();
    if !status.context("cargo cannot be waited for")?.success() {
        bail!(
            "the build failed; nothing was started\n\n{}\n\n  help: mend it and run `weft up` again",
            messages.trim_end()
        );
    }
    let mut found = BTreeMap::new();
    for package in packages {
        let program = programs.get(*package).with_context(|| {
            format!("package `{package}` has no program of that name\n  help: `run.cargo` needs a package with a binary")
        })?;
        found.insert((*package).to_owned(), program.clone());
    }
    let (count, seconds) = (found.len(), started.elapsed().as_secs_f32());
    progress.line(&format!("built {count} services in {seconds:.1} s"));
    Ok(found)
}

/// The programs beside this binary, for `--no-build`.
///
/// # Errors
///
/// If one is missing.
pub fn siblings(packages: &[&str]) -> anyhow::Result<BTreeMap<String, PathBuf>> {
    let own = system::own_executable()?;
    let folder = own.parent().context("this program has no folder")?;
    let programs = packages.iter().map(|package| {
        let program = folder.join(package);
        if !program.is_file() {
            bail!(
                "{} is not there\n  help: run without --no-build",
                program.display()
            );
        }
        Ok(((*package).to_owned(), program))
    });
    programs.collect()
}

fn command(packages: &[&str], workspace: &Path) -> anyhow::Result<Command> {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    command
        .current_dir(workspace)
        .args([
            "build",
            // With all members selected, cargo gives dependencies the same features as when it built
            // this program, and need not compile them again.
            "--workspace",
            "--message-format=json-render-diagnostics",
        ])
        .env("CARGO_TERM_PROGRESS_WHEN", "always")
        .env("CARGO_TERM_PROGRESS_WIDTH", "120")
        // Ctrl-C in the terminal is for `weft up`, which passes it on and waits.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for package in packages {
        command.args(["--bin", package]);
    }
    if Paint::stderr().is_on() {
        command.env("CARGO_TERM_COLOR", "always");
    }
    let own = system::own_executable()?;
    let folder = own.parent();
    let is = |name: &str| folder.is_some_and(|folder| folder.ends_with(name));
    if is("release") || (!is("debug") && !cfg!(debug_assertions)) {
        command.arg("--release");
    }
    // For the workspace this program is of: the target folder it was built into, wherever that is.
    if Path::new(env!("CARGO_MANIFEST_DIR")).starts_with(workspace)
        && let Some(target) = folder.and_then(Path::parent)
        && target.join("CACHEDIR.TAG").is_file()
    {
        command.arg("--target-dir").arg(target);
    }
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if CARGO_RUN_ENV.iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
    Ok(command)
}

/// The programs cargo names, by package.
async fn programs_in(stdout: impl AsyncRead + Unpin) -> BTreeMap<String, PathBuf> {
    let mut programs = BTreeMap::new();
    let mut lines = BufReader::new(stdout).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let Ok(message) = serde_json::from_str::<serde_json::Value>(&line) else {
            continue;
        };
        let name = message["target"]["name"].as_str();
        if let (Some(name), Some(program)) = (name, message["executable"].as_str()) {
            programs.insert(name.to_owned(), PathBuf::from(program));
        }
    }
    programs
}

/// Shows cargo's progress and returns everything else it says.
async fn follow(stderr: impl AsyncRead + Unpin, progress: &Progress) -> String {
    let mut reader = BufReader::new(stderr);
    let mut messages = String::new();
    let mut bytes = Vec::new();
    // Cargo redraws its bar with carriage returns; what stays ends with a line feed.
    while reader
        .read_until(b'\n', &mut bytes)
        .await
        .is_ok_and(|read| read > 0)
    {
        show(&bytes, progress, &mut messages);
        bytes.clear();
    }
    messages
}

fn show(bytes: &[u8], progress: &Progress, messages: &mut String) {
    let text = String::from_utf8_lossy(bytes);
    for part in text.trim_end_matches(['\r', '\n']).split('\r') {
        let plain = without_escapes(part);
        let text = plain.trim();
        if let Some(counts) = building(text) {
            progress.update(&counts);
        } else if !(is_routine(text) || text.is_empty() && messages.is_empty()) {
            // With its colours, if cargo was asked for them.
            messages.push_str(part.trim_end());
            messages.push('\n');
        }
    }
}

/// `Building [====>  ] 45/120: tokio, hyper` as `building 45/120: tokio, hyper`.
fn building(text: &str) -> Option<String> {
    let rest = text.strip_prefix("Building [")?;
    let (_, counts) = rest.split_once("] ")?;
    Some(format!("building {counts}"))
}

fn is_routine(text: &str) -> bool {
    const ROUTINE: [&str; 8] = [
        "Compiling ",
        "Downloading ",
        "Downloaded ",
        "Updating ",
        "Locking ",
        "Finished ",
        "Blocking ",
        "Adding ",
    ];
    ROUTINE.iter().any(|word| text.starts_with(word))
}

fn without_escapes(text: &str) -> String {
    let mut plain = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter == '\x1b' {
            // A control sequence ends with its first letter.
            letters.by_ref().find(char::is_ascii_alphabetic);
        } else {
            plain.push(letter);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn cargos_bar_becomes_counts_and_its_errors_are_kept() {
        let text = b"\x1b[1m   Compiling\x1b[0m syn v2.0.1\n\x1b[36m  Building\x1b[0m [==>   ] 4/12: syn\r\
                     error[E0425]: cannot find value `x`\n  --> src/main.rs:3:5\n\nhelp: none\n";
        let messages = follow(text.as_slice(), &Progress::new()).await;
        assert_eq!(
            messages,
            "error[E0425]: cannot find value `x`\n  --> src/main.rs:3:5\n\nhelp: none\n"
        );
        assert_eq!(
            building("Building [==>   ] 4/12: syn").as_deref(),
            Some("building 4/12: syn")
        );
    }
}
