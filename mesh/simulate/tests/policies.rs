//! The repository's own policy tests: they pass, and each number of a policy in them is pinned by one.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use weft_model::yaml::{self, Node, Value};
use weft_simulate::Suite;

/// Numbers that say where and what something is, not how calls behave.
const NO_POLICY: [&str; 6] = ["port", "run", "edge", "address", "listen", "priority"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/policies")
}

fn files() -> Vec<PathBuf> {
    let files = fs::read_dir(folder()).expect("the folder of policy tests");
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.retain(|file| file.to_string_lossy().ends_with(".policytest.yaml"));
    files.sort();
    files
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_case_passes() {
    let mut count = 0;
    for file in files() {
        let suite = Suite::load(&file, contracts::pool()).unwrap_or_else(|p| panic!("{p}"));
        for case in &suite.cases {
            let outcome = suite.run(case, false);
            let (name, wrong) = (&case.name.value, &outcome.mismatches);
            assert!(wrong.is_empty(), "{}: {name}: {wrong:#?}", file.display());
            count += 1;
        }
    }
    assert!(count >= 60, "only {count} cases");
}

#[test]
fn the_examples_of_the_description_pass() {
    let name = folder()
        .join("README.policytest.yaml")
        .display()
        .to_string();
    let text = read(&folder().join("README.md"));
    let examples = text.split("```yaml\n").skip(1);
    let examples: Vec<_> = examples
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert_eq!(examples.len(), 3);
    for example in examples {
        let load = |path: &Path| fs::read_to_string(path);
        let suite = Suite::parse(example, &name, contracts::pool(), &load);
        let suite = suite.unwrap_or_else(|problems| panic!("{problems}"));
        for case in &suite.cases {
            let outcome = suite.run(case, false);
            assert!(outcome.mismatches.is_empty(), "{outcome:#?}");
        }
    }
}

/// One number in a file with a mesh.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Number {
    line: usize,
    column: usize,
    text: String,
    unit: &'static str,
}

/// A file with a mesh, and the policy tests of that mesh.
struct Meshes {
    file: PathBuf,
    text: String,
    tests: Vec<(PathBuf, String)>,
    numbers: BTreeSet<Number>,
}

fn meshes() -> Vec<Meshes> {
    let mut meshes: Vec<Meshes> = Vec::new();
    for file in files() {
        let text = read(&file);
        let root = yaml::parse(&text, &mut Vec::new()).expect("valid YAML");
        let mesh = entry(&root, "mesh").expect("a mesh").clone();
        let (holder, node) = match &mesh.value {
            Value::Text(path) => {
                let path = folder()
                    .join(path)
                    .canonicalize()
                    .expect("the mesh file is there");
                let node = yaml::parse(&read(&path), &mut Vec::new()).expect("valid YAML");
                (path, node)
            }
            _ => (file.clone(), mesh),
        };
        match meshes.iter_mut().find(|known| known.file == holder) {
            Some(known) => known.tests.push((file, text)),
            None => {
                let mut numbers = BTreeSet::new();
                collect(&node, &mut numbers);
                meshes.push(Meshes {
                    text: read(&holder),
                    tests: vec![(file, text)],
                    file: holder,
                    numbers,
                });
            }
        }
    }
    meshes
}

fn entry<'n>(node: &'n Node, key: &str) -> Option<&'n Node> {
    let Value::Map(entries) = &node.value else {
        return None;
    };
    entries
        .iter()
        .find(|(name, _)| name.value == key)
        .map(|(_, node)| node)
}

