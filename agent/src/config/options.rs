//! What is meant: every flag and variable read, checked, and turned into the types that the daemon works with. Nothing
//! after this file reads a flag, and nothing here touches the host.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::config::flags;
use crate::config::go_values;
use crate::config::instance::Instance;
use crate::config::settings::{Given, Settings, UsageError};

mod cni;
mod kube;
mod log;
mod note;
mod store;
mod uplink;
mod values;

pub use cni::{CniOptions, Layout};
pub use log::{LogFormat, LogOptions};
pub use note::Note;
pub use store::{EtcdOptions, StoreOptions};
pub use uplink::UplinkOptions;
use values::{at_least, path};

/// All that `tweedd run` was asked to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where leases come from.
    pub store: StoreOptions,
    /// How long the lease lasts without renewal.
    pub lease_ttl: Duration,
    /// How the uplink is chosen, and what is announced.
    pub uplink: UplinkOptions,
    /// What the firewall does.
    pub firewall: FirewallOptions,
    /// Keep a blackhole route for the own subnet.
    pub blackhole_route: bool,
    /// Period of the full pass.
    pub resync: Duration,
    /// Where health and metrics are served, if anywhere.
    pub http: Option<SocketAddr>,
    /// The most peers that have metrics of their own.
    pub metrics_peers: usize,
    /// Ask the other nodes whether they answer.
    pub probes: bool,
    /// Names and files on this host.
    pub host: HostOptions,
    /// What to place for the container runtime, if anything.
    pub cni: Option<CniOptions>,
    /// How often what dead containers have left is removed, and where the lists are, if ever.
    pub collection: Option<(Duration, PathBuf)>,
    /// Start although a flanneld works on the same network.
    pub allow_flanneld: bool,
    /// Give up what the daemon doesn't need.
    pub sandbox: bool,
    /// What is logged, and how.
    pub log: LogOptions,
    /// The flags and variables as they were given, without secrets: what a command must know to mean this agent.
    pub given: Given,
    /// What to tell the operator once at start: flags without effect, and choices that may surprise.
    pub notes: Vec<Note>,
}

/// What the firewall does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirewallOptions {
    /// Masquerade what leaves the pod network.
    pub ip_masq: bool,
    /// Draw source ports at random when masquerading.
    pub random_fully: bool,
    /// Accept forwarded pod traffic.
    pub forward_rules: bool,
    /// Accept encapsulated packets from known nodes only.
    pub peer_allow_list: bool,
    /// Accept from each of them what comes from its own subnet only.
    pub check_sources: bool,
}

/// Names and files on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostOptions {
    /// This network's agent on this host: names the lock, the socket, the state folder and the nftables table.
    pub instance: Instance,
    /// `subnet.env`.
    pub subnet_file: PathBuf,
    /// State folder of this instance.
    pub state_dir: PathBuf,
    /// Folder of lock and socket.
    pub run_dir: PathBuf,
    /// Socket of the running agent.
    pub socket: PathBuf,
}

impl FirewallOptions {
    /// From which senders VXLAN packets are taken, in the words of the backend `udp`.
    pub fn trust(&self) -> &'static str {
        match (self.peer_allow_list, self.check_sources) {
            (false, _) => "anyone",
            (true, false) => "peers",
            (true, true) => "subnets",
        }
    }

    fn read(settings: &Settings<'_>) -> Result<Self, UsageError> {
        let ip_masq = settings.switch(&flags::IP_MASQ)?;
        let peer_allow_list = settings.switch(&flags::PEER_ALLOW_LIST)?;
        let check = &flags::PEER_SOURCE_CHECK;
        let check_sources = settings.required(check, "auto, on or off", |text| match text {
            // Without masquerading nodes may send for others, and flannel's do.
            "auto" => Some(ip_masq),
            "on" => Some(true),
            "off" => Some(false),
            _ => None,
        })?;
        Ok(Self {
            ip_masq,
            random_fully: !settings.switch(&flags::IP_MASQ_FULLY_RANDOM_DISABLE)?,
            forward_rules: settings.switch(&flags::IPTABLES_FORWARD_RULES)?,
            peer_allow_list,
            check_sources: check_sources && peer_allow_list,
        })
    }
}

