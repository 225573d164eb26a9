//! `/openapi.json`, and `/docs`, a page that shows it.

use http::{HeaderMap, Response};
use weft_channel::Body;

use crate::pages::File;

/// The paths and what is there.
#[derive(Debug)]
pub(crate) struct Docs {
    files: [(&'static str, File); 4],
}

impl Docs {
    pub(crate) fn new(document: &serde_json::Value) -> Self {
        let text = |name, text: &'static str| File::new(name, text.as_bytes().into());
        let document = File::new("openapi.json", document.to_string().into());
        Self {
            files: [
                ("/openapi.json", document),
                ("/docs", text("docs.html", include_str!("docs/docs.html"))),
                ("/docs.css", text("docs.css", include_str!("docs/docs.css"))),
                ("/docs.js", text("docs.js", include_str!("docs/docs.js"))),
            ],
        }
    }

    /// What is at one of the paths.
    pub(crate) fn answer(&self, path: &str, headers: &HeaderMap) -> Option<Response<Body>> {
        let path = path.strip_suffix('/').unwrap_or(path);
        let (_, file) = self.files.iter().find(|(found, _)| *found == path)?;
        Some(file.response(headers))
    }
}
