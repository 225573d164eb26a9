//! What every long-running process needs and that is not about its task: logs and traces
//! ([`telemetry`], [`trace`]), metrics ([`metrics`]), the admin port ([`admin`]), signals
//! ([`shutdown`]) and the small conventions of flags and files ([`parse_duration`], [`ready`]).
//!
//! It knows nothing of the mesh and of the services, which both stand on it. Start reading at
//! [`telemetry::init`]; a process goes like this:
//!
//! ```no_run
//! fn main() -> anyhow::Result<()> {
//!     weft_runtime::runtime()?.block_on(async {
//!         let _telemetry = weft_runtime::telemetry::init("example");
//!         let token = weft_runtime::shutdown::token();
//!         let admin = weft_runtime::admin::Admin::default();
//!         let readiness = admin.readiness.clone();
//!         let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//!         readiness.set(true);
//!         weft_runtime::admin::serve(listener, admin, token).await?;
//!         Ok(())
//!     })
//! }
//! ```

pub mod admin;
mod duration;
pub mod metrics;
pub mod ready;
pub mod shutdown;
pub mod telemetry;
pub mod throttle;
pub mod trace;

pub use duration::{InvalidDuration, parse_duration};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A tokio runtime for a process that shares its machine with many others: two worker threads, few
/// blocking threads, so that a sidecar stays small. Calls [`raise_file_limit`].
///
/// # Errors
///
/// If the operating system gives no threads.
pub fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    raise_file_limit();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(16)
        .thread_stack_size(1024 * 1024)
        .enable_all()
        .build()
}

/// Lets the process open as many files as the system allows it: the lower limit that shells set is for
/// programs that use `select`, and connections would end at it.
pub fn raise_file_limit() {
    let files = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: files.maximum,
        ..files
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        // It runs with fewer connections.
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}
