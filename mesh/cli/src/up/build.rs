//! Builds the services' programs with one `cargo build`.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    io::{BufRead as _, BufReader, Read},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Instant,
};

use anyhow::{Context as _, bail};

use super::progress::Progress;
use crate::system;

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
/// If the build fails, with the compiler's messages.
pub fn build(
    packages: &[&str],
    workspace: &Path,
    progress: &Progress,
) -> anyhow::Result<BTreeMap<String, PathBuf>> {
    if packages.is_empty() {
        return Ok(BTreeMap::new());
    }
    let started = Instant::now();
    progress.update(&format!("building {}", packages.join(", ")));
    let mut child = command(packages, workspace)?
        .spawn()
        .context("cargo cannot be started\n  help: install Rust, or use --no-build with binaries beside weft")?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (programs, messages) = thread::scope(|scope| {
        let messages = stderr.map(|stderr| scope.spawn(|| follow(stderr, progress)));
        let programs = stdout.map(programs_in).unwrap_or_default();
        let messages = messages.and_then(|thread| thread.join().ok());
        (programs, messages.unwrap_or_default())
    });
    let status = child.wait().context("cargo cannot be waited for")?;
    if !status.success() {
        progress.line("the build failed:");
        bail!("{}\n\nnothing was started", messages.trim_end());
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
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for package in packages {
        command.args(["--bin", package]);
    }
    let own = system::own_executable()?;
    let folder = own.parent();
    let is = |name: &str| folder.is_some_and(|folder| folder.ends_with(name));
    if is("release") || (!is("debug") && !cfg!(debug_assertions)) {
        command.arg("--release");
    }
    // The target folder this program was built into, wherever that is.
    if let Some(target) = folder.and_then(Path::parent)
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
fn programs_in(stdout: impl Read) -> BTreeMap<String, PathBuf> {
    let mut programs = BTreeMap::new();
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
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
fn follow(stderr: impl Read, progress: &Progress) -> String {
    let mut reader = BufReader::new(stderr);
    let mut messages = String::new();
    let mut bytes = Vec::new();
    // Cargo redraws its bar with carriage returns; what stays ends with a line feed.
    while reader
        .read_until(b'\n', &mut bytes)
        .is_ok_and(|read| read > 0)
    {
        show(&bytes, progress, &mut messages);
        bytes.clear();
    }
    messages
}

fn show(bytes: &[u8], progress: &Progress, messages: &mut String) {
    for part in String::from_utf8_lossy(bytes).split(['\r', '\n']) {
        let plain = without_escapes(part);
        let text = plain.trim();
        if let Some(counts) = building(text) {
            progress.update(&counts);
        } else if !text.is_empty() && !is_routine(text) {
            messages.push_str(plain.trim_end());
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

    #[test]
    fn cargos_bar_becomes_counts_and_its_errors_are_kept() {
        let text = b"\x1b[1m   Compiling\x1b[0m syn v2.0.1\n\x1b[36m  Building\x1b[0m [==>   ] 4/12: syn\r\
                     error[E0425]: cannot find value `x`\n  --> src/main.rs:3:5\n";
        let messages = follow(text.as_slice(), &Progress::new());
        assert_eq!(
            messages,
            "error[E0425]: cannot find value `x`\n  --> src/main.rs:3:5\n"
        );
        assert_eq!(
            building("Building [==>   ] 4/12: syn").as_deref(),
            Some("building 4/12: syn")
        );
    }
}
