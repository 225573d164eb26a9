//! The contracts are well-formed, commented, and break nobody who uses the accepted ones.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{fs, path::Path, process::Command};

use e2e::{shop::root, tools};

/// The contracts callers rely on; `tests/contracts/accept` replaces them.
const ACCEPTED: &str = "tests/contracts/accepted.binpb";

fn buf(arguments: &[&str]) -> Option<Command> {
    let [buf] = tools::require(["buf"])?;
    let mut command = Command::new(buf);
    command.args(arguments);
    Some(command)
}

#[test]
fn contracts_pass_the_linter() {
    let Some(mut lint) = buf(&["lint"]) else {
        return;
    };
    tools::run(&mut lint).unwrap();
}

#[test]
fn contracts_are_formatted() {
    let Some(mut format) = buf(&["format", "--diff", "--exit-code"]) else {
        return;
    };
    tools::run(&mut format).unwrap();
}

#[test]
fn contracts_keep_what_was_accepted() {
    let Some(mut breaking) = buf(&["breaking", "proto", "--against", ACCEPTED]) else {
        return;
    };
    tools::run(&mut breaking).unwrap();
}

#[test]
fn a_breaking_edit_is_refused() {
    let accepted = root().join(ACCEPTED);
    let accepted = accepted.to_str().unwrap();
    let Some(mut breaking) = buf(&["breaking", "proto", "--against", accepted]) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    fs::copy(root().join("buf.yaml"), folder.path().join("buf.yaml")).unwrap();
    tools::copy_folder(&root().join("proto"), &folder.path().join("proto")).unwrap();
    delete_line(
        &folder
            .path()
            .join("proto/sockshop/catalogue/v1/catalogue.proto"),
        "  string description = 3;",
    );

    let refusal = tools::run(breaking.current_dir(&folder)).unwrap_err();

    let refusal = refusal.to_string();
    assert!(
        refusal.contains("catalogue.proto") && refusal.contains("\"description\""),
        "the deleted field is not named:\n{refusal}"
    );
}

/// Removes the one line that reads so.
fn delete_line(file: &Path, line: &str) {
    let text = fs::read_to_string(file).unwrap();
    let kept: Vec<_> = text.lines().filter(|found| *found != line).collect();
    assert_eq!(
        kept.len() + 1,
        text.lines().count(),
        "{line:?} is not once in {file:?}"
    );
    fs::write(file, kept.join("\n") + "\n").unwrap();
}
