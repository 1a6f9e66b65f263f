//! Flows of connection tracking from before a host port was added or removed.

use tweed_host::KernelError;

use crate::runtime::log;

/// Logs flows that can't be forgotten. They end by themselves, later: no reason to refuse a container.
pub(super) fn log_failure(forgotten: Result<usize, KernelError>) {
    if let Err(error) = forgotten {
        log::line(format_args!(
            "portmap: old UDP flows go on until they time out: {error}"
        ));
    }
}
