//! `weft up` says what is wrong, leaves nothing behind, and has room for two.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{net::TcpListener, path::Path, process::Output, time::Duration};

use e2e::{Shop, shop, until};
use tokio::process::Command;

const DRAINED: Duration = Duration::from_secs(20);

async fn up(arguments: &[&str], data: &Path) -> Output {
    Command::new(shop::weft().unwrap())
        .args(["up", "--no-build", "--data"])
        .arg(data)
        .args(arguments)
        .current_dir(shop::root())
        .output()
        .await
        .unwrap()
}

fn alive(pid: u64) -> bool {
    // A zombie is not alive: its parent has only not asked for it yet.
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        !stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .trim()
            .starts_with('Z')
    })
}

fn pids(shop: &Shop) -> Vec<u64> {
    let state = shop.state();
    let processes = state["processes"].as_array().unwrap();
    processes
        .iter()
        .map(|process| process["pid"].as_u64().unwrap())
        .collect()
}

#[tokio::test]
async fn a_taken_port_is_named_and_nothing_is_left() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let data = tempfile::tempdir().unwrap();
    let output = up(&["--listen", &address], data.path()).await;
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains(&address), "{text}");
    assert!(text.contains("--listen"), "names the way out: {text}");
}

#[tokio::test]
async fn a_service_that_will_not_start_is_shown_with_its_last_lines() {
    let data = tempfile::tempdir().unwrap();
    let mesh = data.path().join("mesh.yaml");
    std::fs::write(
        &mesh,
        "mesh: { trustDomain: test.local, namespace: test }\n\
         services:\n  broken:\n    port: 7070\n    serviceAccount: broken\n    \
         run: { command: [sh, -c, 'echo the disk is on fire >&2; exit 3'] }\n\
         edge: { listen: 127.0.0.1:0 }\n",
    )
    .unwrap();
    let output = up(
        &["--mesh", mesh.to_str().unwrap()],
        &data.path().join("data"),
    )
    .await;
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        text.contains("broken") && text.contains("the disk is on fire"),
        "{text}"
    );
}

#[tokio::test]
async fn a_broken_mesh_file_gets_all_its_problems() {
    let data = tempfile::tempdir().unwrap();
    let mesh = data.path().join("mesh.yaml");
    std::fs::write(
        &mesh,
        "mesh: { trustDomain: test.local, namespace: test }\n\
         services:\n  a:\n    prot: 7070\n  b:\n    port: seven\nedge: { listen: nowhere }\n",
    )
    .unwrap();
    let output = up(
        &["--mesh", mesh.to_str().unwrap()],
        &data.path().join("data"),
    )
    .await;
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr);
    for place in [
        "mesh.yaml:4:",
        "mesh.yaml:6:",
        "mesh.yaml:7:",
        "prot",
        "seven",
        "nowhere",
    ] {
        assert!(text.contains(place), "no `{place}` in:\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_copies_run_side_by_side_and_leave_nothing() {
    let (one, two) = tokio::join!(Shop::start(&[]), Shop::start(&[]));
    let (one, two) = (one.unwrap(), two.unwrap());
    for shop in [&one, &two] {
        assert_eq!(shop.get("/v1/products", None).await.unwrap().status, 200);
        assert_eq!(shop.get("/", None).await.unwrap().status, 200);
        assert_eq!(shop.get("/openapi.json", None).await.unwrap().status, 200);
        assert!(shop.output().contains("curl "), "{}", shop.output());
        assert!(shop.weft(&["status"]).await.unwrap().contains("orders-1"));
        assert!(!shop.weft(&["logs", "orders"]).await.unwrap().is_empty());
    }
    let first = pids(&one);
    one.weft(&["stop"]).await.unwrap();
    until("the first copy is gone", DRAINED, async || {
        Ok(first.iter().all(|pid| !alive(*pid)).then_some(()))
    })
    .await
    .unwrap();
    assert_eq!(two.get("/v1/products", None).await.unwrap().status, 200);

    // SIGKILL gives `weft up` no chance to drain; its children notice.
    let (second, up) = (pids(&two), two.up_pid());
    let killed = Command::new("kill")
        .args(["-9", &up.to_string()])
        .status()
        .await
        .unwrap();
    assert!(killed.success());
    until("the second copy is gone", DRAINED, async || {
        Ok(second.iter().all(|pid| !alive(*pid)).then_some(()))
    })
    .await
    .unwrap();
}
