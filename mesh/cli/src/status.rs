//! `weft status`, and the table of processes.

use std::{fmt::Write as _, process::ExitCode, time::Duration};

use serde_json::{Value, json};

use crate::{
    args::StatusArgs,
    data::{self, DataFolder, Process, State},
    http_get, locate, system, terminal,
};

/// Prints what runs; exit code 1 if nothing does or something is not ready.
///
/// # Errors
///
/// If the state cannot be read.
pub fn run(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let data = DataFolder::new(locate::data_folder(&args.place)?);
    let Some(state) = data.state()?.filter(State::is_running) else {
        if args.json {
            say!("{}", json!({ "running": false, "data": data.path() }));
        } else {
            say!(
                "nothing runs in {}\n  help: `weft up{}` starts it",
                data.path().display(),
                args.place.flags()
            );
        }
        return Ok(ExitCode::FAILURE);
    };
    let (ready, control) = weft_runtime::runtime()?.block_on(ask(&state));
    let wanted = state
        .processes
        .iter()
        .zip(&ready)
        .filter(|(process, _)| !process.held);
    let all = wanted.into_iter().all(|(_, ready)| *ready);
    if args.json {
        say!("{}", to_json(&state, &data, &ready, control));
    } else {
        let is_ready = |process: &Process| {
            let index = state
                .processes
                .iter()
                .position(|other| other.name == process.name);
            index.is_some_and(|index| ready[index])
        };
        say!("  mesh  {}", state.mesh.display());
        say!("  edge  http://{}/", state.edge);
        say!("  data  {}\n", data.path().display());
        let columns = terminal::columns(&std::io::stdout());
        say!("{}", table(&state, is_ready, columns).trim_end());
        match &control {
            Some(control) => say!("{}", configuration(control).trim_end()),
            None => {
                say!("\n  the control plane does not answer; everything goes on as configured")
            }
        }
    }
    Ok(if all {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Asks every process whether it is ready, and control for its view, all at once.
async fn ask(state: &State) -> (Vec<bool>, Option<Value>) {
    let polls: Vec<_> = state
        .processes
        .iter()
        .map(|process| {
            let admin = process
                .ports
                .get("admin")
                .copied()
                .filter(|_| process.live_pid().is_some());
            tokio::spawn(async move {
                let Some(admin) = admin else { return false };
                http_get::get(admin, "/readyz")
                    .await
                    .is_ok_and(|(status, _)| status.is_success())
            })
        })
        .collect();
    let control = http_get::get(state.control, "/status").await;
    let mut ready = Vec::new();
    for poll in polls {
        ready.push(poll.await.unwrap_or(false));
    }
    (
        ready,
        control
            .ok()
            .and_then(|(_, body)| serde_json::from_slice(&body).ok()),
    )
}

fn to_json(state: &State, data: &DataFolder, ready: &[bool], control: Option<Value>) -> Value {
    let processes: Vec<_> = state
        .processes
        .iter()
        .zip(ready)
        .map(|(process, ready)| {
            let pid = process.live_pid();
            json!({
                "name": process.name,
                "service": process.service,
                "pid": pid,
                "ready": ready,
                "uptimeSeconds": pid.map(|_| uptime(process).as_secs()),
                "held": process.held,
                "restarts": process.restarts,
                "memoryBytes": pid.and_then(system::resident_bytes),
                "ports": process.ports,
                "identity": process.identity,
                "log": process.log,
            })
        })
        .collect();
    json!({
        "running": true,
        "pid": state.pid,
        "mesh": state.mesh,
        "edge": format!("http://{}", state.edge),
        "data": data.path(),
        "processes": processes,
        "control": control,
    })
}

fn uptime(process: &Process) -> Duration {
    Duration::from_secs(data::unix_seconds().saturating_sub(process.started_at))
}

const HEADINGS: [&str; 8] = [
    "PROCESS", "PID", "READY", "UP", "RESTARTS", "MEMORY", "LISTENS", "IDENTITY",
];
/// Left out one after the other where the terminal is too narrow.
const OPTIONAL: [usize; 3] = [7, 6, 4];

/// One line a process, no wider than `columns`, and the memory of all.
fn table(state: &State, is_ready: impl Fn(&Process) -> bool, columns: Option<usize>) -> String {
    let below = below(state);
    let mut rows = vec![HEADINGS.map(str::to_owned)];
    rows.extend(
        state
            .processes
            .iter()
            .map(|process| row(process, is_ready(process), &below)),
    );
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].len())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<_> = (0..HEADINGS.len()).map(width).collect();
    let mut shown: Vec<usize> = (0..HEADINGS.len()).collect();
    for optional in OPTIONAL {
        let needed: usize = shown.iter().map(|column| widths[*column] + 2).sum();
        if columns.is_some_and(|columns| needed > columns) {
            shown.retain(|column| *column != optional);
        }
    }
    let mut out = String::new();
    for row in &rows {
        let mut line = String::new();
        for column in &shown {
            let _ = write!(line, "  {:<width$}", row[*column], width = widths[*column]);
        }
        let _ = writeln!(out, "{}", line.trim_end());
    }
    let (count, memory) = totals(state);
    let _ = writeln!(out, "  {count} processes, {memory} in all");
    if shown.contains(&7) && !below.is_empty() {
        let _ = writeln!(out, "  identities are below {below}");
    }
    out
}

fn row(process: &Process, is_ready: bool, below: &str) -> [String; 8] {
    let pid = process.live_pid();
    let ready = match (process.held, is_ready) {
        (true, _) => "held",
        (false, true) => "yes",
        (false, false) => "no",
    };
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let identity = process.identity.as_ref();
    [
        process.name.clone(),
        or_none(pid.map(|pid| pid.to_string())),
        ready.to_owned(),
        or_none(pid.map(|_| short(uptime(process)))),
        process.restarts.to_string(),
        or_none(pid.and_then(system::resident_bytes).map(mebibytes)),
        listens(process),
        or_none(identity.map(|id| id.strip_prefix(below).unwrap_or(id).to_owned())),
    ]
}

/// What all identities begin with, up to a slash: there is one trust domain and one namespace.
fn below(state: &State) -> String {
    let mut identities = state
        .processes
        .iter()
        .filter_map(|process| process.identity.as_deref());
    let first = identities.next().unwrap_or_default();
    let folder = |id: &str| id.rfind('/').map_or(0, |slash| slash + 1);
    let prefix = &first[..folder(first)];
    match identities.all(|id| &id[..folder(id)] == prefix) {
        true => prefix.to_owned(),
        false => String::new(),
    }
}

/// How many processes there are, and their memory.
pub fn totals(state: &State) -> (usize, String) {
    let pids = state.processes.iter().filter_map(Process::live_pid);
    let bytes = pids.filter_map(system::resident_bytes).sum();
    (state.processes.len(), mebibytes(bytes))
}

/// The address others use: a sidecar's inbound listener, else the process's own.
fn listens(process: &Process) -> String {
    let address = process
        .ports
        .get("inbound")
        .or_else(|| process.ports.get("listen"));
    address.map_or("-".to_owned(), ToString::to_string)
}

/// Which versions of the configuration every proxy has accepted, and what was refused, by control's
/// status.
fn configuration(control: &Value) -> String {
    let mut out = String::new();
    let problems = control["meshFile"]["problems"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    if !problems.is_empty() {
        let _ = writeln!(out, "\n  the mesh file was changed and is refused:");
    }
    for problem in problems {
        let text = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
        let (file, message) = (text("file"), text("message"));
        let _ = writeln!(
            out,
            "    {file}:{}:{}: {message}",
            problem["line"], problem["column"]
        );
    }
    let nodes = control["nodes"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let _ = writeln!(out, "\n  configuration: accepted versions");
    for node in nodes {
        let types = node["types"].as_object().into_iter().flatten();
        let versions: Vec<_> = types.map(|(kind, status)| accepted(kind, status)).collect();
        let name = node["node"].as_str().unwrap_or("-");
        let _ = writeln!(out, "    {name:<18} {}", versions.join("  "));
    }
    out
}

/// One resource type: `clusters 1a2b3c4d`, with what is not accepted yet or never will be.
fn accepted(kind: &str, status: &Value) -> String {
    let short = |version: &Value| {
        version
            .as_str()
            .map_or("-".to_owned(), |version| version.chars().take(8).collect())
    };
    let mut text = format!("{kind} {}", short(&status["acked"]));
    if let Some(why) = status["nacked"]["detail"].as_str() {
        let _ = write!(
            text,
            " (REFUSED {}: {why})",
            short(&status["nacked"]["version"])
        );
    } else if status["sent"] != status["acked"] {
        let _ = write!(text, " ({} is on its way)", short(&status["sent"]));
    }
    text
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MB", bytes.div_ceil(1 << 20))
}

fn short(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        seconds => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_configuration_says_why() {
        let control = json!({
            "meshFile": { "problems": [{ "file": "mesh.yaml", "line": 3, "column": 5, "message": "no" }] },
            "nodes": [{ "node": "orders-1", "types": {
                "clusters": { "sent": "aaaaaaaaaa", "acked": "aaaaaaaaaa", "nacked": null },
                "endpoints": { "sent": "cccc", "acked": "bbbb", "nacked": null },
                "listeners": { "sent": "eeee", "acked": "dddd", "nacked": { "version": "eeee", "detail": "no port" } },
            }}],
        });
        let shown = configuration(&control);
        let expected = "orders-1           clusters aaaaaaaa  endpoints bbbb (cccc is on its way)  \
                        listeners dddd (REFUSED eeee: no port)\n";
        assert!(shown.ends_with(expected), "{shown}");
        assert!(shown.contains("    mesh.yaml:3:5: no\n"), "{shown}");
    }

    #[test]
    fn times_are_short() {
        let shown = [5, 65, 3_700].map(|seconds| short(Duration::from_secs(seconds)));
        assert_eq!(shown, ["5s", "1m05s", "1h01m"]);
    }

    #[test]
    fn a_process_that_is_gone_has_no_pid() {
        let state = State {
            pid: 1,
            start_ticks: 1,
            mesh: Default::default(),
            ready: true,
            edge: ([127, 0, 0, 1], 1).into(),
            control: ([127, 0, 0, 1], 1).into(),
            processes: vec![Process {
                name: "edge".to_owned(),
                pid: Some(1),
                start_ticks: Some(0),
                ..Process::default()
            }],
        };
        let table = table(&state, |_| false, None);
        assert!(table.contains("  edge     -    no     -   0"), "{table}");
    }

    #[test]
    fn the_table_fits_the_terminal() {
        let process = |name: &str| Process {
            name: format!("{name}-1-sidecar"),
            identity: Some(format!("spiffe://sockshop.local/ns/shop/sa/{name}")),
            ports: [("inbound".to_owned(), ([127, 0, 0, 1], 54_321).into())].into(),
            ..Process::default()
        };
        let state = State {
            pid: 1,
            start_ticks: 1,
            mesh: Default::default(),
            ready: true,
            edge: ([127, 0, 0, 1], 1).into(),
            control: ([127, 0, 0, 1], 1).into(),
            processes: vec![process("notifications"), process("orders")],
        };
        for columns in [60, 80, 120] {
            let table = table(&state, |_| true, Some(columns));
            let widest = table.lines().map(str::len).max().unwrap();
            assert!(widest <= columns, "{widest}:\n{table}");
            assert_eq!(table.contains("IDENTITY"), columns == 120, "{table}");
        }
        let table = table(&state, |_| true, None);
        assert!(table.contains("127.0.0.1:54321  orders\n"), "{table}");
        assert!(table.contains("identities are below spiffe://sockshop.local/ns/shop/sa/\n"));
    }
}
