//! Programs that are not built here: found where `tests/tools/install` puts them.

use std::{
    env, fs,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::shop::root;

/// Where the tests' own programs are, below `tests/`.
const OWN: [&str; 3] = [".tools/bin", "node_modules/.bin", ".tools/python/bin"];

/// What the system's packages bring; everything else is taken only at the version we pin.
const SYSTEM: [&str; 2] = ["chromium", "node"];

/// Where a program is, if it is installed.
pub fn tool(name: &str) -> Option<PathBuf> {
    let own = OWN.map(|folder| root().join("tests").join(folder));
    let mut folders = Vec::from(own);
    if SYSTEM.contains(&name) {
        let path = env::var_os("PATH").unwrap_or_default();
        folders.extend(env::split_paths(&path));
    }
    let mut places = folders.into_iter().map(|folder| folder.join(name));
    places.find(|place| place.is_file())
}

/// Where the programs are, in the order asked; `None` if the caller must be skipped because one is
/// missing, which is then said on stderr even where output of passing tests is captured.
///
/// # Panics
///
/// If a program is missing and the environment says `CI=true`: nothing may be skipped there.
pub fn require<const N: usize>(names: [&str; N]) -> Option<[PathBuf; N]> {
    let found = names.map(tool);
    let missing: Vec<_> = names
        .iter()
        .zip(&found)
        .filter(|(_, place)| place.is_none())
        .map(|(name, _)| *name)
        .collect();
    if missing.is_empty() {
        return Some(found.map(Option::unwrap_or_default));
    }
    let missing = missing.join(", ");
    let ci = env::var("CI").is_ok_and(|value| value == "true");
    assert!(!ci, "missing: {missing}; run tests/tools/install");
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test").to_owned();
    let line = format!("\nSKIPPED {test}: missing {missing}; to run it: tests/tools/install\n");
    // Printing macros are captured, the stream itself is not. If it is closed, nobody listens.
    let _ = std::io::stderr().write_all(line.as_bytes());
    None
}

/// Runs a program in the root of the repository and returns what it prints on stdout.
///
/// # Errors
///
/// If it cannot be started or fails; with its whole output then.
pub fn run(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    if command.get_current_dir().is_none() {
        command.current_dir(root());
    }
    let output = command
        .output()
        .with_context(|| format!("start {program}"))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{program}: {}\n{stdout}{stderr}", output.status);
    }
    Ok(stdout)
}

/// Copies a folder and all that is in it.
///
/// # Errors
///
/// If something in it cannot be read or written.
pub fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("read {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}
