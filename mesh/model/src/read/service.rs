//! One entry of `services`.

use std::collections::BTreeMap;

use super::{behaviour, label};
use crate::{
    decode::Decoder,
    mesh::{Authz, CONTROL_ACCOUNT, Database, EDGE_ACCOUNT, Program, Rule, Run, Service},
    problem::Problem,
    span::Spanned,
    tree::{Node, Value},
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

pub(super) fn read(decoder: &mut Decoder, name: &Spanned<String>, node: &Node) -> Option<Service> {
    let mut fields = decoder.fields(node, "the service");
    if fields.is_broken() {
        return None;
    }
    fields.span = name.span;
    let port = fields
        .require(decoder, "port")
        .and_then(|node| decoder.integer(node, "`port`", 1..=65_535));
    let service_account = fields
        .take("serviceAccount")
        .and_then(|node| service_account(decoder, node));
    let serves = fields
        .take("serves")
        .map(|node| serves(decoder, node))
        .unwrap_or_default();
    let run = fields.take("run").and_then(|node| run(decoder, node));
    let database = fields
        .take("database")
        .and_then(|node| database(decoder, node));
    let method_config = behaviour::method_configs(decoder, fields.take("methodConfig"));
    let retry_throttling = fields
        .take("retryThrottling")
        .and_then(|node| behaviour::retry_throttling(decoder, node));
    let outlier_detection = fields
        .take("outlierDetection")
        .and_then(|node| behaviour::outlier_detection(decoder, node));
    let authz = fields
        .take("authz")
        .map(|node| authz(decoder, node))
        .unwrap_or_default();
    fields.finish(decoder);
    Some(Service {
        name: name.clone(),
        // A value that could not be read is a problem by now; the rest is read on.
        port: port.map_or(Spanned::new(0, name.span), |port| {
            port.map(|port| u16::try_from(port).unwrap_or_default())
        }),
        service_account: service_account.unwrap_or_else(|| name.clone()),
        serves,
        run,
        database,
        method_config,
        retry_throttling,
        outlier_detection,
        authz,
    })
}

fn serves(decoder: &mut Decoder, node: &Node) -> Vec<Spanned<String>> {
    let mut serves: Vec<Spanned<String>> = Vec::new();
    for name in decoder.texts(node, "`serves`") {
        if serves.iter().any(|other| other.value == name.value) {
            let message = format!("`{}` is in `serves` twice", name.value);
            decoder.report(Problem::new("duplicate-name", name.span, message));
        } else {
            serves.push(name);
        }
    }
    serves
}

fn service_account(decoder: &mut Decoder, node: &Node) -> Option<Spanned<String>> {
    let account = decoder.text(node, "`serviceAccount`")?;
    label(decoder, &account, "service account");
    let (owner, harm) = match account.as_str() {
        EDGE_ACCOUNT => ("edge", "a service with it could act for every end user"),
        CONTROL_ACCOUNT => (
            "control plane",
            "a service with it could tell every sidecar whom to trust",
        ),
        _ => return Some(account),
    };
    let message = format!(
        "the service account `{}` belongs to the {owner}",
        account.value
    );
    let problem = Problem::new("wrong-name", account.span, message);
    decoder.report(problem.hint(harm));
    Some(account)
}

fn run(decoder: &mut Decoder, node: &Node) -> Option<Run> {
    let mut fields = decoder.fields(node, "`run`");
    let cargo = fields
        .take("cargo")
        .and_then(|node| decoder.text(node, "`cargo`"))
        .map(|package| package.map(Program::Cargo));
    let command = fields.take("command").and_then(|node| {
        let words = decoder.texts(node, "`command`");
        if words.is_empty() {
            let message = "`command` must be a list of a program and its arguments";
            let problem = Problem::new("wrong-value", node.span, message);
            decoder.report(problem.hint("such as `[python3, server.py]`"));
            return None;
        }
        let words = words.into_iter().map(|word| word.value).collect();
        Some(Spanned::new(Program::Command(words), node.span))
    });
    let replicas = match fields.take("replicas") {
        Some(node) => decoder.integer(node, "`replicas`", 1..=MAX_REPLICAS)?.value,
        None => 1,
    };
    let env = fields
        .take("env")
        .map(|node| env(decoder, node))
        .unwrap_or_default();
    let (span, broken) = (fields.span, fields.is_broken());
    fields.finish(decoder);
    let one = "give `cargo`, a package of the workspace, or `command`, a program and its arguments";
    let program = match (cargo, command) {
        (Some(program), None) | (None, Some(program)) => program,
        (Some(_), Some(command)) => {
            let message = "`run` has both `cargo` and `command`";
            decoder.report(Problem::new("wrong-value", command.span, message).hint(one));
            return None;
        }
        (None, None) => {
            if !broken {
                let message = "`run` does not say what to start";
                decoder.report(Problem::new("missing-key", span, message).hint(one));
            }
            return None;
        }
    };
    Some(Run {
        program,
        replicas: u32::try_from(replicas).unwrap_or(1),
        env,
    })
}

fn env(decoder: &mut Decoder, node: &Node) -> BTreeMap<String, String> {
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

fn database(decoder: &mut Decoder, node: &Node) -> Option<Database> {
    let text = decoder.text(node, "`database`")?;
    if text.value == "sqlite" {
        return Some(Database::Sqlite);
    }
    let schemes = ["postgres://", "postgresql://", "sqlite://"];
    if schemes.iter().any(|scheme| text.starts_with(scheme)) {
        return Some(Database::Url(text.value));
    }
    let message = format!("`{}` is no database weft knows", text.value);
    let problem = Problem::new("wrong-value", text.span, message);
    decoder.report(problem.hint("`sqlite` for a file kept by `weft up`, or `postgres://...`"));
    None
}

fn authz(decoder: &mut Decoder, node: &Node) -> Authz {
    let mut fields = decoder.fields(node, "`authz`");
    let authz = Authz {
        deny_rules: rules(decoder, fields.take("deny_rules")),
        allow_rules: rules(decoder, fields.take("allow_rules")),
    };
    fields.finish(decoder);
    authz
}

fn rules(decoder: &mut Decoder, node: Option<&Node>) -> Vec<Rule> {
    let Some(node) = node else {
        return Vec::new();
    };
    let mut rules: Vec<Rule> = Vec::new();
    for node in decoder.list(node, "caller rules") {
        let Some(rule) = rule(decoder, node) else {
            continue;
        };
        if rules
            .iter()
            .any(|other| other.name.value == rule.name.value)
        {
            let message = format!("two rules are called `{}`", rule.name.value);
            let problem = Problem::new("duplicate-name", rule.name.span, message);
            decoder.report(problem.hint("logs and errors name the rule that decided"));
        }
        rules.push(rule);
    }
    rules
}

fn rule(decoder: &mut Decoder, node: &Node) -> Option<Rule> {
    let mut fields = decoder.fields(node, "the caller rule");
    let name = fields
        .require(decoder, "name")
        .and_then(|node| decoder.text(node, "`name`"));
    let principals = patterns(decoder, fields.take("source"), &SOURCE);
    let paths = patterns(decoder, fields.take("request"), &REQUEST);
    fields.finish(decoder);
    Some(Rule {
        name: name?,
        principals,
        paths,
    })
}

/// A part of a caller rule: the one key it has, and what leaving it out means.
struct Part {
    name: &'static str,
    key: &'static str,
    item: &'static str,
    everything: &'static str,
}

const SOURCE: Part = Part {
    name: "`source`",
    key: "principals",
    item: "a principal",
    everything: "any caller of the mesh",
};
const REQUEST: Part = Part {
    name: "`request`",
    key: "paths",
    item: "a path",
    everything: "every method",
};

/// The patterns of a part. None at all would open what somebody wanted to close.
fn patterns(decoder: &mut Decoder, node: Option<&Node>, part: &Part) -> Vec<Spanned<String>> {
    let Some(node) = node else {
        return Vec::new();
    };
    let mut fields = decoder.fields(node, part.name);
    let list = fields.require(decoder, part.key);
    fields.finish(decoder);
    let Some(list) = list else {
        return Vec::new();
    };
    let is_empty = match &list.value {
        Value::Null => true,
        Value::List(items) => items.is_empty(),
        _ => false,
    };
    if is_empty {
        let message = format!("`{}` of {} is empty", part.key, part.name);
        let hint = format!(
            "leave {} out if the rule is for {}",
            part.name, part.everything
        );
        decoder.report(Problem::new("wrong-value", list.span, message).hint(hint));
    }
    decoder.texts(list, part.item)
}
