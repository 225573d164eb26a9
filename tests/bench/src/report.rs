//! The report as Markdown tables.

use crate::{
    peers::Layout,
    results::{Cell, Measured, Results},
    shapes,
};

/// The whole report.
pub fn markdown(results: &Results) -> String {
    let mut text = format!(
        "# Benchmark ({}, {} rounds)\n\n{}; load of the machine before: {}\n\n",
        results.mode, results.rounds, results.processor, results.load_before
    );
    for (peer, version) in &results.versions {
        text += &format!("- {peer} {version}\n");
    }
    let megabytes = results.weft_binary_bytes as f64 / 1e6;
    text += &format!("- the binary weft has {megabytes:.1} MB\n");
    for skipped in &results.skipped {
        let why = skipped.why.lines().next().unwrap_or_default();
        text += &format!(
            "- NOT MEASURED: {}, {}: {why}\n",
            skipped.peer, skipped.layout
        );
    }
    for (layout, title) in [
        (Layout::Hop, "One cleartext hop"),
        (Layout::Pair, "Pair with mutual TLS, both proxies together"),
    ] {
        if results.of(layout).next().is_none() {
            continue;
        }
        text += &format!("\n## {title}\n\nCPU per call, ratio to Envoy:\n\n");
        text += &cells(results, layout, |cell| cell.cpu_ratio, 3);
        text += "\nCPU per call, µs:\n\n";
        text += &cells(results, layout, |cell| cell.cpu_us, 2);
        text += "\n";
        text += &rest(results, layout);
    }
    if !results.minutes.is_empty() {
        text += "\n## A minute at 3,000 calls/s\n\n";
        text += "| | calls | failed | over 20 ms | p99, ms | longest, ms |\n|---|--:|--:|--:|--:|--:|\n";
    }
    for minute in &results.minutes {
        text += &format!(
            "| {}, {} | {} | {} | {} | {:.2} | {:.1} |\n",
            minute.peer,
            minute.layout,
            minute.calls,
            minute.errors,
            minute.stalls,
            f64::from(minute.p99_us) / 1e3,
            f64::from(minute.max_us) / 1e3
        );
    }
    text
}

/// One row for each target, one column for each load. `!` marks calls that failed.
fn cells(
    results: &Results,
    layout: Layout,
    figure: impl Fn(&Cell) -> Option<f64>,
    digits: usize,
) -> String {
    let mut text = "|".to_owned();
    let mut rule = "|---|".to_owned();
    for shape in shapes::ALL {
        text += &format!(" | {}", shape.name);
        rule += "--:|";
    }
    text += &format!(" |\n{rule}\n");
    for measured in results.of(layout) {
        text += &format!("| {}", measured.peer);
        for cell in &measured.cells {
            let mark = if cell.errors > 0 { " !" } else { "" };
            let value = figure(cell).map_or("–".to_owned(), |value| format!("{value:.digits$}"));
            text += &format!(" | {value}{mark}");
        }
        text += " |\n";
    }
    text
}

/// Latency at the fixed rate, memory and start.
fn rest(results: &Results, layout: Layout) -> String {
    let mut text =
        "| | added p50, µs | added p99, µs | p99 to Envoy's | memory, MB | to Envoy's | first call after, ms | ready after, ms |\n|---|--:|--:|--:|--:|--:|--:|--:|\n"
            .to_owned();
    let envoy = results.of(layout).find(|measured| measured.peer == "envoy");
    let p99 = |measured: &Measured| measured.fixed()?.added_p99_us;
    let memory = |measured: &Measured| Some(measured.resident_kb? as f64 / 1024.0);
    let ratio = |measured: &Measured, of: &dyn Fn(&Measured) -> Option<f64>| {
        Some(of(measured)? / of(envoy?)?)
    };
    let number = |value: Option<f64>, digits: usize| {
        value.map_or("–".to_owned(), |value| format!("{value:.digits$}"))
    };
    for measured in results.of(layout) {
        let fixed = measured.fixed();
        let queue = fixed.is_some_and(Cell::saturated);
        text += &format!(
            "| {} | {} | {}{} | {} | {} | {} | {} | {} |\n",
            measured.peer,
            number(fixed.and_then(|cell| cell.added_p50_us), 0),
            number(p99(measured), 0),
            if queue { " (rate not reached)" } else { "" },
            number(ratio(measured, &p99), 2),
            number(memory(measured), 1),
            number(ratio(measured, &memory), 2),
            number(measured.first_call_ms, 0),
            number(measured.ready_ms, 0),
        );
    }
    text
}
