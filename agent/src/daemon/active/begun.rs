//! Facts of a session that begins, for status and metrics.

use crate::daemon::common::Common;
use crate::daemon::facts::{Facts, FileFacts, SessionFacts};
use crate::daemon::peers::Known;
use crate::daemon::session::Session;
use crate::daemon::status::parts::KernelStatus;

/// Files what stays the same in a session that begins.
pub(super) fn file(session: &Session, common: &Common, facts: &mut Facts) {
    let (backends, node) = (&session.backends, &session.node);
    let filtered = backends.tunnels().values().any(Option::is_some);
    let accepted = backends.accepted();
    let accepts: Vec<String> = accepted.map(|backend| backend.name.to_owned()).collect();
    // The others have one route, or none. IPv6 has plain routes.
    let has_gateways = |name: &String| !matches!(name.as_str(), "udp" | "alloc");
    let by_gateways = node.subnets.v4.is_some()
        && (has_gateways(&session.config.backend_type) || accepts.iter().any(has_gateways));
    let trust = common.options.firewall.trust();
    facts.waiting = None;
    facts.session = SessionFacts {
        subnets: node.subnets,
        public: node.public,
        networks: session.networks(),
        tunnels: backends
            .tunnels()
            .into_iter()
            .map(|(port, mark)| (port, mark.is_some()))
            .collect(),
        uplink: Some(node.uplink.name.clone()),
        uplink_mtu: Some(node.uplink.mtu),
        backend: Some(session.config.backend_type.clone()),
        nexthops: by_gateways.then_some(common.choices.nexthops),
        accepts,
        trust: filtered.then(|| trust.to_owned()),
        mtu: Some(session.mtu),
    };
    facts.subnet_file = FileFacts::default();
    facts.no_uplink = None;
    facts.kernel = KernelStatus {
        programmed: false,
        ..std::mem::take(&mut facts.kernel)
    };
    facts.cluster.known = Known::default();
}
