//! `google.api.http`: which call a request means, and what it puts into the message.

mod mask;
mod percent;
mod query;
mod request;
mod response;
mod route;
mod router;
mod rule;
mod template;

pub use request::Call;
pub use response::Payload;
pub use route::{BodyRule, Bound, BuildError, Route, rules};
pub use router::{Match, NoRoute, Router};
pub use template::{Segment, Template, TemplateError, Variable};