fn collect(node: &Node, numbers: &mut BTreeSet<Number>) {
    let mut add = |text: String, unit| {
        numbers.insert(Number {
            line: node.span.line,
            column: node.span.column,
            text,
            unit,
        });
    };
    match &node.value {
        Value::Integer(number) => add(number.to_string(), ""),
        Value::Float(number) => add(number.to_string(), ""),
        Value::Text(text) => {
            if let Some(number) = text.strip_suffix('s').filter(|n| n.parse::<f64>().is_ok()) {
                add(number.to_owned(), "s");
            }
        }
        Value::List(items) => items.iter().for_each(|item| collect(item, numbers)),
        Value::Map(entries) => {
            for (key, value) in entries {
                if !NO_POLICY.contains(&key.value.as_str()) {
                    collect(value, numbers);
                }
            }
        }
        _ => {}
    }
}

impl Number {
    /// The number larger, and smaller: doubled and halved, or else one more and one less.
    fn others(&self) -> [Vec<String>; 2] {
        let number: f64 = self.text.parse().unwrap();
        let is_whole = self.unit.is_empty() && number.fract() == 0.0;
        let up = [number * 2.0, number + 1.0];
        let down = [
            if is_whole {
                (number / 2.0).floor()
            } else {
                number / 2.0
            },
            number - 1.0,
        ];
        [up, down].map(|numbers| {
            let others = numbers
                .into_iter()
                .filter(|other| *other != number && *other >= 0.0);
            others.map(|other| other.to_string()).collect()
        })
    }

    fn replaced(&self, text: &str, other: &str) -> String {
        let mut lines: Vec<String> = text.split('\n').map(str::to_owned).collect();
        let line = &mut lines[self.line - 1];
        let at: usize = line.chars().take(self.column - 1).map(char::len_utf8).sum();
        let found = line[at..]
            .find(self.text.as_str())
            .expect("the number is there")
            + at;
        line.replace_range(found..found + self.text.len(), other);
        lines.join("\n")
    }
}

/// Whether some case fails. `None`: it is no valid policy test any more.
fn some_case_fails(meshes: &Meshes, changed: &str) -> Option<bool> {
    for (file, text) in &meshes.tests {
        let is_inline = *file == meshes.file;
        let text = if is_inline { changed } else { text };
        let load = |_: &Path| Ok(changed.to_owned());
        let name = file.display().to_string();
        let Ok(suite) = Suite::parse(text, &name, contracts::pool(), &load) else {
            return None;
        };
        let fails = |case| !suite.passes(case);
        if suite.cases.iter().any(fails) {
            return Some(true);
        }
    }
    Some(false)
}

/// How many changes of a number were tried, and those that no case noticed.
fn change(meshes: &Meshes, number: &Number) -> (usize, Vec<String>) {
    let shown = format!("{}{}", number.text, number.unit);
    let (mut tried, mut surprises) = (0, Vec::new());
    for others in number.others() {
        let result = others.iter().find_map(|other| {
            let fails = some_case_fails(meshes, &number.replaced(&meshes.text, other));
            fails.map(|fails| (other, fails))
        });
        let Some((other, fails)) = result else {
            continue;
        };
        tried += 1;
        if !fails {
            let (file, line, column) = (meshes.file.display(), number.line, number.column);
            surprises.push(format!("{file}:{line}:{column}: {shown} -> {other}"));
        }
    }
    (tried, surprises)
}

#[test]
fn changing_any_number_of_a_policy_makes_some_case_fail() {
    let meshes = meshes();
    let work: Vec<_> = meshes
        .iter()
        .flat_map(|mesh| mesh.numbers.iter().map(move |number| (mesh, number)))
        .collect();
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some((mesh, number)) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = change(mesh, number);
                    results.lock().unwrap().push(result);
                }
            });
        }
    });
    let results = results.into_inner().unwrap();
    let tried: usize = results.iter().map(|(tried, _)| tried).sum();
    let mut surprises: Vec<_> = results.into_iter().flat_map(|(_, found)| found).collect();
    surprises.sort();
    println!("{} numbers changed in {tried} ways", work.len());
    assert!(tried > 150, "only {tried} changes");
    let surprises = surprises.join("\n");
    assert!(surprises.is_empty(), "no case notices:\n{surprises}");
}
