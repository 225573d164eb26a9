//! The binary `weft` as somebody at a terminal sees it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::{Command, Output, Stdio},
    time::Duration,
};

use tempfile::TempDir;

/// No services but a script, so that nothing is built.
const SMALL: &str = "\
mesh: { trustDomain: sockshop.local, namespace: shop }
services:
  sock:
    port: 7070
    run: { command: [sh, -c, 'echo no socks today >&2; exit 3'] }
edge: { listen: 127.0.0.1:0 }
";

fn folder(mesh: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("mesh.yaml"), mesh).unwrap();
    folder
}

fn weft(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_weft"))
        .args(arguments)
        .current_dir(folder)
        .env_remove("WEFT_DATA")
        .env_remove("WEFT_MESH")
        .output()
        .unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn up_and_check_refuse_a_broken_mesh_file_with_all_its_problems() {
    let broken = SMALL
        .replace("port: 7070", "prot: 7070")
        .replace("127.0.0.1:0", "here");
    let folder = folder(&broken);
    for command in ["up", "check"] {
        let output = weft(folder.path(), &[command]);
        assert_eq!(output.status.code(), Some(1));
        let text = stderr(&output);
        for part in [
            "error[unknown-key]: unknown key `prot` in the service\n --> mesh.yaml:4:5\n",
            "4 |     prot: 7070\n  |     ^^^^\n  = help: did you mean `port`?",
            "error[wrong-value]: `listen` must be an IP address and a port, not \"here\"",
            "mesh.yaml: 3 problems",
        ] {
            assert!(text.contains(part), "{command}: {part} is not in\n{text}");
        }
    }
    assert!(!folder.path().join(".weft").exists(), "nothing was touched");

    let output = weft(folder.path(), &["check", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["problems"][2]["line"], 6);
    assert_eq!(json["problems"].as_array().unwrap().len(), 3);
}

#[test]
fn check_is_content_with_the_shop() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../mesh.yaml");
    let output = weft(Path::new("."), &["check", file]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stdout(&output).ends_with("mesh.yaml: fine, 7 services\n"));
}

#[test]
fn a_taken_port_is_named_with_its_holder_and_a_way_out() {
    let folder = folder(SMALL);
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap().to_string();
    let output = weft(folder.path(), &["up", "--listen", &address]);
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    for part in [
        format!("the edge's address {address} is taken by"),
        format!("(pid {})", std::process::id()),
        "--listen 127.0.0.1:0".to_owned(),
    ] {
        assert!(text.contains(&part), "{part} is not in\n{text}");
    }
}

#[test]
fn without_a_mesh_file_there_is_a_hint() {
    let folder = tempfile::tempdir().unwrap();
    let output = weft(folder.path(), &["up"]);
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(text.contains("name the file with --mesh"), "{text}");
}

#[test]
fn an_unknown_service_is_refused_with_those_there_are() {
    let folder = folder(SMALL);
    let text = stderr(&weft(folder.path(), &["up", "--only", "shoe"]));
    let hint = "--only shoe: no such service\n  help: there are sock";
    assert!(text.contains(hint), "{text}");
}

#[test]
fn status_logs_and_stop_say_when_nothing_runs() {
    let folder = folder(SMALL);
    let status = weft(folder.path(), &["status"]);
    assert_eq!(status.status.code(), Some(1));
    let text = stdout(&status);
    assert!(text.starts_with("nothing runs in "), "{text}");
    assert!(weft(folder.path(), &["stop"]).status.success());
    let text = stderr(&weft(folder.path(), &["logs", "sock"]));
    assert!(text.contains("nothing was started there yet"), "{text}");
}

/// A workspace of one service with a build script.
fn workspace(build: &str, main: &str) -> TempDir {
    let folder = folder(&SMALL.replace(
        "run: { command: [sh, -c, 'echo no socks today >&2; exit 3'] }",
        "run: { cargo: sock }",
    ));
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    fs::create_dir_all(folder.path().join("sock/src")).unwrap();
    write(
        "Cargo.toml",
        "[workspace]\nmembers = [\"sock\"]\nresolver = \"3\"\n",
    );
    write(
        "sock/Cargo.toml",
        "[package]\nname = \"sock\"\nversion = \"0.1.0\"\nedition = \"2024\"\n",
    );
    write("sock/build.rs", build);
    write("sock/src/main.rs", main);
    folder
}

#[test]
fn a_build_that_fails_is_shown_as_the_compiler_said_it() {
    let folder = workspace("fn main() {}", "fn main() { let _: u32 = \"one\"; }");
    let output = weft(folder.path(), &["up"]);
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    for part in [
        "error: the build failed; nothing was started\n\nerror[E0308]: mismatched types\n --> sock/src/main.rs:1:26\n",
        "expected `u32`, found `&str`",
        "help: mend it and run `weft up` again",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

#[test]
fn a_stop_during_the_build_ends_the_build_too() {
    let script = "fn main() { std::fs::write(\"../building\", std::process::id().to_string()).unwrap(); \
                  std::thread::sleep(std::time::Duration::from_secs(60)); }";
    let folder = workspace(script, "fn main() {}");
    let up = Command::new(env!("CARGO_BIN_EXE_weft"))
        .arg("up")
        .current_dir(folder.path())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let building = folder.path().join("building");
    let pid = wait_for(|| {
        fs::read_to_string(&building)
            .ok()
            .filter(|pid| !pid.is_empty())
    });
    Command::new("kill")
        .arg(up.id().to_string())
        .status()
        .unwrap();
    let output = up.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(
        text.ends_with("stopped while building; nothing was started\n"),
        "{text}"
    );
    let status = format!("/proc/{pid}/stat");
    wait_for(|| (!Path::new(&status).exists()).then_some(()));
}

fn wait_for<T>(mut found: impl FnMut() -> Option<T>) -> T {
    for _ in 0..2_000 {
        if let Some(found) = found() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("not in 20 s");
}

#[test]
fn a_service_that_does_not_start_is_shown_with_its_log_and_the_next_step() {
    let folder = folder(SMALL);
    let output = weft(folder.path(), &["up", "--data", "d"]);
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    for part in [
        "error: sock-1 does not start: it ended with exit status: 3\n",
        "  | no socks today\n",
        "help: `weft logs sock-1 --data d` shows more",
        "\n\nnothing is left running\n",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

#[test]
fn a_data_folder_that_cannot_be_made_has_a_way_out() {
    let folder = folder(SMALL);
    let output = weft(folder.path(), &["up", "--data", "mesh.yaml/d"]);
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(text.contains("mesh.yaml/d: Not a directory"), "{text}");
    assert!(text.contains("help: --data DIR"), "{text}");
}

#[test]
fn a_reader_that_leaves_early_breaks_nothing() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../mesh.yaml");
    for arguments in [
        &["check", file][..],
        &["check", "--json", file],
        &["status", "--data", "/none"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
        let output = command
            .args(arguments)
            .stdout(writer)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        assert_eq!(stderr(&output), "", "{arguments:?}");
    }
}

#[test]
fn every_command_has_help_with_an_example() {
    for command in ["up", "check", "status", "logs", "stop", "start"] {
        let text = stdout(&weft(Path::new("."), &[command, "--help"]));
        assert!(text.contains("Examples:\n  weft"), "{command}: {text}");
    }
}
