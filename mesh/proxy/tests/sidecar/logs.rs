//! What the sidecars log, kept for tests to read.

use std::{
    io,
    sync::{Arc, LazyLock},
    time::Duration,
};

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use parking_lot::Mutex;
use tracing_subscriber::{
    Layer as _,
    filter::{LevelFilter, Targets},
    fmt::MakeWriter,
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

static LINES: LazyLock<Arc<Mutex<String>>> = LazyLock::new(|| {
    let lines: Arc<Mutex<String>> = Arc::default();
    let logs = tracing_subscriber::fmt::layer()
        .json()
        .with_writer(Writer(Arc::clone(&lines)))
        .with_filter(LevelFilter::INFO);
    // Spans need ids to be passed on; nobody exports them.
    let tracer = SdkTracerProvider::builder().build().tracer("test");
    weft_runtime::trace::calls::export_calls(tracer.clone());
    let spans = tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_filter(Targets::new().with_target("weft", LevelFilter::INFO));
    let _ = tracing_subscriber::registry()
        .with(spans)
        .with(logs)
        .try_init();
    lines
});

#[derive(Clone)]
struct Writer(Arc<Mutex<String>>);

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().push_str(&String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Writer {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

pub fn capture() {
    LazyLock::force(&LINES);
}

/// Waits for a line with all of `parts`.
pub async fn line(parts: &[&str]) -> String {
    line_within(Duration::from_secs(4), parts).await
}

/// As [`line`], for so long.
pub async fn line_within(patience: Duration, parts: &[&str]) -> String {
    for _ in 0..patience.as_millis() / 20 {
        if let Some(line) = now(parts) {
            return line;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("no log line with {parts:?} in:\n{}", LINES.lock());
}

/// A line with all of `parts`, if it is there.
pub fn now(parts: &[&str]) -> Option<String> {
    all(parts).into_iter().next()
}

/// The lines with all of `parts`.
pub fn all(parts: &[&str]) -> Vec<String> {
    let lines = LINES.lock();
    let lines = lines
        .lines()
        .filter(|line| parts.iter().all(|part| line.contains(part)));
    lines.map(str::to_owned).collect()
}
