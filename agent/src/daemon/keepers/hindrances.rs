//! Hindrances of pods' packets on this host that are not ours to change: firewalls of others, a kernel without
//! `br_netfilter`, records that can't be read. Checked at intervals, reported in status, log, metrics and events.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tweed_host::sysctl;
use tweed_kernel::firewall::{Asked, Hindrance, hindrances};
use tweed_model::Family;
use tweed_netlink::Netfilter;

use super::{Keeper, News, next_look};
use crate::daemon::facts::{Facts, SessionFacts};
use crate::daemon::readings::{Reader, Reading};
use crate::daemon::status::parts::{HostWarning, Stops};
use crate::events::journal::Journal;
use crate::events::sentences;
use crate::files::state_dir::StateDir;

/// Between two looks: none of this changes often, and each costs a dump of the packet filter's chains.
const LOOK: Duration = Duration::from_secs(10);
/// The switch by which packets between pods of one node pass the packet filter.
const BRIDGE_FILTER: &str = "net/bridge/bridge-nf-call-iptables";

/// One look in so many also reads what flannel may have left of address translation: that reads larger tables.
const RARELY: u32 = 6;

/// Looks, and keeps what it has reported.
pub struct Hindrances {
    /// Name of our own table.
    table: String,
    /// Whether Services are expected to work between pods of one node.
    services: bool,
    /// Whether accept rules of ours go into iptables' FORWARD chain.
    accepts: bool,
    reading: Reading<InTheWay>,
    looks: u32,
    /// What flannel has left of address translation, as of the last look at it.
    leftovers: Vec<HostWarning>,
    /// None before the first session.
    due: Option<Instant>,
    told: Vec<HostWarning>,
    state: StateDir,
}

/// What a look has found.
struct InTheWay {
    /// The packet filter's rules; `None` if they can't be read.
    rules: Option<Vec<Hindrance>>,
    /// Whether what flannel left was looked for.
    leftovers: bool,
    bridge_filter: bool,
}

impl Hindrances {
    /// For the agent with this nftables table; with `services` they are expected to work between pods of one node; with
    /// `accepts` rules of ours go into iptables' FORWARD chain.
    pub fn new(
        table: &str,
        (services, accepts): (bool, bool),
        state: StateDir,
        reader: Reader,
    ) -> Self {
        Self {
            table: table.to_owned(),
            services,
            accepts,
            reading: Reading::new(reader),
            looks: 0,
            leftovers: Vec::new(),
            due: None,
            told: Vec::new(),
            state,
        }
    }

    /// Reports what has changed since the last report.
    fn tell(&mut self, events: &Journal, found: Vec<HostWarning>) {
        for warning in found.iter().filter(|warning| !self.told.contains(warning)) {
            events.tell(sentences::hindrance(&warning.kind, &warning.text));
        }
        for warning in self.told.iter().filter(|warning| !found.contains(warning)) {
            events.tell(sentences::hindrance_over(&warning.kind, &warning.text));
        }
        self.told = found;
    }

    fn ask(&mut self, session: &SessionFacts) {
        let leftovers = self.looks.is_multiple_of(RARELY);
        self.looks = self.looks.wrapping_add(1);
        let (table, accepts) = (self.table.clone(), self.accepts);
        let session = session.clone();
        self.reading.ask(move || {
            let asked = Asked {
                own: &table,
                networks: &session.networks,
                accepts,
                tunnels: tunnels(&session),
                uplink: session.uplink.as_deref().unwrap_or_default(),
                leftovers,
            };
            InTheWay {
                rules: rules(&asked),
                leftovers,
                bridge_filter: !matches!(sysctl::read(BRIDGE_FILTER), Ok(None)),
            }
        });
    }

    fn packet_filter(&mut self, read: &InTheWay) -> Vec<HostWarning> {
        let warning = |hindrance: &Hindrance| {
            HostWarning::new(hindrance.kind(), hindrance.to_string()).stopping(stops(hindrance))
        };
        let left = |hindrance: &&Hindrance| matches!(hindrance, Hindrance::Translation { .. });
        let found = read.rules.as_deref().unwrap_or_default();
        if read.leftovers {
            self.leftovers = found.iter().filter(left).map(warning).collect();
        }
        let now = found.iter().filter(|hindrance| !left(hindrance));
        now.map(warning).chain(self.leftovers.clone()).collect()
    }

