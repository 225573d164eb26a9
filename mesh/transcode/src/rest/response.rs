//! A response body from a response message.

use super::route::Route;
use crate::{
    Error, Reason, Result,
    json::ToJson,
    plan::{Message, Plans, Type},
    wire,
};

/// A response body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// JSON text.
    Json(Vec<u8>),
    /// The bytes of a `google.api.HttpBody`, as they are.
    Raw {
        /// Its content type; empty where the service gave none.
        content_type: String,
        /// The body.
        data: Vec<u8>,
    },
}

fn is_http_body(message: &Message) -> bool {
    message.name == "google.api.HttpBody"
}

impl Route {
    /// The response body for a response message: the whole message, or the field that
    /// `response_body` names. A field that is not set is written as its type's zero.
    ///
    /// # Errors
    ///
    /// Where the bytes are no such message.
    pub fn response(&self, plans: &Plans, message: &[u8]) -> Result<Payload> {
        let plan = plans.message(self.output);
        let mut out = Vec::with_capacity(message.len() * 2 + 2);
        let Some(index) = self.response_field else {
            if is_http_body(plan) {
                return raw(message);
            }
            ToJson::new(plans).message(self.output, message, &mut out)?;
            return Ok(Payload::Json(out));
        };
        let field = &plan.fields[index];
        if plans.of(field.ty).is_some_and(is_http_body) {
            let body = wire::lookup(message, &[field.number])?;
            return raw(body.map_or(&b""[..], |body| body.value));
        }
        ToJson::new(plans).only_field(plan, index, message, &mut out)?;
        Ok(Payload::Json(out))
    }

    /// The query parameters a caller may give, lowerCamel and dotted, down to two messages deep.
    pub fn parameters(&self, plans: &Plans) -> Vec<String> {
        super::query::parameters(plans, self)
    }

    /// Whether response bodies are raw bytes of any content type.
    pub fn answers_raw(&self, plans: &Plans) -> bool {
        let plan = plans.message(self.output);
        match self.response_field {
            None => is_http_body(plan),
            Some(index) => plans.of(plan.fields[index].ty).is_some_and(is_http_body),
        }
    }
}

fn raw(body: &[u8]) -> Result<Payload> {
    let part = |number| {
        let raw = wire::lookup(body, &[number])?.filter(|raw| raw.wire_type == wire::LEN);
        Ok(raw.map_or_else(Vec::new, |raw| raw.value.to_vec()))
    };
    let content_type = String::from_utf8(part(1)?)
        .map_err(|_| Error::new(Reason::InvalidMessage, "content type is no UTF-8"))?;
    Ok(Payload::Raw {
        content_type,
        data: part(2)?,
    })
}

impl Plans {
    /// A whole message as JSON.
    ///
    /// # Errors
    ///
    /// Where the bytes are no such message, or the pool has none of that name.
    pub fn to_json(&self, full_name: &str, message: &[u8]) -> Result<Vec<u8>> {
        let mut out = Vec::with_capacity(message.len() * 2 + 2);
        let id = self.known(full_name)?;
        ToJson::new(self).value(Type::Message(id), message, &mut out)?;
        Ok(out)
    }

    /// A whole message from JSON.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong, with its field.
    pub fn from_json(&self, full_name: &str, json: &[u8]) -> Result<Vec<u8>> {
        let id = self.known(full_name)?;
        let mut reader = crate::json::Reader::new(json)?;
        let mut out = Vec::with_capacity(json.len());
        crate::json::FromJson { plans: self }.message(self.message(id), &mut reader, &mut out)?;
        reader.end()?;
        Ok(out)
    }

    fn known(&self, full_name: &str) -> Result<u32> {
        self.id(full_name).ok_or_else(|| {
            Error::new(
                Reason::InvalidMessage,
                format!("unknown message `{full_name}`"),
            )
        })
    }
}
