//! The one screen `weft up` prints when everything is ready.

use std::fmt::Write as _;

use weft_model::Mesh;

use crate::{
    args::UpArgs,
    data::{DataFolder, State},
    locate, status,
    terminal::Paint,
};

/// Prints the screen, or one JSON object.
pub fn show(mesh: &Mesh, state: &State, args: &UpArgs, data: &DataFolder, detached: bool) {
    if args.json {
        say!("{}", json(mesh, state, data));
    } else {
        say!("{}", text(mesh, state, args, data, detached));
    }
}

fn json(mesh: &Mesh, state: &State, data: &DataFolder) -> serde_json::Value {
    let examples: Vec<_> = mesh
        .edge
        .examples
        .iter()
        .map(|example| serde_json::json!({ "name": example.name, "shell": filled(&example.shell, state) }))
        .collect();
    let edge = edge_url(state);
    serde_json::json!({
        "edge": edge,
        "docs": format!("{edge}/docs"),
        "control": format!("http://{}", state.control),
        "data": data.path(),
        "logs": data.logs(),
        "try": examples,
        "processes": state.processes,
    })
}

fn text(mesh: &Mesh, state: &State, args: &UpArgs, data: &DataFolder, detached: bool) -> String {
    let (paint, edge) = (Paint::stdout(), edge_url(state));
    let (weft, place) = (locate::own_name(), args.place.flags());
    let mut out = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "  {}{value}", paint.dim(&format!("{name:<10}")));
    };
    if mesh.edge.pages.is_some() {
        line("shop", paint.strong(&format!("{edge}/")));
    }
    line("API docs", format!("{edge}/docs"));
    line("gRPC", format!("grpcurl -plaintext {} list", state.edge));
    let (count, memory) = status::totals(state);
    line(
        "status",
        format!("{weft} status{place}    {count} processes, {memory}"),
    );
    line("logs", format!("{weft} logs SERVICE -f{place}"));
    line(
        "data",
        format!("{}    logs/ are there, too", data.path().display()),
    );
    let stop = match detached {
        true => format!("{weft} stop{place}"),
        false => "Ctrl-C".to_owned(),
    };
    line("stop", stop);
    for example in &mesh.edge.examples {
        let title = paint.dim(&format!("{}:", example.name));
        let _ = write!(out, "\n  {title}\n\n{}\n", filled(&example.shell, state));
    }
    out
}

fn edge_url(state: &State) -> String {
    format!("http://{}", state.edge)
}

fn filled(shell: &str, state: &State) -> String {
    shell.replace("$EDGE", &edge_url(state))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edge_is_filled_in_and_the_shells_own_variables_are_not() {
        let state = State {
            pid: 1,
            start_ticks: 1,
            mesh: Default::default(),
            ready: true,
            edge: ([127, 0, 0, 1], 8080).into(),
            control: ([127, 0, 0, 1], 9900).into(),
            processes: Vec::new(),
        };
        let shell = "curl $EDGE/v1/orders -H \"Authorization: Bearer $T\"";
        assert_eq!(
            filled(shell, &state),
            "curl http://127.0.0.1:8080/v1/orders -H \"Authorization: Bearer $T\""
        );
    }
}