impl Options {
    /// Reads and checks everything.
    ///
    /// # Errors
    /// The first value that can't be used, by flag or variable, with what is allowed. Exit code 64.
    pub fn read(settings: &Settings<'_>) -> Result<Self, UsageError> {
        let mut notes = inert(settings)?;
        let store = store::read(settings, &mut notes)?;
        Ok(Self {
            lease_ttl: at_least(settings, &flags::LEASE_TTL, 5)?,
            uplink: uplink::read(settings)?,
            firewall: FirewallOptions::read(settings)?,
            blackhole_route: settings.switch(&flags::IP_BLACKHOLE_ROUTE)?,
            resync: resync(settings, &mut notes)?,
            http: http(settings)?,
            metrics_peers: settings.required(
                &flags::METRICS_PEERS,
                "a number of at least 0",
                |text| usize::try_from(go_values::integer(text)?).ok(),
            )?,
            host: HostOptions::read(settings, &store)?,
            cni: cni::read(settings, &mut notes)?,
            collection: cni::collection(settings)?,
            probes: settings.switch(&flags::PROBES)?,
            sandbox: settings.switch(&flags::SANDBOX)?,
            allow_flanneld: settings.switch(&flags::ALLOW_FLANNELD)?,
            log: LogOptions::read(settings)?,
            given: settings.all_given(),
            store,
            notes,
        })
    }
}

impl HostOptions {
    /// The names and files that belong to a store's network.
    ///
    /// # Errors
    /// If `--instance` is no usable name.
    pub fn read(settings: &Settings<'_>, store: &StoreOptions) -> Result<Self, UsageError> {
        let instance =
            match settings.parsed(&flags::INSTANCE, Instance::ALLOWED, Instance::named)? {
                Some(instance) => instance,
                None => store.instance(),
            };
        let run_dir = path(settings, &flags::RUN_DIR);
        let socket = settings.text(&flags::SOCKET).map_or_else(
            || run_dir.join(format!("{instance}.sock")),
            |(_, path)| PathBuf::from(path),
        );
        Ok(Self {
            subnet_file: path(settings, &flags::SUBNET_FILE),
            state_dir: path(settings, &flags::STATE_DIR).join(instance.as_str()),
            run_dir,
            socket,
            instance,
        })
    }
}

/// Flags without effect that somebody gave. Their values are checked all the same where flannel checks them.
fn inert(settings: &Settings<'_>) -> Result<Vec<Note>, UsageError> {
    settings.required(
        &flags::SUBNET_LEASE_RENEW_MARGIN,
        "a number of minutes from 1 to 1439",
        |text| go_values::integer(text).filter(|minutes| (1..=1439).contains(minutes)),
    )?;
    let mut notes: Vec<Note> = flags::all()
        .filter_map(|flag| {
            let source = settings.given(flag)?;
            Some(Note::new(source, format!("has no effect: {}", flag.inert?)))
        })
        .collect();
    for (variable, reason) in INERT_VARIABLES {
        if settings.variable(variable).is_some() {
            notes.push(Note::new(
                format!("environment variable {variable}"),
                format!("has no effect: {reason}"),
            ));
        }
    }
    Ok(notes)
}

/// Variables of flannel's that belong to no flag.
const INERT_VARIABLES: &[(&str, &str)] = &[
    (
        "EVENT_QUEUE_DEPTH",
        "events are folded into one snapshot and never queue up",
    ),
    (
        "CONT_WHEN_CACHE_NOT_READY",
        "the agent starts from its saved state and keeps trying the store",
    ),
];

fn resync(settings: &Settings<'_>, notes: &mut Vec<Note>) -> Result<Duration, UsageError> {
    let flannels = settings.required(
        &flags::IPTABLES_RESYNC,
        "a number of seconds of at least 1",
        |text| {
            u64::try_from(go_values::integer(text)?)
                .ok()
                .filter(|s| *s > 0)
        },
    )?;
    let ours = at_least(settings, &flags::RESYNC_INTERVAL, 1)?;
    let Some(source) = settings.given(&flags::IPTABLES_RESYNC) else {
        return Ok(ours);
    };
    if settings.given(&flags::RESYNC_INTERVAL).is_some() {
        notes.push(Note::new(source, "has no effect beside --resync-interval"));
        return Ok(ours);
    }
    notes.push(Note::new(
        source,
        format!("sets the period of the full comparison with the kernel to {flannels}s; what events report is repaired at once, so that the default of 60s does too"),
    ));
    Ok(Duration::from_secs(flannels.min(i32::MAX as u64)))
}

fn http(settings: &Settings<'_>) -> Result<Option<SocketAddr>, UsageError> {
    // Empty is each address of the host, as in Go.
    let ip: IpAddr = settings.required(&flags::HEALTHZ_IP, "an IP address", |text| match text {
        "" => Some(Ipv4Addr::UNSPECIFIED.into()),
        text => text.parse().ok(),
    })?;
    let port = settings.required(
        &flags::HEALTHZ_PORT,
        "a port from 0 (no server) to 65535",
        |text| {
            let number = go_values::integer(text)?;
            // flanneld serves if the number is above zero, and says nothing about those below.
            u16::try_from(number.max(0)).ok()
        },
    )?;
    Ok((port > 0).then_some(SocketAddr::new(ip, port)))
}

#[cfg(test)]
mod tests;
