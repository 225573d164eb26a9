//! `h2spec`, if it is installed, against the example server.

use std::{net::TcpListener, process::Command};

use crate::serve;

#[test]
fn h2spec_finds_nothing_wrong() {
    if Command::new("h2spec").arg("--version").output().is_err() {
        eprintln!(
            "SKIPPED: h2spec is not installed \
             (go install github.com/summerwind/h2spec/cmd/h2spec@latest)"
        );
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    // It ends with the process, as its clients may leave connections half open.
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            std::thread::spawn(move || serve::serve(socket.unwrap()).map_err(|_| ()));
        }
    });
    let output = Command::new("h2spec")
        .args([
            "--strict",
            "--host=127.0.0.1",
            "--timeout=5",
            "--port",
            &port,
        ])
        .output()
        .unwrap();
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && report.contains(" 0 failed"),
        "{report}"
    );
}
