//! The command line.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};
use weft_runtime::parse_duration;

/// Runs Protobuf services as a mesh: one mesh file, one command.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What `weft` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Build and start everything in the mesh file on this machine, until Ctrl-C
    Up(UpArgs),
    /// Check the mesh file together with the contracts
    Check(CheckArgs),
    /// Play policy tests in virtual time
    Test(TestArgs),
    /// Show what runs: processes, identities, readiness, configuration
    Status(StatusArgs),
    /// Show the logs of a service or process
    Logs(LogsArgs),
    /// Drain and stop a running `weft up`, or one service of it
    Stop(StopArgs),
    /// Start a service again that `weft stop SERVICE` stopped
    Start(StartArgs),
    /// Run the control plane: registry, configuration over xDS, certificate authority
    Control(weft_control::Args),
    /// Run the front: REST and gRPC on one port, tokens, the pages
    Edge(weft_edge::Args),
    /// Run the sidecar of one workload
    Proxy(Box<weft_proxy::Args>),
}

/// Which running mesh a command is about.
#[derive(Args, Clone, Debug)]
pub struct Place {
    /// The mesh file. Default: `mesh/mesh.yaml` or `mesh.yaml` here or in a folder above.
    #[arg(long, env = "WEFT_MESH", value_name = "FILE")]
    pub mesh: Option<PathBuf>,
    /// Where state, logs and databases are. Default: `.weft` in the workspace of the mesh file.
    #[arg(long, env = "WEFT_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
}

impl Place {
    /// What other commands need to find the same data: nothing, where they find it by themselves.
    pub fn flags(&self) -> String {
        match (&self.mesh, &self.data) {
            (_, Some(data)) => format!(" --data {}", data.display()),
            (Some(mesh), None) => format!(" --mesh {}", mesh.display()),
            (None, None) => String::new(),
        }
    }
}

/// Arguments of `weft up`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  weft up                                              the mesh file found from here upwards
  weft up --listen 0.0.0.0:8080                        for other machines, too
  weft up --data /tmp/second --listen 127.0.0.1:0      a second copy beside the first
  weft up --only catalogue --only carts                control, edge and two services
  weft up --detach && weft logs orders -f; weft stop   in the background")]
pub struct UpArgs {
    /// Which mesh, kept where.
    #[command(flatten)]
    pub place: Place,
    /// Where the edge listens, instead of `edge.listen` in the mesh file. Port 0 takes a free port.
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// Start only these services (repeatable), with control and edge.
    #[arg(long, value_name = "SERVICE")]
    pub only: Vec<String>,
    /// Return once everything is ready and leave it running. `weft stop` ends it.
    #[arg(long)]
    pub detach: bool,
    /// Do not build: start the binaries that lie beside this one.
    #[arg(long)]
    pub no_build: bool,
    /// Print one JSON object instead of the screen once everything is ready.
    #[arg(long)]
    pub json: bool,
    /// Give up if not everything is ready by then.
    #[arg(long, default_value = "60s", value_parser = parse_duration, value_name = "DURATION")]
    pub ready_timeout: Duration,
    /// How long open calls may finish when stopping.
    #[arg(long, env = "DRAIN_GRACE", default_value = "5s", value_parser = parse_duration, value_name = "DURATION")]
    pub grace: Duration,
}

/// Arguments of `weft check`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  weft check
  weft check mesh/mesh.yaml --json | jq -r '.problems[] | \"\\(.file):\\(.line): \\(.message)\"'")]
pub struct CheckArgs {
    /// The mesh file. Default: the one `weft up` would take.
    #[arg(value_name = "FILE", env = "WEFT_MESH")]
    pub file: Option<PathBuf>,
    /// Print the problems as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `weft test`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  weft test tests/policies                     every *.policytest.yaml in it and below
  weft test retries.policytest.yaml -v         with what happened, when and why
  weft test . --filter hedg                    cases whose name or file contains that
  weft test . --json | jq -r 'select(.passed | not) | .name'

A test file names a mesh file, or holds a small mesh, and has cases:

  mesh: ../mesh.yaml
  cases:
    - name: a replica that is down costs one retry
      endpoints: { carts: { a: refuses connections, b: OK } }
      calls: { method: GetCart, times: 10 }
      expect: { status: OK, received: { b: 10 } }

Exit code: 0 all passed, 1 some failed, 2 a file cannot be read.")]
pub struct TestArgs {
    /// Policy test files, or folders with `*.policytest.yaml` in them or below.
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Only cases whose name or file contains this text.
    #[arg(long, value_name = "TEXT")]
    pub filter: Option<String>,
    /// Show what happened in passing cases, too.
    #[arg(short, long)]
    pub verbose: bool,
    /// Print one JSON object per case instead.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `weft status`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  weft status
  weft status --json --data /tmp/second")]
pub struct StatusArgs {
    /// Which mesh.
    #[command(flatten)]
    pub place: Place,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `weft logs`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  weft logs orders             the last lines of every replica and its sidecar
  weft logs catalogue-2 -f     one process, and what it writes from now on
  weft logs edge -n 200")]
pub struct LogsArgs {
    /// A service (`orders`), a process (`orders-1`, `orders-1-sidecar`), `edge` or `control`.
    pub name: String,
    /// Which mesh.
    #[command(flatten)]
    pub place: Place,
    /// Go on with new lines until Ctrl-C.
    #[arg(short, long)]
    pub follow: bool,
    /// How many of the last lines of each process.
    #[arg(short = 'n', long, default_value_t = 50, value_name = "LINES")]
    pub lines: usize,
}

/// Arguments of `weft stop`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  weft stop
  weft stop --data /tmp/second
  weft stop notifications        only this service; `weft start notifications` brings it back")]
pub struct StopArgs {
    /// Only this service, with its sidecars. The rest goes on.
    pub service: Option<String>,
    /// Which mesh.
    #[command(flatten)]
    pub place: Place,
    /// How long to wait until everything has ended.
    #[arg(long, default_value = "30s", value_parser = parse_duration, value_name = "DURATION")]
    pub timeout: Duration,
}

/// Arguments of `weft start`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  weft stop notifications && weft start notifications")]
pub struct StartArgs {
    /// The service to start again.
    pub service: String,
    /// Which mesh.
    #[command(flatten)]
    pub place: Place,
    /// How long to wait until it is ready.
    #[arg(long, default_value = "30s", value_parser = parse_duration, value_name = "DURATION")]
    pub timeout: Duration,
}