    fn bridge_filter(&self, read: &InTheWay) -> Option<HostWarning> {
        let lacks = self.services && !read.bridge_filter;
        lacks.then(|| {
            let text = "the kernel's module br_netfilter is not loaded: Services don't answer pods of the node on which their own pods run; load it on the host: modprobe br_netfilter; echo br_netfilter > /etc/modules-load.d/tweed.conf";
            HostWarning::new("br_netfilter", text).stopping(Stops::Always)
        })
    }
}

impl Keeper for Hindrances {
    fn look(&mut self, facts: &mut Facts, now: Instant) -> Option<News> {
        let session = &facts.session;
        if !session.networks.is_empty() && self.due.is_none_or(|due| now >= due) {
            self.due = Some(next_look(now, LOOK));
            self.ask(session);
        }
        let read = self.reading.take()?;
        let mut found = self.packet_filter(&read);
        found.extend(self.bridge_filter(&read));
        found.extend(records(&facts.attached.out_of_reach));
        found.extend(doubtful(&facts.attached.doubtful));
        found.extend(unsaved(&self.state));
        if found != self.told {
            facts.warnings.clone_from(&found);
            self.tell(&facts.events, found);
        }
        None
    }

    fn due(&self) -> Option<Instant> {
        self.due
    }
}

fn stops(hindrance: &Hindrance) -> Stops {
    match hindrance {
        Hindrance::Tunnel { .. } => Stops::Tunnel,
        hindrance if hindrance.stops() => Stops::Forwarding,
        _ => Stops::Nothing,
    }
}

fn rules(asked: &Asked<'_>) -> Option<Vec<Hindrance>> {
    let told = |error: &dyn Display| tracing::debug!(%error, "can't look for what drops packets");
    let socket = Netfilter::open().inspect_err(|error| told(error));
    let found = hindrances(&mut socket.ok()?, asked);
    found.inspect_err(|error| told(error)).ok()
}

fn unsaved(state: &StateDir) -> Option<HostWarning> {
    let error = state.error()?;
    let text = format!(
        "the state folder can't be written ({error}): should the store be away at the next reboot, this node comes up without lease and MAC address; make room there, or name another folder with --state-dir"
    );
    Some(HostWarning::new("state", text))
}

/// Packets of VXLAN never come from the port to which they go: connection tracking sees no answers to them. Those of our
/// own data plane do.
fn tunnels(session: &SessionFacts) -> Vec<(Family, u16, bool)> {
    let of = |(port, new): (&u16, &bool)| {
        let (port, new) = (*port, *new);
        let families = session.public.iter().map(|(family, _)| family);
        families
            .map(move |family| (family, port, new))
            .collect::<Vec<_>>()
    };
    session.tunnels.iter().flat_map(of).collect()
}

/// So many are named.
const NAMED: usize = 5;

/// Where the agent can't see whether a container still runs, that is no reason not to be ready.
fn doubtful(doubtful: &BTreeMap<String, String>) -> Option<HostWarning> {
    let named: Vec<String> = doubtful
        .iter()
        .take(NAMED)
        .map(|(owner, port)| format!("{port} of {owner}"))
        .collect();
    let text = format!(
        "the host's ends of {} attachments are gone, such as {}: if one of these pods still runs, delete it, and its runtime attaches it anew; the record of one that is gone goes with the runtime's next GC, or with the file of its name in /run/tweed/cni",
        doubtful.len(),
        named.join(", ")
    );
    (!named.is_empty()).then(|| HostWarning::new("attachment", text))
}

fn records(out_of_reach: &BTreeMap<PathBuf, String>) -> Vec<HostWarning> {
    let warning = |(folder, error): (&PathBuf, &String)| {
        let text = format!(
            "the plugin's records in {} (its key stateDir) can't be read here ({error}): what another program flushes of them is not restored; mount the folder into the agent's container, or leave stateDir out",
            folder.display()
        );
        HostWarning::new("records", text)
    };
    out_of_reach.iter().map(warning).collect()
}
