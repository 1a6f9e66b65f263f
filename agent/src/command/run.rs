//! `tweedd run`: the daemon.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::claims::Claims;
use crate::lock::Lock;
use crate::options::Options;
use crate::presence::Presence;
use crate::store::Store;
use crate::{daemon, flanneld, for_plugins};

/// Runs until a signal asks it to stop.
///
/// # Errors
/// When it can't start.
pub fn run(options: &Options) -> Result<ExitCode> {
    let host = &options.host;
    let lock = Lock::acquire(&host.run_dir, &host.instance)?;
    let _presence = Presence::announce(&host.instance)?;
    let _claims = Claims::take(options)?;
    flanneld::check(&flanneld::find(Path::new("/proc")), options)?;
    for_plugins::announce(&options.host);
    block_on(async {
        let store = Store::open(&options.store)?;
        tokio::select! {
            ended = daemon::run(options.clone(), store) => ended,
            () = lock.keep(&host.run_dir, &host.instance) => Ok(()),
        }
    })?;
    for_plugins::leave(&options.host);
    Ok(ExitCode::SUCCESS)
}

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
