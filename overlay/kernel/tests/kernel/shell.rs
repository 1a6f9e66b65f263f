//! The other side of the comparison: iproute2, in the calling thread's namespace.

use serde_json::Value;
pub(crate) use tweed_netlink::lab::{run, run_args};

/// Runs a command line that prints JSON.
pub(crate) fn json(line: &str) -> Value {
    let text = run(line);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{line}: {error}: {text}"))
}
