//! Problems of a mesh file: collected, ordered by place, shown as compilers do.

use std::{fmt, sync::Arc};

use crate::span::{Source, Span};

/// One thing that is wrong with a mesh file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Stable and short, for programs: `unknown-key`.
    pub code: &'static str,
    /// Where. Line 0 where no line is to blame, such as a file that cannot be read.
    pub span: Span,
    /// What is wrong, with the value, lower case, no full stop.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Problem {
    /// A problem at a place.
    pub fn new(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Self {
            code,
            span,
            message: message.into(),
            hint: None,
        }
    }

    /// Says what to do.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Every problem of one mesh file. `Display` shows each with its line and a caret, as rustc does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    source: Arc<Source>,
    problems: Vec<Problem>,
}

impl Problems {
    /// Orders problems by place and drops repetitions.
    pub fn new(source: Arc<Source>, mut problems: Vec<Problem>) -> Self {
        problems.sort_by(|a, b| (a.span, &a.message).cmp(&(b.span, &b.message)));
        problems.dedup();
        Self { source, problems }
    }

    /// The problems in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter()
    }

    /// How many there are: never 0 in an `Err`.
    pub fn len(&self) -> usize {
        self.problems.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// The name of the file they are in.
    pub fn file(&self) -> &str {
        &self.source.name
    }

    /// The same for programs: `{"problems": [{"file", "line", "column", "endColumn", "code",
    /// "message", "hint", "snippet"}]}`. Lines and columns count from 1.
    pub fn to_json(&self) -> serde_json::Value {
        let problems: Vec<_> = self
            .problems
            .iter()
            .map(|problem| {
                serde_json::json!({
                    "file": self.source.name,
                    "line": problem.span.line,
                    "column": problem.span.column,
                    "endColumn": problem.span.column + problem.span.width,
                    "code": problem.code,
                    "message": problem.message,
                    "hint": problem.hint,
                    "snippet": self.source.line(problem.span.line),
                })
            })
            .collect();
        serde_json::json!({ "problems": problems })
    }

    fn show(&self, problem: &Problem, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Span {
            line,
            column,
            width,
        } = problem.span;
        let name = &self.source.name;
        writeln!(f, "error[{}]: {}", problem.code, problem.message)?;
        let gutter = line.to_string().len();
        if line == 0 {
            writeln!(f, "{:gutter$}--> {name}", "")?;
        } else {
            // A tab is as wide as anything: one space keeps the caret under its character.
            let text = self.source.line(line).replace('\t', " ");
            let blank = " ".repeat(column.saturating_sub(1));
            let rest = text.trim_end().chars().count().saturating_sub(blank.len());
            let carets = "^".repeat(width.min(rest).max(1));
            writeln!(f, "{:gutter$}--> {name}:{line}:{column}", "")?;
            writeln!(f, "{:gutter$} |", "")?;
            writeln!(f, "{line} | {}", text.trim_end())?;
            writeln!(f, "{:gutter$} | {blank}{carets}", "")?;
        }
        match &problem.hint {
            Some(hint) => writeln!(f, "{:gutter$} = help: {hint}", ""),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            self.show(problem, f)?;
            writeln!(f)?;
        }
        let plural = if self.len() == 1 { "" } else { "s" };
        write!(f, "{}: {} problem{plural}", self.source.name, self.len())
    }
}

impl std::error::Error for Problems {}

/// The known word nearest to a mistyped one, if any is near enough to be meant.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).clamp(1, 4);
    known
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Edits (insert, delete, replace, swap neighbours) between two words, letter case ignored.
fn distance(a: &str, b: &str) -> usize {
    let fold = |word: &str| -> Vec<char> {
        let letters = word.chars().filter(|c| *c != '_' && *c != '-');
        letters.flat_map(char::to_lowercase).collect()
    };
    let (a, b) = (fold(a), fold(b));
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_word_finds_its_neighbour() {
        let known = ["replicas", "cargo", "command", "env", "max_attempts"];
        assert_eq!(nearest("replica", known), Some("replicas"));
        assert_eq!(nearest("repilcas", known), Some("replicas"));
        assert_eq!(nearest("maxAttempts", known), Some("max_attempts"));
        assert_eq!(nearest("binary", known), None);
    }
}
