//! OpenAPI 3.1 of exactly what the edge answers over REST, from the contracts: bindings, comments,
//! types, field behaviour, validation rules and who may call.

mod comments;
mod path;
mod rules;
mod schema;

use comments::Comments;
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use schema::Schemas;
use serde_json::{Map, Value, json};
use weft_transcode::{BodyRule, Route};

use crate::{
    api::{Access, Api, rpc_path},
    failure::http_status,
};

/// The whole document.
pub(crate) fn document(api: &Api) -> Value {
    let mut schemas = Schemas::default();
    let mut paths: Map<String, Value> = Map::new();
    let mut tags = Vec::new();
    for route in api.router.routes() {
        let Some(served) = api.served(&rpc_path(&route.method)) else {
            continue;
        };
        let service = route.method.parent_service();
        if tags.iter().all(|tag: &Value| tag["name"] != service.name()) {
            let file = service.parent_file();
            let description = schemas.comments(&file).of(service.path());
            tags.push(json!({"name": service.name(), "description": description}));
        }
        let path = path::openapi(&route.template);
        let verb = route
            .verb
            .as_ref()
            .map_or("get", |verb| verb.as_str())
            .to_lowercase();
        let operation = operation(api, route, served.access, &mut schemas);
        let item = paths.entry(path.text).or_insert_with(|| json!({}));
        item[verb] = operation;
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Weft edge",
            "version": "v1",
            "description": "Generated from the contracts. The same methods are served over gRPC on \
                this port, with reflection. Fields that are empty, zero or false are left out of \
                responses; 64-bit integers are strings.",
        },
        "servers": [{"url": "/"}],
        "tags": tags,
        "paths": paths,
        "components": {
            "schemas": schemas.finish(),
            "securitySchemes": {
                "customer": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "A customer's token.",
                },
            },
        },
    })
}

fn operation(api: &Api, route: &Route, access: Access, schemas: &mut Schemas) -> Value {
    let method = &route.method;
    let file = method.parent_service().parent_file();
    let comment = schemas.comments(&file).of(method.path());
    let summary = comment
        .split(". ")
        .next()
        .unwrap_or("")
        .trim_end_matches('.');
    let mut operation = json!({
        "operationId": format!("{}_{}", method.parent_service().name(), method.name()),
        "tags": [method.parent_service().name()],
        "summary": summary,
        "description": comment,
        "parameters": parameters(api, route, schemas),
        "responses": responses(api, route, &comment, schemas),
        "x-grpc-method": rpc_path(method),
    });
    operation["security"] = match access {
        Access::Customer => json!([{"customer": []}]),
        // A token is optional.
        Access::Public => json!([]),
    };
    if let Some(body) = request_body(route, schemas) {
        operation["requestBody"] = body;
    }
    operation
}

fn parameters(api: &Api, route: &Route, schemas: &mut Schemas) -> Vec<Value> {
    let input = route.method.input();
    let path = path::openapi(&route.template);
    let mut parameters: Vec<Value> = path
        .parameters
        .iter()
        .map(|parameter| {
            let field = find(&input, &parameter.field);
            let description = field.as_ref().map(|field| schemas.description(field));
            // A part of a resource name is text, whatever rules the whole has.
            let schema = match &field {
                Some(field) if parameter.is_whole => schemas.field(field),
                _ => json!({"type": "string"}),
            };
            json!({
                "name": parameter.name,
                "in": "path",
                "required": true,
                "description": description.unwrap_or_default(),
                "schema": schema,
            })
        })
        .collect();
    for name in route.parameters(&api.plans) {
        let Some(field) = find(&input, &name) else {
            continue;
        };
        let (name, explode) = match field.is_map() {
            true => (name, "deepObject"),
            false => (name, "form"),
        };
        parameters.push(json!({
            "name": name,
            "in": "query",
            "required": schemas.is_required(&field) && !name.contains('.'),
            "description": schemas.description(&field),
            "style": explode,
            "explode": true,
            "schema": schemas.field(&field),
        }));
    }
    parameters
}

/// A field by its dotted path, in either spelling.
fn find(message: &MessageDescriptor, path: &str) -> Option<FieldDescriptor> {
    let (first, rest) = match path.split_once('.') {
        Some((first, rest)) => (first, Some(rest)),
        None => (path, None),
    };
    let field = message
        .get_field_by_json_name(first)
        .or_else(|| message.get_field_by_name(first))?;
    match (rest, field.kind()) {
        (None, _) => Some(field),
        (Some(rest), Kind::Message(inner)) => find(&inner, rest),
        _ => None,
    }
}

