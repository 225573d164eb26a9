//! Comments of the contracts, by the place of what they describe.

use std::collections::HashMap;

use prost_reflect::FileDescriptor;

/// The comments of one file.
#[derive(Debug, Default)]
pub(super) struct Comments {
    leading: HashMap<Vec<i32>, String>,
}

impl Comments {
    pub(super) fn new(file: &FileDescriptor) -> Self {
        let info = file.file_descriptor_proto().source_code_info.as_ref();
        let locations = info
            .map(|info| info.location.as_slice())
            .unwrap_or_default();
        let leading = locations.iter().filter_map(|location| {
            let comment = location.leading_comments.as_ref()?;
            Some((location.path.clone(), unwrap(comment)))
        });
        Self {
            leading: leading.collect(),
        }
    }

    /// The comment of what is at `path`, on one line; empty if there is none.
    pub(super) fn of(&self, path: &[i32]) -> String {
        self.leading.get(path).cloned().unwrap_or_default()
    }
}

/// Lines joined, paragraphs kept.
fn unwrap(comment: &str) -> String {
    let paragraphs = comment.split("\n\n").map(|paragraph| {
        let lines: Vec<&str> = paragraph.lines().map(str::trim).collect();
        lines.join(" ").trim().to_owned()
    });
    paragraphs
        .collect::<Vec<_>>()
        .join("\n\n")
        .trim()
        .to_owned()
}
