//! What the contracts say about a method, read from its options.

use prost_reflect::{DescriptorPool, MethodDescriptor, Value};

const NO_SIDE_EFFECTS: i32 = 1;
const IDEMPOTENT: i32 = 2;

/// Whether the contract says that repeating the method does no harm.
pub(crate) fn is_safe(method: &MethodDescriptor) -> bool {
    matches!(idempotency_level(method), NO_SIDE_EFFECTS | IDEMPOTENT)
}

/// Whether the contract says that the method changes nothing.
pub(crate) fn has_no_side_effects(method: &MethodDescriptor) -> bool {
    idempotency_level(method) == NO_SIDE_EFFECTS
}

fn idempotency_level(method: &MethodDescriptor) -> i32 {
    let options = method.options();
    match options.get_field_by_name("idempotency_level").as_deref() {
        Some(Value::EnumNumber(level)) => *level,
        _ => 0,
    }
}

/// Whether the edge serves the method to anybody (`weft.access.v1.access`), and only with a token.
pub(crate) fn access(pool: &DescriptorPool, method: &MethodDescriptor) -> Access {
    let Some(extension) = pool.get_extension_by_name("weft.access.v1.access") else {
        return Access::Internal;
    };
    match method.options().get_extension(&extension).as_ref() {
        Value::EnumNumber(1) => Access::Public,
        Value::EnumNumber(2) => Access::Customer,
        _ => Access::Internal,
    }
}

/// The `get` of a method's `google.api.http`.
pub(crate) fn http_get(pool: &DescriptorPool, method: &MethodDescriptor) -> Option<String> {
    let extension = pool.get_extension_by_name("google.api.http")?;
    let options = method.options();
    let rule = options.get_extension(&extension);
    let get = rule.as_message()?.get_field_by_name("get")?;
    get.as_str().map(str::to_owned)
}

/// Who may call a method from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Internal,
    Public,
    Customer,
}
