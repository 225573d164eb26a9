//! A request message from path, query and body.

use super::{
    mask,
    query::{encode_text, put_bound, put_query},
    route::BodyRule,
    router::Match,
};
use crate::{
    Error, Reason, Result,
    json::{FromJson, Reader},
    plan::{Plans, Type},
    wire,
};

/// What a request says beside its method and path.
#[derive(Clone, Copy, Debug, Default)]
pub struct Call<'a> {
    /// What follows the `?`, as it was sent.
    pub query: Option<&'a str>,
    /// The `content-type`, for bodies that are a `google.api.HttpBody`.
    pub content_type: Option<&'a str>,
    /// The body.
    pub body: &'a [u8],
}

impl Match<'_> {
    /// Whether the body is taken as it is, of any content type (`google.api.HttpBody`).
    pub fn takes_raw_body(&self, plans: &Plans) -> bool {
        let message = match self.route.body {
            BodyRule::None => return false,
            BodyRule::All => plans.message(self.route.input),
            BodyRule::Field(_) => match self.body_field(plans).and_then(|field| plans.of(field.ty))
            {
                Some(message) => message,
                None => return false,
            },
        };
        message.name == "google.api.HttpBody"
    }

    fn body_field<'p>(&self, plans: &'p Plans) -> Option<&'p crate::plan::Field> {
        let index = self.route.body_field?;
        Some(&plans.message(self.route.input).fields[index])
    }

    /// The wire bytes of the request message.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong, with its field.
    pub fn request(&self, plans: &Plans, call: Call<'_>) -> Result<Vec<u8>> {
        let mut out = Vec::with_capacity(call.body.len() + 64);
        self.put_body(plans, call, &mut out)?;
        let body_end = out.len();
        put_query(plans, self.route, call.query.unwrap_or(""), &mut out)?;
        self.put_update_mask(plans, call.body, &mut out)?;
        for (variable, value) in self.route.variables.iter().zip(&self.values) {
            let encoded = encode_text(plans, &variable.field, value)
                .map_err(|error| error.in_field(&variable.name))?;
            let mut own = Vec::new();
            put_bound(variable, &encoded, &mut own);
            let by_path = wire::lookup(&own, &variable.numbers)?;
            let by_body = wire::lookup(&out[..body_end], &variable.numbers)?;
            if let Some(by_body) = by_body
                && by_path.is_none_or(|by_path| by_path.value != by_body.value)
            {
                let message = "differs from the value in the path";
                return Err(Error::new(Reason::ConflictingValues, message).in_field(&variable.name));
            }
            out.extend_from_slice(&own);
        }
        Ok(out)
    }

    fn put_body(&self, plans: &Plans, call: Call<'_>, out: &mut Vec<u8>) -> Result<()> {
        let raw = self.takes_raw_body(plans);
        match (&self.route.body, self.body_field(plans)) {
            (BodyRule::None, _) if call.body.is_empty() => Ok(()),
            (BodyRule::None, _) => {
                let message = "this method takes no body";
                Err(Error::new(Reason::UnexpectedBody, message))
            }
            (_, Some(field)) if raw => {
                wire::put_tag(out, field.number, wire::LEN);
                let start = wire::begin(out);
                put_http_body(call, out);
                wire::end(out, start);
                Ok(())
            }
            _ if raw => {
                put_http_body(call, out);
                Ok(())
            }
            // An empty body is an empty message: `curl -X POST` without data.
            _ if call.body.is_empty() => Ok(()),
            (_, Some(field)) => {
                let mut reader = Reader::new(call.body)?;
                FromJson { plans }.field(field, &mut reader, out)?;
                reader.end()
            }
            (_, None) => {
                let mut reader = Reader::new(call.body)?;
                FromJson { plans }.message(plans.message(self.route.input), &mut reader, out)?;
                reader.end()
            }
        }
    }

    fn put_update_mask(&self, plans: &Plans, body: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let (Some(mask), Some(field)) = (&self.route.update_mask, self.body_field(plans)) else {
            return Ok(());
        };
        let Type::Message(id) = field.ty else {
            return Ok(());
        };
        if body.is_empty() || wire::lookup(out, &[mask.number])?.is_some() {
            return Ok(());
        }
        let paths = mask::presence(plans, plans.message(id), body)?;
        wire::put_tag(out, mask.number, wire::LEN);
        let start = wire::begin(out);
        for path in paths {
            wire::put_tag(out, 1, wire::LEN);
            wire::put_bytes(out, path.as_bytes());
        }
        wire::end(out, start);
        Ok(())
    }
}

/// The content of a `google.api.HttpBody`.
fn put_http_body(call: Call<'_>, out: &mut Vec<u8>) {
    if let Some(content_type) = call.content_type {
        wire::put_tag(out, 1, wire::LEN);
        wire::put_bytes(out, content_type.as_bytes());
    }
    if !call.body.is_empty() {
        wire::put_tag(out, 2, wire::LEN);
        wire::put_bytes(out, call.body);
    }
}
