//! The contract's rules, checked once at the server.

use contracts::Validate;
use tonic::Status;

use crate::status;

/// Checks a request against the rules of its contract.
///
/// # Errors
///
/// `INVALID_ARGUMENT` with every broken rule as a field violation.
pub fn validate(message: &impl Validate) -> Result<(), Status> {
    let Err(violations) = message.validate() else {
        return Ok(());
    };
    let fields: Vec<(String, String)> = violations
        .iter()
        .map(|violation| {
            let why = match violation.message.as_str() {
                "" => violation.rule,
                message => message,
            };
            (violation.field.clone(), why.to_owned())
        })
        .collect();
    let message = match fields.first() {
        Some((field, why)) if fields.len() == 1 => format!("invalid `{field}`: {why}"),
        _ => format!("{} fields are invalid", fields.len()),
    };
    Err(status::invalid_fields(message, fields))
}
