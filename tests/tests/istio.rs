//! The Kubernetes manifests render, fit the schemas, and say what the mesh file says.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    collections::BTreeMap,
    env, fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use e2e::{
    manifests::{self, Kind},
    shop::root,
    tools,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use weft_model::Mesh;

/// What an overlay's `mesh.yaml` is.
const HEADER: &str = "\
# What mesh/mesh.yaml says, for this mesh. A test keeps the two equal; to write it anew:
#   UPDATE_MANIFESTS=1 cargo test -p e2e --test istio
";

struct Tools {
    kustomize: PathBuf,
    python: PathBuf,
}

fn required() -> Option<Tools> {
    let [kustomize, python] = tools::require(["kustomize", "python"])?;
    Some(Tools { kustomize, python })
}

fn mesh() -> Mesh {
    Mesh::load(&root().join("mesh/mesh.yaml")).unwrap()
}

impl Tools {
    /// What a folder renders to, as YAML.
    fn render(&self, folder: &Path) -> String {
        tools::run(Command::new(&self.kustomize).arg("build").arg(folder)).unwrap()
    }

    /// The resources, or everything that is wrong with them.
    fn validate(&self, rendered: &str) -> Result<Vec<Value>, String> {
        let mut validate = Command::new(&self.python)
            .arg(root().join("tests/kubernetes/validate.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = validate.stdin.take().unwrap();
        let text = rendered.to_owned();
        let writer = std::thread::spawn(move || input.write_all(text.as_bytes()));
        let output = validate.wait_with_output().unwrap();
        writer.join().unwrap().unwrap();
        match output.status.success() {
            true => Ok(serde_json::from_slice(&output.stdout).unwrap()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    /// Writes what an overlay must say about the mesh.
    fn update(&self, kind: Kind) {
        let resources = json!(manifests::resources(kind, &mesh()).unwrap());
        let dump = "import sys, json, yaml; \
                    print(yaml.safe_dump_all(json.load(sys.stdin), sort_keys=False, width=120), end='')";
        let mut python = Command::new(&self.python)
            .args(["-c", dump])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        python
            .stdin
            .take()
            .unwrap()
            .write_all(resources.to_string().as_bytes())
            .unwrap();
        let yaml = python.wait_with_output().unwrap().stdout;
        let yaml = format!("{}{}", head(), String::from_utf8(yaml).unwrap());
        fs::write(overlay(kind).join("mesh.yaml"), yaml).unwrap();
    }
}

/// What an overlay's `mesh.yaml` begins with: what it is, and what it leaves out.
fn head() -> String {
    format!("{HEADER}{}", manifests::comments(&mesh()))
}

fn overlay(kind: Kind) -> PathBuf {
    root().join("istio/overlays").join(kind.folder())
}

fn by_name(resources: &[Value]) -> BTreeMap<String, &Value> {
    let name = |resource: &Value| {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        format!(
            "{} {}",
            text(&resource["kind"]),
            text(&resource["metadata"]["name"])
        )
    };
    resources
        .iter()
        .map(|resource| (name(resource), resource))
        .collect()
}

/// Renders an overlay, validates it and compares it with the mesh file.
fn says_what_the_mesh_file_says(kind: Kind, besides: &[&str]) {
    let Some(tools) = required() else {
        return;
    };
    if env::var_os("UPDATE_MANIFESTS").is_some() {
        tools.update(kind);
    }
    let written = fs::read_to_string(overlay(kind).join("mesh.yaml")).unwrap();
    assert!(written.starts_with(&head()), "it should begin:\n{}", head());
    let rendered = tools.validate(&tools.render(&overlay(kind))).unwrap();

    let mut rendered = by_name(&rendered);
    let expected = manifests::resources(kind, &mesh()).unwrap();
    for (name, expected) in by_name(&expected) {
        let found = rendered
            .remove(&name)
            .unwrap_or_else(|| panic!("{name} is missing"));
        assert_eq!(
            found, expected,
            "{name} differs from mesh/mesh.yaml; see the head of mesh.yaml"
        );
    }
    let core = |api: &str| matches!(api, "v1" | "apps/v1");
    rendered.retain(|_, resource| !core(resource["apiVersion"].as_str().unwrap()));
    let mut left: Vec<_> = rendered.keys().map(String::as_str).collect();
    left.sort_unstable();
    assert_eq!(
        left, besides,
        "resources that the mesh file does not ask for"
    );
}

#[test]
fn istio_overlay_says_what_the_mesh_file_says() {
    let besides = [
        "AuthorizationPolicy default-deny",
        "AuthorizationPolicy edge",
        "PeerAuthentication default",
        "PeerAuthentication edge",
    ];
    says_what_the_mesh_file_says(Kind::Istio, &besides);
}

#[test]
fn linkerd_overlay_says_what_the_mesh_file_says() {
    says_what_the_mesh_file_says(
        Kind::Linkerd,
        &["NetworkAuthentication anywhere", "Server edge"],
    );
}

#[test]
fn every_service_is_deployed_with_its_account_and_port() {
    let Some(tools) = required() else {
        return;
    };
    let rendered = tools
        .validate(&tools.render(&root().join("istio/base")))
        .unwrap();
    let rendered = by_name(&rendered);
    let mesh = mesh();
    for service in mesh.services.values() {
        let name = service.name.as_str();
        let found = |kind: &str| rendered.get(&format!("{kind} {name}")).copied().unwrap();
        let pod = &found("Deployment")["spec"]["template"]["spec"];
        assert_eq!(pod["serviceAccountName"], service.service_account.as_str());
        assert_eq!(
            pod["containers"][0]["command"],
            json!([format!("/usr/local/bin/{name}")])
        );
        let replicas = service.run.as_ref().unwrap().replicas;
        assert_eq!(found("Deployment")["spec"]["replicas"], replicas, "{name}");
        found("ServiceAccount");
        let port = &found("Service")["spec"]["ports"][0];
        assert_eq!(port["port"], *service.port, "{name}");
        assert_eq!(port["appProtocol"], "kubernetes.io/h2c", "{name}");
        assert_eq!(port["name"], "grpc", "{name}");
    }
    let deployments = rendered
        .keys()
        .filter(|name| name.starts_with("Deployment "))
        .count();
    assert_eq!(
        deployments,
        mesh.services.len() + 1,
        "the services and the edge"
    );
}

#[test]
fn misspelled_fields_are_refused() {
    let Some(tools) = required() else {
        return;
    };
    for (kind, field, misspelled) in [
        (Kind::Istio, "serviceAccountName:", "serviceAccountname:"),
        (Kind::Istio, "retryOn:", "retryon:"),
        (Kind::Istio, "principals:", "principal:"),
        (Kind::Linkerd, "backendRefs:", "backends:"),
        (Kind::Linkerd, "identityRefs:", "identityRef:"),
        (Kind::Linkerd, "accessPolicy:", "access:"),
    ] {
        let rendered = tools.render(&overlay(kind));
        assert!(rendered.contains(field), "{field}");
        let problems = tools
            .validate(&rendered.replace(field, misspelled))
            .unwrap_err();
        assert!(
            problems.contains(misspelled.trim_end_matches(':')),
            "{misspelled}:\n{problems}"
        );
    }
}

#[test]
fn an_overlay_with_a_missing_file_does_not_render() {
    let Some(tools) = required() else {
        return;
    };
    let folder = TempDir::new().unwrap();
    tools::copy_folder(&root().join("istio"), folder.path()).unwrap();
    fs::remove_file(folder.path().join("base/orders.yaml")).unwrap();
    let overlay = folder.path().join("overlays/istio");

    let refusal = tools::run(Command::new(&tools.kustomize).arg("build").arg(overlay)).unwrap_err();

    assert!(refusal.to_string().contains("orders.yaml"), "{refusal}");
}
