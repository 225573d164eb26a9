//! How `weft up` starts a service.

use std::collections::BTreeMap;

use crate::{
    dataplane::is_label_value,
    decode::{Decoder, Fields},
    mesh::{Program, Run},
    problem::Problem,
    span::Spanned,
    tree::Node,
};

/// What `weft up` sets for every service; a mesh file cannot.
const OWN_ENV: [&str; 5] = [
    "LISTEN",
    "ADMIN_LISTEN",
    "DATABASE_URL",
    "OUTBOUND_PROXY",
    "EXIT_ON_STDIN_CLOSE",
];
/// More would be a typing error on a laptop.
const MAX_REPLICAS: u64 = 20;

pub(super) fn read(decoder: &mut Decoder, node: &Node) -> Option<Run> {
    let mut fields = decoder.fields(node, "`run`");
    let beside = fields.take("versions");
    let mut run = one(decoder, fields, None)?;
    if let Some(node) = beside {
        run.versions = versions(decoder, node, &run);
    }
    Some(run)
}

/// Other versions beside `run`, by name.
fn versions(decoder: &mut Decoder, node: &Node, run: &Run) -> BTreeMap<String, Run> {
    let mut versions = BTreeMap::new();
    for (name, node) in decoder.fields(node, "`versions`").rest() {
        if !is_label_value(name) {
            let message = format!("`{}` cannot be the label `version`", name.value);
            let problem = Problem::new("wrong-name", name.span, message);
            decoder.report(problem.hint("letters, digits, and `-`, `_`, `.` inside"));
        }
        let fields = decoder.fields(node, "the version");
        if let Some(version) = one(decoder, fields, Some(run)) {
            versions.insert(name.value.clone(), version);
        }
    }
    versions
}

/// One version. What it leaves out is as in `base`, but for the number of replicas.
fn one(decoder: &mut Decoder, mut fields: Fields<'_>, base: Option<&Run>) -> Option<Run> {
    let program = program(decoder, &mut fields, base);
    let replicas = match fields.take("replicas") {
        Some(node) => decoder.integer(node, "`replicas`", 1..=MAX_REPLICAS)?.value,
        None => 1,
    };
    let mut env = base.map(|base| base.env.clone()).unwrap_or_default();
    if let Some(node) = fields.take("env") {
        env.extend(read_env(decoder, node));
    }
    fields.finish(decoder);
    Some(Run {
        program: program?,
        replicas: u32::try_from(replicas).unwrap_or(1),
        env,
        versions: BTreeMap::new(),
    })
}

fn program(
    decoder: &mut Decoder,
    fields: &mut Fields<'_>,
    base: Option<&Run>,
) -> Option<Spanned<Program>> {
    let is_said = fields.has("cargo") || fields.has("command");
    let cargo = fields
        .take("cargo")
        .and_then(|node| decoder.text(node, "`cargo`"))
        .map(|package| package.map(Program::Cargo));
    let command = fields
        .take("command")
        .and_then(|node| command(decoder, node));
    let one = "give `cargo`, a package of the workspace, or `command`, a program and its arguments";
    match (cargo, command, base) {
        (Some(_), Some(command), _) => {
            let message = "`run` has both `cargo` and `command`";
            decoder.report(Problem::new("wrong-value", command.span, message).hint(one));
            None
        }
        (Some(program), None, _) | (None, Some(program), _) => Some(program),
        (None, None, Some(base)) => Some(base.program.clone()),
        (None, None, None) => {
            // One that could not be read is a problem already.
            if !is_said && !fields.is_broken() {
                let message = "`run` does not say what to start";
                decoder.report(Problem::new("missing-key", fields.span, message).hint(one));
            }
            None
        }
    }
}

fn command(decoder: &mut Decoder, node: &Node) -> Option<Spanned<Program>> {
    let words = decoder.texts(node, "`command`");
    if words.is_empty() {
        let message = "`command` must be a list of a program and its arguments";
        let problem = Problem::new("wrong-value", node.span, message);
        decoder.report(problem.hint("such as `[python3, server.py]`"));
        return None;
    }
    let words = words.into_iter().map(|word| word.value).collect();
    Some(Spanned::new(Program::Command(words), node.span))
}

fn read_env(decoder: &mut Decoder, node: &Node) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    for (key, value) in decoder.fields(node, "`env`").rest() {
        if OWN_ENV.contains(&key.as_str()) {
            let message = format!("`{}` cannot be set here", key.value);
            let problem = Problem::new("wrong-value", key.span, message);
            decoder.report(problem.hint("`weft up` sets it for every service"));
        }
        if let Some(text) = decoder.text(value, "an environment variable") {
            env.insert(key.value.clone(), text.value);
        }
    }
    env
}
