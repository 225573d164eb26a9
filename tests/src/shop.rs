//! The whole sock shop, started by the real `weft up` on free ports in a temporary folder.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{process::Command as AsyncCommand, sync::OnceCell, time::sleep};
use uuid::Uuid;

use crate::http::{Reply, send};

/// Debug builds of seven services and as many sidecars come up on two busy cores.
const START_DEADLINE: Duration = Duration::from_secs(120);

/// A running shop. Dropped or not, it ends with the test process: `weft up` watches its stdin.
pub struct Shop {
    data: TempDir,
    up: Child,
    edge: SocketAddr,
}

/// A customer who is logged in.
#[derive(Clone, Debug)]
pub struct Customer {
    /// `customers/{id}`.
    pub name: String,
    /// The address the customer registered with.
    pub email: String,
    /// For the `Authorization` header.
    pub token: String,
}

/// The repository's root folder.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map(Path::to_owned)
        .unwrap_or_default()
}

/// The binary `weft`. `cargo test --workspace` has built it and every service before any test runs:
/// each of them has integration tests of its own.
pub fn weft() -> Result<PathBuf> {
    // target/debug/deps/<test> -> target/debug/weft
    let test = std::env::current_exe()?;
    let weft = test
        .ancestors()
        .nth(2)
        .context("no target folder")?
        .join("weft");
    ensure!(
        weft.exists(),
        "{} is not there: run `cargo test --workspace`, or `cargo build --workspace` before",
        weft.display()
    );
    Ok(weft)
}

