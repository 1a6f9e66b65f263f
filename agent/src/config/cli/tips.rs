//! What is meant by words that other programs have as commands or flags.

use clap::error::{ContextKind, ContextValue};

const CONFIGURATION: &str =
    "that is said once for all nodes, in the network configuration: tweedd config set FILE";
const SERVICE: &str = "the agent is a service: systemctl restart tweedd; in Kubernetes kubectl -n kube-tweed rollout restart daemonset kube-tweed";

static TIPS: &[(&[&str], &str)] = &[
    (
        &["peers", "nodes", "hosts", "neighbors", "neighbours"],
        "the other nodes: tweedd status --peers; all leases: tweedd leases list",
    ),
    (
        &["list", "ls", "subnets", "routes"],
        "all leases: tweedd leases list",
    ),
    (&["start", "stop", "restart", "reload"], SERVICE),
    (
        &["log", "logs"],
        "journalctl -u tweedd; in Kubernetes kubectl -n kube-tweed logs POD",
    ),
    (
        &["apply", "--apply", "repair", "reconcile", "sync"],
        "an agent that runs does by itself what tweedd plan shows: systemctl start tweedd",
    ),
    (&["--json"], "-o json"),
    (
        &["uninstall", "remove", "reset", "purge"],
        "tweedd cleanup removes from this host what the agent put there, tweedd leases release a lease from the store",
    ),
    (
        &["install"],
        "tweedd install-cni places the plugin; units are in manifests/systemd",
    ),
    (
        &["test", "check", "doctor", "ping"],
        "what this node lacks: tweedd status; paths between pods: tweedd connectivity",
    ),
    (
        &["get", "set", "edit"],
        "tweedd config get, tweedd config set FILE",
    ),
    (
        &["--dry-run"],
        "tweedd plan changes nothing; tweedd config check FILE writes nothing",
    ),
    (
        &[
            "--backend",
            "--network",
            "--subnet-len",
            "--vni",
            "--port",
            "--mtu",
        ],
        CONFIGURATION,
    ),
];

/// The same error, with what may be meant.
pub(super) fn with_tip(mut error: clap::Error) -> clap::Error {
    let kinds = [ContextKind::InvalidSubcommand, ContextKind::InvalidArg];
    let tip = kinds.into_iter().find_map(|kind| match error.get(kind)? {
        ContextValue::String(word) => tip(word),
        _ => None,
    });
    if let Some(tip) = tip {
        let tip = ContextValue::StyledStrs(vec![tip.into()]);
        error.insert(ContextKind::Suggested, tip);
    }
    error
}

fn tip(word: &str) -> Option<&'static str> {
    let word = word.split(['=', ' ']).next().unwrap_or(word);
    let row = TIPS.iter().find(|(words, _)| words.contains(&word))?;
    Some(row.1)
}
