//! `weft test` as somebody at a terminal sees it, and the repository's own policy tests with it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs,
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use tempfile::TempDir;

/// A mesh of one service, one case that passes and one that does not.
const MIXED: &str = "\
methods: { shop.v1.CartService/GetCart: IDEMPOTENT }
mesh:
  services:
    carts:
      methodConfig:
        - name: [{}]
          timeout: 1s
          retryPolicy: { maxAttempts: 2, initialBackoff: 0.1s, maxBackoff: 0.1s, backoffMultiplier: 1, retryableStatusCodes: [UNAVAILABLE] }
endpoints: { carts: { a: UNAVAILABLE } }
cases:
  - name: two attempts
    calls: GetCart
    expect: { attempts: 2 }
  - name: three attempts
    calls: GetCart
    expect: { status: OK, attempts: 3 }
";

fn folder(name: &str, text: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("below")).unwrap();
    fs::write(folder.path().join("below").join(name), text).unwrap();
    folder
}

fn weft(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_weft"))
        .arg("test")
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// How long processes that this one waited for have worked. Others may be busy on this machine, and the
/// time that goes by says little then.
fn worked() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks = fields.split_whitespace().skip(13).take(2);
    let ticks: u64 = ticks.map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    // Linux counts in hundredths of a second, whatever its own clock.
    Duration::from_millis(ticks * 10)
}

#[test]
fn the_repository_s_policy_tests_pass_within_two_seconds() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let before = worked();
    let output = weft(&root, &["tests/policies"]);
    let took = worked() - before;
    let text = stdout(&output);
    assert!(output.status.success(), "{text}{}", stderr(&output));
    let passed = text.lines().filter(|line| line.starts_with("  ✓ "));
    let passed = passed.count();
    assert!(passed >= 60, "only {passed} cases");
    let summary = text.lines().last().unwrap();
    let expected = format!("{passed} passed, 0 failed: ");
    assert!(summary.starts_with(&expected), "{summary}");
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[test]
fn a_failure_is_told_with_what_was_found_and_how_it_came_about() {
    let folder = folder("carts.policytest.yaml", MIXED);
    let output = weft(folder.path(), &["."]);
    assert_eq!(output.status.code(), Some(1));
    let text = stdout(&output);
    for part in [
        "./below/carts.policytest.yaml\n  ✓ two attempts\n  ✗ three attempts\n",
        "status  ./below/carts.policytest.yaml:16:23\n        expected  OK\n        found     UNAVAILABLE, ANSWERED\n",
        "attempts  ./below/carts.policytest.yaml:16:37\n        expected  3\n        found     2\n",
        "0.00 ms  attempt 1 to a\n",
        "1.00 ms  a answers UNAVAILABLE; next attempt at ",
        "a answers UNAVAILABLE; that is the answer\n",
        "\n1 passed, 1 failed: ",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    assert!(!text.contains('\x1b'), "colours where no terminal is");
}

#[test]
fn cases_are_chosen_by_text_and_told_in_detail_if_asked() {
    let folder = folder("carts.policytest.yaml", MIXED);
    let output = weft(folder.path(), &["below", "--filter", "two", "--verbose"]);
    assert!(output.status.success());
    let text = stdout(&output);
    assert!(
        text.contains("attempt 2 to a") && !text.contains("three"),
        "{text}"
    );
    assert!(text.contains("\n1 passed, 0 failed: "), "{text}");
}

#[test]
fn each_case_is_a_json_object_if_asked() {
    let folder = folder("carts.policytest.yaml", MIXED);
    let output = weft(folder.path(), &["below/carts.policytest.yaml", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let text = stdout(&output);
    let cases: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(cases.len(), 2);
    assert_eq!(cases[0]["passed"], true);
    assert_eq!(cases[1]["name"], "three attempts");
    assert_eq!(cases[1]["mismatches"][1]["found"], "2");
    assert_eq!(cases[1]["mismatches"][1]["line"], 16);
    assert!(cases[1]["timeline"].as_array().unwrap().len() > 4);
}

#[test]
fn what_cannot_be_read_is_explained_and_the_rest_is_played() {
    let folder = folder("carts.policytest.yaml", MIXED);
    let broken = MIXED
        .replace("attempts: 3", "atempts: 3")
        .replace("a: UNAV", "a: UNAF");
    fs::write(folder.path().join("broken.policytest.yaml"), broken).unwrap();
    let output = weft(folder.path(), &["."]);
    assert_eq!(output.status.code(), Some(2));
    let problems = stderr(&output);
    for part in [
        "`UNAFAILABLE` is nothing an endpoint can answer\n --> ./broken.policytest.yaml:9:26\n",
        "error[unknown-key]: unknown key `atempts` in `expect`\n  --> ./broken.policytest.yaml:16:27\n",
        "= help: did you mean `attempts`?",
    ] {
        assert!(problems.contains(part), "{part:?} is not in\n{problems}");
    }
    let text = stdout(&output);
    assert!(
        text.contains("1 passed, 1 failed, 1 of 2 files cannot be read"),
        "{text}"
    );
}

#[test]
fn a_folder_without_policy_tests_and_a_file_that_is_not_there_are_errors() {
    let folder = folder("notes.txt", "nothing");
    let output = weft(folder.path(), &["."]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("no *.policytest.yaml in . or below"));
    let output = weft(folder.path(), &["no.policytest.yaml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("cannot read the policy test: "));
}

#[test]
fn a_mesh_file_of_somebody_else_is_tested_where_it_is() {
    let folder = folder(
        "mine.policytest.yaml",
        "mesh: ../mesh.yaml\n\
         cases: [{ name: it answers, calls: { method: my.Thing/Do, to: thing }, expect: { status: OK, rule: '*' } }]\n",
    );
    let mesh = "mesh: { trustDomain: my.example, namespace: mine }\n\
                services: { thing: { port: 9000, authz: { allow_rules: [{ name: all }] } } }\n";
    fs::write(folder.path().join("mesh.yaml"), mesh).unwrap();
    let output = weft(folder.path(), &["below"]);
    assert!(
        output.status.success(),
        "{}{}",
        stdout(&output),
        stderr(&output)
    );
    fs::write(
        folder.path().join("mesh.yaml"),
        mesh.replace("port", "prot"),
    )
    .unwrap();
    let output = weft(folder.path(), &["below"]);
    assert_eq!(output.status.code(), Some(2));
    let problems = stderr(&output);
    assert!(
        problems.contains("unknown key `prot`") && problems.contains("mesh.yaml:2:"),
        "{problems}"
    );
}