impl Shop {
    /// The shop all tests of one file share.
    pub async fn shared() -> &'static Shop {
        static SHOP: OnceCell<Shop> = OnceCell::const_new();
        match SHOP.get_or_try_init(|| Shop::start(&[])).await {
            Ok(shop) => shop,
            Err(error) => panic!("the shop did not start: {error:#}"),
        }
    }

    /// Starts a shop of its own and waits until all of it is ready.
    pub async fn start(env: &[(&str, &str)]) -> Result<Shop> {
        Shop::start_in(tempfile::Builder::new().prefix("weft-e2e-").tempdir()?, env).await
    }

    /// Starts a shop on the data that an earlier one left.
    pub async fn start_in(data: TempDir, env: &[(&str, &str)]) -> Result<Shop> {
        Shop::launch(data, env, None).await
    }

    /// Starts another mesh than the shop.
    pub async fn start_mesh(mesh: &Value) -> Result<Shop> {
        let data = tempfile::Builder::new().prefix("weft-e2e-").tempdir()?;
        let file = data.path().join("mesh.yaml");
        // JSON is YAML.
        std::fs::write(&file, mesh.to_string())?;
        Shop::launch(data, &[], Some(&file)).await
    }

    async fn launch(data: TempDir, env: &[(&str, &str)], mesh: Option<&Path>) -> Result<Shop> {
        let mesh = mesh.map(|file| format!("--mesh={}", file.display()));
        let output = std::fs::File::create(data.path().join("up.log"))?;
        let up = Command::new(weft()?)
            .args(["up", "--no-build", "--listen", "127.0.0.1:0", "--data"])
            .arg(data.path().join("weft"))
            .args(mesh)
            .current_dir(root())
            .env("EXIT_ON_STDIN_CLOSE", "1")
            .envs(env.iter().copied())
            .stdin(Stdio::piped())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()?;
        let mut shop = Shop {
            data,
            up,
            edge: SocketAddr::from(([127, 0, 0, 1], 0)),
        };
        shop.edge = shop.wait_ready().await?;
        Ok(shop)
    }

    async fn wait_ready(&mut self) -> Result<SocketAddr> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.up.try_wait()? {
                bail!("weft up ended with {status}:\n{}", self.output());
            }
            let state = self.state();
            // An earlier run may have left its state.
            if state["pid"] == json!(self.up.id())
                && state["ready"] == json!(true)
                && let Some(edge) = state["edge"].as_str()
            {
                return Ok(edge.parse()?);
            }
            ensure!(
                started.elapsed() < START_DEADLINE,
                "not ready after {START_DEADLINE:?}:\n{}",
                self.output()
            );
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// What `weft up` printed.
    pub fn output(&self) -> String {
        std::fs::read_to_string(self.data.path().join("up.log")).unwrap_or_default()
    }

    /// The process id of `weft up` itself.
    pub fn up_pid(&self) -> u32 {
        self.up.id()
    }

    /// Where the edge listens.
    pub fn edge(&self) -> SocketAddr {
        self.edge
    }

    /// The data folder of this shop.
    pub fn data(&self) -> PathBuf {
        self.data.path().join("weft")
    }

    /// `state.json` as it is now.
    pub fn state(&self) -> Value {
        std::fs::read(self.data().join("state.json"))
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok())
            .unwrap_or_default()
    }

    /// The entry of one process in `state.json`.
    pub fn process(&self, name: &str) -> Result<Value> {
        self.state()["processes"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|process| process["name"] == json!(name))
            .cloned()
            .with_context(|| format!("no process `{name}`"))
    }

    /// Sends a signal, such as `KILL` or `STOP`, to one process. Returns its process id.
    pub async fn signal(&self, process: &str, signal: &str) -> Result<u64> {
        let pid = self.process(process)?["pid"].as_u64().context("no pid")?;
        let status = AsyncCommand::new("kill")
            .args([&format!("-{signal}"), &pid.to_string()])
            .status()
            .await?;
        ensure!(
            status.success(),
            "cannot send {signal} to {process} ({pid})"
        );
        Ok(pid)
    }

    /// Runs `weft COMMAND --data …` beside the shop and returns what it printed.
    pub async fn weft(&self, arguments: &[&str]) -> Result<String> {
        let output = AsyncCommand::new(weft()?)
            .args(arguments)
            .arg("--data")
            .arg(self.data())
            .current_dir(root())
            .output()
            .await?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "weft {arguments:?}: {}\n{text}{errors}",
            output.status
        );
        Ok(text)
    }

    /// The log of one process.
    pub fn log(&self, process: &str) -> String {
        let path = self.data().join("logs").join(format!("{process}.log"));
        std::fs::read_to_string(path).unwrap_or_default()
    }

    /// Opens the SQLite database of a service for reading.
    pub async fn database(&self, service: &str) -> Result<sqlx::SqlitePool> {
        let path = self
            .data()
            .join("services")
            .join(service)
            .join(format!("{service}.db"));
        let options = sqlx::sqlite::SqliteConnectOptions::new()
            .filename(&path)
            .read_only(true);
        sqlx::SqlitePool::connect_with(options)
            .await
            .with_context(|| format!("opening {}", path.display()))
    }

    /// `GET path`.
    pub async fn get(&self, path: &str, token: Option<&str>) -> Result<Reply> {
        send(self.edge, Method::GET, path, token, None, "").await
    }

    /// `POST path` with a JSON body.
    pub async fn post(&self, path: &str, token: Option<&str>, body: &Value) -> Result<Reply> {
        let body = serde_json::to_vec(body)?;
        send(
            self.edge,
            Method::POST,
            path,
            token,
            Some("application/json"),
            body,
        )
        .await
    }

    /// Places an order of one line, paid with the card token `card`.
    pub async fn place(
        &self,
        customer: &Customer,
        request_id: &str,
        variant: &str,
        quantity: u32,
        card: &str,
    ) -> Result<Reply> {
        let body = order(customer, request_id, variant, quantity, card);
        self.post("/v1/orders", Some(&customer.token), &body).await
    }

    /// Registers a new customer and logs in.
    pub async fn customer(&self) -> Result<Customer> {
        let email = format!("{}@example.com", Uuid::new_v4().simple());
        let password = "correct-horse-battery";
        let registered = self
            .post(
                "/v1/customers",
                None,
                &json!({"email": email, "password": password, "displayName": "Ada"}),
            )
            .await?;
        ensure!(
            registered.status.is_success(),
            "cannot register: {}",
            registered.text()
        );
        let session = self
            .post(
                "/v1/sessions",
                None,
                &json!({"email": email, "password": password}),
            )
            .await?;
        ensure!(
            session.status.is_success(),
            "cannot log in: {}",
            session.text()
        );
        let session = session.json();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(Customer {
            name: text(&session["customer"]["name"]),
            email,
            token: text(&session["accessToken"]),
        })
    }

    /// The units of a variant: (available, reserved).
    pub async fn stock(&self, variant: &str) -> Result<(i64, i64)> {
        let reply = self
            .get(&format!("/v1/stock:batchGet?variants={variant}"), None)
            .await?;
        ensure!(
            reply.status.is_success(),
            "cannot read stock: {}",
            reply.text()
        );
        let stock = &reply.json()["stock"][0];
        Ok((
            stock["available"].as_i64().unwrap_or(0),
            stock["reserved"].as_i64().unwrap_or(0),
        ))
    }

    /// A variant with at least `units` in stock, chosen by `seed` so that tests do not share one.
    pub async fn variant(&self, seed: usize, units: i64) -> Result<String> {
        let products = self.get("/v1/products?pageSize=100", None).await?.json();
        let names: Vec<String> = products["products"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|product| Some(product["variants"][0]["name"].as_str()?.to_owned()))
            .collect();
        ensure!(!names.is_empty(), "the catalogue is empty: {products}");
        for offset in 0..names.len() {
            let name = &names[(seed * 7 + offset) % names.len()];
            if self.stock(name).await?.0 >= units {
                return Ok(name.clone());
            }
        }
        bail!("no variant has {units} units")
    }

    /// Drains the shop and returns its data for a next start.
    pub async fn stop(mut self) -> Result<TempDir> {
        drop(self.up.stdin.take());
        let started = Instant::now();
        while self.up.try_wait()?.is_none() {
            ensure!(
                started.elapsed() < Duration::from_secs(40),
                "not drained:\n{}",
                self.output()
            );
            sleep(Duration::from_millis(50)).await;
        }
        Ok(std::mem::replace(&mut self.data, tempfile::tempdir()?))
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        drop(self.up.stdin.take());
        let _ = self.up.wait();
    }
}

/// The body of a `PlaceOrder` call.
pub fn order(
    customer: &Customer,
    request_id: &str,
    variant: &str,
    quantity: u32,
    card: &str,
) -> Value {
    json!({
        "requestId": request_id,
        "order": {
            "lines": [{"variant": variant, "quantity": quantity}],
            "shippingAddress": {
                "recipient": "Ada Lovelace", "street": "1 Mill Lane", "city": "London",
                "postalCode": "N1 9GU", "regionCode": "GB"
            },
            "email": customer.email,
            "cardToken": card,
        }
    })
}

/// Polls until `condition` yields a value, or fails after `deadline` naming `what`.
pub async fn until<T, F>(what: &str, deadline: Duration, mut condition: F) -> Result<T>
where
    F: AsyncFnMut() -> Result<Option<T>>,
{
    let started = Instant::now();
    loop {
        if let Some(value) = condition().await? {
            return Ok(value);
        }
        ensure!(
            started.elapsed() < deadline,
            "{what}: not within {deadline:?}"
        );
        sleep(Duration::from_millis(50)).await;
    }
}
