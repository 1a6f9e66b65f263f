//! `tweedd run`: the daemon.

use std::process::ExitCode;

use crate::options::Options;

pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    tracing::info!(?options);
    Ok(ExitCode::SUCCESS)
}

/// Runs a future on this thread.
pub fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    anyhow::Context::context(runtime, "start the runtime")?.block_on(future)
}
