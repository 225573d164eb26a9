//! From `main` to the service and back.

use std::{future::Future, io::Write as _, process::ExitCode};

use clap::Parser;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

/// Runs a service: reads its arguments, sets up logs and traces, calls `main` with a token that is
/// cancelled when the process shall drain, prints what went wrong with all causes, and makes the exit
/// code (0 or 1; clap exits with 2).
pub fn run<A, F>(name: &'static str, main: impl FnOnce(A, CancellationToken) -> F) -> ExitCode
where
    A: Parser,
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let args = A::parse();
    let token = CancellationToken::new();
    run_boxed(name, token.clone(), Box::pin(main(args, token)))
}

fn run_boxed(
    name: &'static str,
    token: CancellationToken,
    main: BoxFuture<'static, anyhow::Result<()>>,
) -> ExitCode {
    let ended = weft_runtime::runtime()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| {
            runtime.block_on(async {
                let _telemetry = weft_runtime::telemetry::init(name);
                let signalled = weft_runtime::shutdown::token();
                tokio::spawn(async move {
                    signalled.cancelled().await;
                    token.cancel();
                });
                let ended = main.await;
                match &ended {
                    Ok(()) => tracing::info!("ended"),
                    Err(error) => tracing::error!(error = format!("{error:#}"), "ended"),
                }
                ended
            })
        });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // For whoever runs it by hand; the log has it as one line of JSON.
            let _ = writeln!(std::io::stderr(), "{name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}
