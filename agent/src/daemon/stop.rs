//! The end: a signal ends the main loop; and where the main loop hangs, a thread that has nothing else to do ends the
//! process.

use std::process;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, Signal};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

use crate::telemetry::queue;

/// How long the main loop may take for its end: it waits a second for the service manager at most.
const GRACE: Duration = Duration::from_secs(2);

/// Waits until a signal asks this process to stop.
///
/// # Errors
/// When signals can't be listened for.
pub async fn told_to_stop() -> Result<()> {
    stop_signal()?.await;
    Ok(())
}

/// From this call on the signals no longer end the process, but the future.
pub(super) fn stop_signal() -> Result<impl Future<Output = ()>> {
    let mut stop = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = stop.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Ends the process some time after a signal has asked for that, whatever the main thread does: it may be in a folder on
/// a file system that doesn't answer. Nothing is lost: the kernel stays as it is, and files are whole or not there.
///
/// # Errors
/// When there can be no such thread.
pub(super) fn end_even_if_hung() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime of the stop thread")?;
    let wait = async {
        if told_to_stop().await.is_ok() {
            sleep(GRACE).await;
            tracing::error!(
                "the main loop doesn't end; a folder may be on a file system that doesn't answer"
            );
            queue::drain();
            process::exit(1);
        }
    };
    let thread = thread::Builder::new().name("stop".to_owned());
    let started = thread.spawn(move || runtime.block_on(wait));
    started.context("start the stop thread")?;
    // The kernel gives a signal to the main thread where that takes it, even if it hangs; so it doesn't take it, and the
    // handler runs in the stop thread. Threads that are started from here on do the same.
    let mut ours = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        ours.add(signal);
    }
    ours.thread_block()
        .context("leave signals to the stop thread")
}