fn request_body(route: &Route, schemas: &mut Schemas) -> Option<Value> {
    let input = route.method.input();
    let (schema, required, is_raw) = match &route.body {
        BodyRule::None => return None,
        BodyRule::All => {
            let bound: Vec<&str> = route.variables.iter().map(|v| v.name.as_str()).collect();
            let schema = schemas.message_without(&input, &bound);
            (schema, true, is_http_body(&input))
        }
        BodyRule::Field(name) => {
            let field = find(&input, name)?;
            let is_raw = matches!(field.kind(), Kind::Message(inner) if is_http_body(&inner));
            (schemas.field(&field), schemas.is_required(&field), is_raw)
        }
    };
    let kind = if is_raw {
        "application/octet-stream"
    } else {
        "application/json"
    };
    Some(json!({"required": required, "content": {kind: {"schema": schema}}}))
}

fn is_http_body(message: &MessageDescriptor) -> bool {
    message.full_name() == "google.api.HttpBody"
}

fn responses(api: &Api, route: &Route, comment: &str, schemas: &mut Schemas) -> Value {
    let output = route.method.output();
    let schema = match &route.response_body {
        Some(name) => find(&output, name).map(|field| schemas.field(&field)),
        None => Some(schemas.message(&output)),
    };
    let schema = schema.unwrap_or_default();
    let content = if route.answers_raw(&api.plans) {
        json!({"application/octet-stream": {}})
    } else if route.method.is_server_streaming() {
        json!({
            "text/event-stream": {"schema": {
                "type": "string",
                "description": "Each message is an event's data; at the end an event `end`, or \
                    `failure` with a google.rpc.Status.",
            }},
            "application/x-ndjson": {"schema": schema.clone()},
            "application/json": {"schema": {"type": "array", "items": schema}},
        })
    } else {
        json!({"application/json": {"schema": schema}})
    };
    let error = json!({"application/json": {"schema": schemas.status()}});
    let mut responses = Map::new();
    responses.insert(
        "200".to_owned(),
        json!({"description": "Success.", "content": content}),
    );
    for (code, names) in errors(comment) {
        let description = names.join(", ");
        responses.insert(
            code,
            json!({"description": description, "content": error.clone()}),
        );
    }
    responses.insert(
        "default".to_owned(),
        json!({"description": "An error, as google.rpc.Status.", "content": error}),
    );
    Value::Object(responses)
}

/// The gRPC codes a method's comment names, by HTTP status.
fn errors(comment: &str) -> Vec<(String, Vec<&'static str>)> {
    const NAMES: [(&str, tonic::Code); 14] = [
        ("INVALID_ARGUMENT", tonic::Code::InvalidArgument),
        ("FAILED_PRECONDITION", tonic::Code::FailedPrecondition),
        ("OUT_OF_RANGE", tonic::Code::OutOfRange),
        ("UNAUTHENTICATED", tonic::Code::Unauthenticated),
        ("PERMISSION_DENIED", tonic::Code::PermissionDenied),
        ("NOT_FOUND", tonic::Code::NotFound),
        ("ABORTED", tonic::Code::Aborted),
        ("ALREADY_EXISTS", tonic::Code::AlreadyExists),
        ("RESOURCE_EXHAUSTED", tonic::Code::ResourceExhausted),
        ("DATA_LOSS", tonic::Code::DataLoss),
        ("INTERNAL", tonic::Code::Internal),
        ("UNIMPLEMENTED", tonic::Code::Unimplemented),
        ("UNAVAILABLE", tonic::Code::Unavailable),
        ("DEADLINE_EXCEEDED", tonic::Code::DeadlineExceeded),
    ];
    let mut found: Vec<(String, Vec<&'static str>)> = Vec::new();
    for (name, code) in NAMES {
        if !comment.contains(&format!("`{name}`")) {
            continue;
        }
        let status = http_status(code).as_u16().to_string();
        match found.iter_mut().find(|(known, _)| *known == status) {
            Some((_, names)) => names.push(name),
            None => found.push((status, vec![name])),
        }
    }
    found
}
