//! What `/proc/self` says about the process.

use std::{
    fs,
    sync::LazyLock,
    time::{SystemTime, UNIX_EPOCH},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
};

/// Linux counts processor time in this unit for user space on every architecture.
const TICKS_PER_SECOND: f64 = 100.0;
const PAGE_BYTES_FALLBACK: i64 = 4096;

static START: LazyLock<f64> = LazyLock::new(|| {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
});

/// Reads on every scrape; what the system does not tell is left out.
#[derive(Debug)]
pub(super) struct ProcessCollector;

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let gauge = |encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: i64| {
            let metric = ConstGauge::new(value);
            let writer = encoder.encode_descriptor(name, help, None, metric.metric_type())?;
            metric.encode(writer)
        };
        let start = ConstGauge::new(*START);
        let writer = encoder.encode_descriptor(
            "process_start_time_seconds",
            "When the process started, in seconds since 1970.",
            None,
            start.metric_type(),
        )?;
        start.encode(writer)?;
        if let Some(stat) = Stat::read() {
            let cpu = ConstCounter::new(stat.cpu_seconds);
            let writer = encoder.encode_descriptor(
                "process_cpu_seconds",
                "Processor time spent in user and system mode.",
                None,
                cpu.metric_type(),
            )?;
            cpu.encode(writer)?;
            gauge(
                &mut encoder,
                "process_threads",
                "Threads of the process.",
                stat.threads,
            )?;
        }
        let dropped = ConstCounter::new(crate::telemetry::dropped_lines());
        let writer = encoder.encode_descriptor(
            "weft_log_lines_dropped",
            "Log lines left out because too many waited to be written.",
            None,
            dropped.metric_type(),
        )?;
        dropped.encode(writer)?;
        if let Some(bytes) = resident_bytes() {
            let help = "Memory of the process that is in RAM, in bytes.";
            gauge(&mut encoder, "process_resident_memory_bytes", help, bytes)?;
        }
        if let Ok(files) = fs::read_dir("/proc/self/fd") {
            let open = i64::try_from(files.count()).unwrap_or(i64::MAX);
            gauge(
                &mut encoder,
                "process_open_fds",
                "Open file descriptors.",
                open,
            )?;
        }
        Ok(())
    }
}

struct Stat {
    cpu_seconds: f64,
    threads: i64,
}

impl Stat {
    fn read() -> Option<Self> {
        let text = fs::read_to_string("/proc/self/stat").ok()?;
        // The command's name, field 2, may hold blanks and parentheses: start behind it.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let user: f64 = fields.get(11)?.parse().ok()?;
        let system: f64 = fields.get(12)?.parse().ok()?;
        let threads = fields.get(17)?.parse().ok()?;
        Some(Self {
            cpu_seconds: (user + system) / TICKS_PER_SECOND,
            threads,
        })
    }
}

fn resident_bytes() -> Option<i64> {
    if let Some(kibibytes) = status_kibibytes("VmRSS:") {
        return Some(kibibytes * 1024);
    }
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: i64 = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * PAGE_BYTES_FALLBACK)
}

fn status_kibibytes(key: &str) -> Option<i64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}

/// Fixes the start time; called when the registry is made.
pub(super) fn mark_start() {
    LazyLock::force(&START);
}
