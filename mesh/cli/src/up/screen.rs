//! The one screen `weft up` prints when everything is ready.

use std::fmt::Write as _;

use weft_model::Mesh;

use crate::{args::UpArgs, data::DataFolder, data::State, status};

/// Prints the screen, or one JSON object.
pub fn show(mesh: &Mesh, state: &State, args: &UpArgs, data: &DataFolder, detached: bool) {
    if args.json {
        println!("{}", json(mesh, state, data));
    } else {
        println!("{}", text(mesh, state, args, data, detached));
    }
}

fn json(mesh: &Mesh, state: &State, data: &DataFolder) -> serde_json::Value {
    let examples: Vec<_> = mesh
        .edge
        .examples
        .iter()
        .map(|example| serde_json::json!({ "name": example.name, "shell": filled(&example.shell, state) }))
        .collect();
    serde_json::json!({
        "edge": edge_url(state),
        "control": format!("http://{}", state.control),
        "data": data.path(),
        "logs": data.logs(),
        "try": examples,
        "processes": state.processes,
    })
}

fn text(mesh: &Mesh, state: &State, args: &UpArgs, data: &DataFolder, detached: bool) -> String {
    // The data folder has to be named where it is not the one that is found.
    let place = match (&args.place.mesh, &args.place.data) {
        (_, Some(_)) => format!(" --data {}", data.path().display()),
        (Some(mesh), None) => format!(" --mesh {}", mesh.display()),
        (None, None) => String::new(),
    };
    let (edge, authority) = (edge_url(state), state.edge);
    let mut out = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "  {name:<9}{value}");
    };
    if mesh.edge.pages.is_some() {
        line("shop", format!("{edge}/"));
    }
    line("API docs", format!("{edge}/openapi.json"));
    line(
        "control",
        format!("http://{}/    weft status{place}", state.control),
    );
    line("data", data.path().display().to_string());
    line(
        "logs",
        format!("{}    weft logs SERVICE -f{place}", data.logs().display()),
    );
    let stop = if detached {
        format!("weft stop{place}")
    } else {
        "Ctrl-C".to_owned()
    };
    line("stop", stop);
    for example in &mesh.edge.examples {
        let _ = write!(
            out,
            "\n  {}:\n\n{}\n",
            example.name,
            filled(&example.shell, state)
        );
    }
    let _ = write!(
        out,
        "\n  every gRPC service:\n\ngrpcurl -plaintext {authority} list\n\n"
    );
    out.push_str(&status::table(state, |process| process.ready));
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
