//! One binding: an HTTP method and a path template for one RPC.

use http::Method;
use prost_reflect::{DescriptorPool, MethodDescriptor};

use super::{
    rule::{Rule, raw_rules},
    template::{Template, TemplateError},
};
use crate::plan::{Field, Label, MessageId, Plans, Shape, Type};

/// What the request body holds.
#[derive(Clone, Debug)]
pub enum BodyRule {
    /// There is none.
    None,
    /// Every field the path does not bind.
    All,
    /// One top-level field, by its original name.
    Field(String),
}

/// A field that the path or the query gives.
#[derive(Clone, Debug)]
pub struct Bound {
    /// `order.name`, as the template writes it.
    pub name: String,
    pub(crate) numbers: Vec<u32>,
    pub(crate) field: Field,
}

/// One binding of one RPC.
#[derive(Clone, Debug)]
pub struct Route {
    /// The RPC.
    pub method: MethodDescriptor,
    /// The HTTP method; `None` is any.
    pub verb: Option<Method>,
    /// The path.
    pub template: Template,
    /// What the body holds.
    pub body: BodyRule,
    /// The field of the response that is the response body; `None` is the whole message.
    pub response_body: Option<String>,
    /// The template's variables, in order.
    pub variables: Vec<Bound>,
    pub(crate) input: MessageId,
    pub(crate) output: MessageId,
    pub(crate) body_field: Option<usize>,
    pub(crate) response_field: Option<usize>,
    /// The `update_mask` that a PATCH fills from what its body holds.
    pub(crate) update_mask: Option<Field>,
}

/// Why the bindings of a pool cannot be served.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BuildError {
    /// The path does not parse.
    #[error("{method}: {source}")]
    Template {
        /// The RPC's full name.
        method: String,
        /// What is wrong with the path.
        source: TemplateError,
    },
    /// The rule names a field that cannot be used so.
    #[error("{method}: `{template}`: field `{field}` {problem}")]
    Field {
        /// The RPC's full name.
        method: String,
        /// The path.
        template: String,
        /// The field as the rule names it.
        field: String,
        /// Why not.
        problem: &'static str,
    },
    /// The rule itself is wrong.
    #[error("{method}: {problem}")]
    Rule {
        /// The RPC's full name.
        method: String,
        /// What is wrong.
        problem: String,
    },
    /// Two bindings match the same requests.
    #[error("{first} and {second} both answer {verb} {template}")]
    Ambiguous {
        /// The RPC that came first.
        first: String,
        /// The other RPC.
        second: String,
        /// The HTTP method.
        verb: String,
        /// The path of the second.
        template: String,
    },
}

/// All bindings of the methods `keep` wants, checked. Methods without `google.api.http` have none.
///
/// # Errors
///
/// Every binding that cannot be served, not only the first.
pub fn rules(
    pool: &DescriptorPool,
    plans: &Plans,
    keep: impl Fn(&MethodDescriptor) -> bool,
) -> Result<Vec<Route>, Vec<BuildError>> {
    let (mut routes, mut errors) = (Vec::new(), Vec::new());
    let Some(extension) = pool.get_extension_by_name("google.api.http") else {
        return Ok(routes);
    };
    for service in pool.services() {
        for method in service.methods().filter(&keep) {
            let options = method.options();
            if !options.has_extension(&extension) {
                continue;
            }
            let value = options.get_extension(&extension);
            let Some(option) = value.as_message() else {
                continue;
            };
            match raw_rules(&method, option) {
                Ok(rules) => {
                    for rule in rules {
                        match route(plans, &method, rule) {
                            Ok(route) => routes.push(route),
                            Err(error) => errors.push(error),
                        }
                    }
                }
                Err(error) => errors.push(error),
            }
        }
    }
    if errors.is_empty() {
        Ok(routes)
    } else {
        Err(errors)
    }
}

fn route(plans: &Plans, method: &MethodDescriptor, rule: Rule) -> Result<Route, BuildError> {
    let name = || method.full_name().to_owned();
    let template = Template::parse(&rule.path).map_err(|source| BuildError::Template {
        method: name(),
        source,
    })?;
    let field_error = |field: &str, problem| BuildError::Field {
        method: name(),
        template: rule.path.clone(),
        field: field.to_owned(),
        problem,
    };
    let unknown = |what: &str| BuildError::Rule {
        method: name(),
        problem: format!("unknown {what}"),
    };
    if method.is_client_streaming() {
        let problem = "a client stream has no REST form here".to_owned();
        return Err(BuildError::Rule {
            method: name(),
            problem,
        });
    }
    let input = plans
        .id(method.input().full_name())
        .ok_or_else(|| unknown("input"))?;
    let output = plans
        .id(method.output().full_name())
        .ok_or_else(|| unknown("output"))?;
    let mut variables = Vec::new();
    for variable in &template.variables {
        let bound = bind(plans, input, &variable.field)
            .and_then(|bound| path_leaf(plans, bound))
            .map_err(|problem| field_error(&variable.field, problem))?;
        variables.push(bound);
    }
    let top = |id, field: &str| {
        let found = plans.message(id).field_by_name(field);
        found
            .map(|(index, _)| index)
            .ok_or_else(|| field_error(field, "does not exist"))
    };
    let (body, body_field) = match rule.body.as_str() {
        "" => (BodyRule::None, None),
        "*" => (BodyRule::All, None),
        field => (BodyRule::Field(field.to_owned()), Some(top(input, field)?)),
    };
    let response_field = match rule.response_body.as_str() {
        "" => None,
        field => Some(top(output, field)?),
    };
    let update_mask = (rule.verb == Some(Method::PATCH) && body_field.is_some())
        .then(|| plans.message(input).field_by_name("update_mask"))
        .flatten()
        .filter(|(_, field)| {
            plans
                .of(field.ty)
                .is_some_and(|m| m.shape == Shape::FieldMask)
        })
        .map(|(_, field)| field.clone());
    Ok(Route {
        method: method.clone(),
        verb: rule.verb,
        template,
        body,
        response_body: response_field.map(|_| rule.response_body),
        variables,
        input,
        output,
        body_field,
        response_field,
        update_mask,
    })
}

/// Follows a dotted path from a message through singular messages.
pub(crate) fn bind(plans: &Plans, message: MessageId, path: &str) -> Result<Bound, &'static str> {
    let mut numbers = Vec::new();
    let mut plan = plans.message(message);
    let mut names = path.split('.').peekable();
    while let Some(name) = names.next() {
        let (_, field) = plan.field_by_name(name).ok_or("does not exist")?;
        numbers.push(field.number);
        if names.peek().is_none() {
            return Ok(Bound {
                name: path.to_owned(),
                numbers,
                field: field.clone(),
            });
        }
        if field.label != Label::Singular {
            return Err("goes through a repeated field");
        }
        plan = plans
            .of(field.ty)
            .ok_or("goes through a field that is no message")?;
        if plan.shape != Shape::Fields {
            return Err("goes through a message with its own text form");
        }
    }
    Err("is empty")
}

fn path_leaf(plans: &Plans, bound: Bound) -> Result<Bound, &'static str> {
    if bound.field.label != Label::Singular {
        return Err("is repeated");
    }
    match bound.field.ty {
        // Wrappers are accepted, as most implementations do.
        Type::Message(id) if plans.message(id).shape != Shape::Wrapper => Err("is a message"),
        _ => Ok(bound),
    }
}
