//! What can only be seen in a process of its own: signals, standard input, logs, exported spans. The
//! test starts itself again with the environment that it wants to see the effect of.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{
    env,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tracing::{Instrument as _, level_filters::LevelFilter};
use weft_runtime::{admin, runtime, shutdown, telemetry, trace};

/// Not a test: the process that the tests start.
#[test]
#[ignore = "started by the other tests"]
fn child() {
    runtime().unwrap().block_on(async {
        let levels = [("weft::access", LevelFilter::OFF)];
        let _telemetry = telemetry::init_with("child", &levels);
        let token = shutdown::token();
        let span = tracing::info_span!("work", step = 7);
        let mut headers = http::HeaderMap::new();
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        headers.insert("traceparent", parent.parse().unwrap());
        trace::extract(&headers, &span);
        async { tracing::info!(answer = 42, text = "two\nlines", "ready") }
            .instrument(span)
            .await;
        if env::var("CHILD_SERVES").is_ok() {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            tracing::info!(address = %listener.local_addr().unwrap(), "admin");
            let serving = admin::serve(listener, admin::Admin::default(), token.clone());
            serving.await.unwrap();
            tracing::debug!("only now");
        }
        if let Ok(lines) = env::var("CHILD_TELLS") {
            let (lines, text) = (lines.parse::<u64>().unwrap(), "sock ".repeat(40));
            (0..lines).for_each(|number| tracing::info!(number, text));
        }
        if env::var("CHILD_WAITS").is_ok() {
            token.cancelled().await;
        }
        tracing::info!("over");
    });
}

fn start(environment: &[(&str, &str)]) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env_remove("RUST_LOG")
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn line_with(child: &mut Child, text: &str) -> serde_json::Value {
    let lines = BufReader::new(child.stderr.as_mut().unwrap()).lines();
    let line = lines
        .map(Result::unwrap)
        .find(|line| line.contains(text))
        .unwrap();
    serde_json::from_str(&line).unwrap()
}

fn end(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    panic!("the process did not end");
}

#[test]
fn log_line_is_json_with_the_callers_trace() {
    let mut child = start(&[]);
    let line = line_with(&mut child, "\"ready\"");
    assert_eq!(line["message"], "ready");
    assert_eq!(line["process"], "child");
    assert_eq!(line["answer"], 42);
    assert_eq!(line["text"], "two\nlines");
    assert_eq!(line["step"], 7);
    assert_eq!(line["trace_id"], "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(line["span_id"].as_str().unwrap().len(), 16);
    assert!(end(&mut child).success());
}

/// Sends a request by hand and returns the answer.
fn ask(address: &str, request: &str) -> String {
    let mut tcp = TcpStream::connect(address).unwrap();
    write!(
        tcp,
        "{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn the_log_level_changes_while_the_process_runs() {
    let mut child = start(&[("CHILD_SERVES", "1")]);
    let line = line_with(&mut child, "\"admin\"");
    let address = line["address"].as_str().unwrap();
    let logging = |level: &str| ask(address, &format!("POST /logging?level={level}"));
    assert!(ask(address, "GET /logging").ends_with("\r\n\r\ninfo,weft::access=off\n"));
    let refused = logging("debgu");
    assert!(refused.starts_with("HTTP/1.1 400"), "{refused}");
    assert!(refused.contains("`debgu` is neither a level"), "{refused}");
    let from_a_page = "POST /logging?level=debug HTTP/1.1\r\norigin: http://evil.example\r\nx: x";
    assert!(ask(address, from_a_page).starts_with("HTTP/1.1 403"));
    assert!(logging("info,process=debug").ends_with("info,process=debug,weft::access=off\n"));
    assert!(ask(address, "GET /stats/prometheus").contains("process_threads"));
    assert!(ask(address, "GET /ready").starts_with("HTTP/1.1 503"));
    let pid = child.id().to_string();
    Command::new("kill").args(["-TERM", &pid]).status().unwrap();
    line_with(&mut child, "\"only now\"");
    assert!(end(&mut child).success());
}

/// The numbers in the log's whole lines, as they come, and its last line.
fn told(child: &mut Child) -> (Vec<u64>, String) {
    let mut log = String::new();
    let stderr = child.stderr.as_mut().unwrap();
    stderr.read_to_string(&mut log).unwrap();
    let lines = log
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'));
    let number = |line| serde_json::from_str::<serde_json::Value>(line).unwrap()["number"].as_u64();
    let last = log.lines().last().unwrap_or_default().to_owned();
    (lines.filter_map(number).collect(), last)
}

#[test]
fn a_log_that_nobody_reads_holds_nothing_up() {
    // Far more than a pipe and the queue before it hold.
    let mut child = start(&[("CHILD_TELLS", "20000")]);
    assert!(end(&mut child).success());
    let (numbers, _) = told(&mut child);
    assert!(!numbers.is_empty() && numbers.len() < 20_000);
    assert!(numbers.iter().copied().eq(0..numbers.len() as u64));
}

#[test]
fn a_log_that_is_read_is_whole_to_its_last_line() {
    // As many as may wait at once.
    let mut child = start(&[("CHILD_TELLS", "4000")]);
    let (numbers, last) = told(&mut child);
    assert!(end(&mut child).success());
    assert!(numbers.into_iter().eq(0..4_000));
    assert!(last.contains("\"over\""), "{last}");
}

#[test]
fn sigterm_drains() {
    let mut child = start(&[("CHILD_WAITS", "1")]);
    line_with(&mut child, "\"ready\"");
    let sent = Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
    assert!(end(&mut child).success());
}

#[test]
fn closed_standard_input_drains_where_it_is_wanted() {
    let mut child = start(&[("CHILD_WAITS", "1"), ("EXIT_ON_STDIN_CLOSE", "1")]);
    line_with(&mut child, "\"ready\"");
    assert!(child.try_wait().unwrap().is_none());
    drop(child.stdin.take());
    assert!(end(&mut child).success());

    let mut child = start(&[("CHILD_WAITS", "1")]);
    line_with(&mut child, "\"ready\"");
    drop(child.stdin.take());
    std::thread::sleep(Duration::from_millis(200));
    assert!(
        child.try_wait().unwrap().is_none(),
        "nobody asked it to end"
    );
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn spans_are_exported_before_the_process_ends() {
    let runtime = runtime().unwrap();
    let received = Arc::new(Mutex::new(Vec::<(String, Vec<u8>)>::new()));
    let listener = runtime
        .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
        .unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::clone(&received);
    let collector =
        axum::Router::new().fallback(async move |uri: http::Uri, body: axum::body::Body| {
            let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
            seen.lock()
                .unwrap()
                .push((uri.path().to_owned(), body.to_vec()));
            // An empty message, and the status where trailers would be.
            (
                [("content-type", "application/grpc"), ("grpc-status", "0")],
                vec![0_u8; 5],
            )
        });
    runtime.spawn(async move { axum::serve(listener, collector).await });

    let mut child = start(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{address}"))]);
    assert!(end(&mut child).success());
    let received = received.lock().unwrap();
    let (path, body) = received.first().expect("something was exported");
    assert_eq!(
        path,
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
    );
    for expected in ["child", "work", "service.name"] {
        let found = body
            .windows(expected.len())
            .any(|part| part == expected.as_bytes());
        assert!(found, "{expected} is not in the export");
    }
}

#[test]
fn collector_that_is_away_does_not_hold_the_process() {
    let mut child = start(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")]);
    let started = Instant::now();
    assert!(end(&mut child).success());
    assert!(started.elapsed() < Duration::from_secs(8));
}
