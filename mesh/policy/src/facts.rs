//! What decisions depend on, as the executor finds it in a request.

use std::borrow::Cow;

/// The headers of a request, however the executor keeps them.
pub trait Headers {
    /// The value of the header `name` (lower case); of one that came more than once, all values joined
    /// by `,`. `None` if there is none or it is no text.
    fn get(&self, name: &str) -> Option<Cow<'_, str>>;
}

/// No headers at all.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHeaders;

impl Headers for NoHeaders {
    fn get(&self, _name: &str) -> Option<Cow<'_, str>> {
        None
    }
}

impl Headers for [(&str, &str)] {
    fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        let mut values = self
            .iter()
            .filter(|(key, _)| *key == name)
            .map(|(_, value)| *value);
        let first = values.next()?;
        Some(values.fold(Cow::Borrowed(first), |all, next| {
            Cow::Owned(format!("{all},{next}"))
        }))
    }
}

impl<H: Headers + ?Sized> Headers for &H {
    fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        (**self).get(name)
    }
}

/// The facts of a request that outbound decisions depend on.
#[derive(Clone, Copy)]
pub struct RequestFacts<'a> {
    /// `:authority`, `payments:7070`.
    pub authority: &'a str,
    /// `:path`, `/sockshop.payments.v1.PaymentService/Authorize`.
    pub path: &'a str,
    /// The value of `grpc-timeout`.
    pub grpc_timeout: Option<&'a str>,
    /// Whether the caller repeats calls itself: the request carries `grpc-previous-rpc-attempts`.
    pub is_retry: bool,
    /// Asked only where a rule or a balancer wants a header.
    pub headers: &'a dyn Headers,
}

impl Default for RequestFacts<'_> {
    fn default() -> Self {
        Self {
            authority: "",
            path: "",
            grpc_timeout: None,
            is_retry: false,
            headers: &NoHeaders,
        }
    }
}

/// The facts of a request that inbound decisions depend on.
#[derive(Clone, Copy)]
pub struct InboundFacts<'a> {
    /// The caller's verified SPIFFE ID.
    pub caller: &'a str,
    /// `:path`.
    pub path: &'a str,
    /// The value of `grpc-timeout`.
    pub grpc_timeout: Option<&'a str>,
    /// The value of `x-weft-criticality`.
    pub criticality: Option<&'a str>,
    /// Asked only where a rule wants a header.
    pub headers: &'a dyn Headers,
}
