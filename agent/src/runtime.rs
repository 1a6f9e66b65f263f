//! The runtime of commands and daemon: one thread.

use anyhow::{Context, Result};

/// Runs a future on this thread.
///
/// # Errors
/// The future's, or when there can be no runtime.
pub fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.context("start the runtime")?;
    let result = runtime.block_on(future);
    // Name resolution blocks a thread of its own for as long as its servers are silent; nobody waits for its answer.
    runtime.shutdown_background();
    result
}
