//! From nothing to a session: network configuration, uplink, identity, lease. Each step waits, with its reason in log
//! and status, until it succeeds. Without the store, a node that has been here before starts from its saved state.

mod announcement;
mod confirm;
pub(super) mod identity;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use tweed_backend::Backends;
use tweed_host::bounded_file::{self, KIB, Links};
use tweed_model::{Dual, Family, Lease, LeaseAttrs, LocalNode, NetworkConfig, Subnets, host};
use tweed_store::{LeaseStore, OwnRecord, Request, StoreError};

use super::saved;
use super::shared::{Daemon, TICK};
use crate::config::network_notes::notes;
use crate::files::state_dir::SavedLease;
use crate::host::facts;
use crate::host::uplink::{self, Overlay, Wanted};
use confirm::networks_in;

/// Between two attempts of a step that failed.
const RETRY: Duration = Duration::from_secs(1);

/// What stays the same until something forces a new session: another configuration, another uplink, another lease.
pub struct Session {
    /// The configuration's text, to notice a change.
    pub config_text: String,
    /// Its keys that mean nothing.
    pub unknown: Vec<String>,
    /// The configuration.
    pub config: NetworkConfig,
    /// The backends with their options.
    pub backends: Backends,
    /// This node.
    pub node: LocalNode,
    /// The own lease.
    pub lease: Lease,
    /// What was asked for, to ask again.
    pub request: Request,
    /// Whether the store has confirmed the lease; else it is the saved one.
    pub confirmed: bool,
    /// MTU of the pods' interfaces in bytes.
    pub mtu: u32,
    /// Addresses that an operator wants announced, as the store told.
    pub wishes: Dual<IpAddr>,
    /// How the uplink is chosen, with these wishes.
    pub uplink: Wanted,
    /// The addresses that this node is known by from now on, where nobody named one.
    pub settled: Dual<IpAddr>,
    /// What cuts the network into subnets: this node, or the store.
    pub cut_by: Subnets,
    /// Addresses of the store's servers.
    pub servers: BTreeSet<IpAddr>,
}

impl Session {
    /// What of it is to survive a reboot.
    pub fn saved(&self) -> SavedLease {
        SavedLease {
            overwrites: self.uplink.overwrites,
            settled: Some(self.settled),
            ..SavedLease::new(&self.lease, &self.config_text, self.wishes)
        }
    }
}

/// A configuration, read.
struct Network {
    text: String,
    unknown: Vec<String>,
    config: NetworkConfig,
    backends: Backends,
    /// It came from the state folder: the store is out of reach.
    saved: bool,
}

/// Prepares a session. Returns only when there is one.
pub async fn session<S: LeaseStore>(store: &S, daemon: &mut Daemon) -> Session {
    let saved = saved::lease(&daemon.state);
    daemon.former.extend(networks(saved.as_ref()));
    daemon.remember(saved.as_ref());
    let mut confirmed = None;
    loop {
        let attempt = attempt(store, daemon, saved.as_ref(), &mut confirmed);
        let attempted = while_looking_after(daemon, attempt).await;
        match attempted {
            Ok(session) => {
                remark(&session);
                return session;
            }
            Err(reason) => daemon.wait(&reason, RETRY).await,
        }
    }
}

/// Says once a session what the configuration may not be meant to mean.
fn remark(session: &Session) {
    for key in &session.unknown {
        tracing::warn!(key, "network configuration: unknown key, ignored");
    }
    let uplink = &session.node.uplink;
    let uplink = (uplink.name.clone(), uplink.mtu);
    for note in notes(&session.config_text, &session.config, Some(&uplink)) {
        tracing::warn!("network configuration: {note}");
    }
}

/// Waits for something that may take as long as a store's patience. Packets are carried all the while.
async fn while_looking_after<T>(daemon: &Daemon, what: impl Future<Output = T>) -> T {
    tokio::pin!(what);
    let mut tick = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            done = &mut what => return done,
            _ = tick.tick() => daemon.look_after_data_plane(),
        }
    }
}

/// The pod networks of the last session, of this process or an earlier one.
fn networks(saved: Option<&SavedLease>) -> Vec<IpNet> {
    let text = saved.map(|saved| saved.config.as_str());
    text.map(networks_in).unwrap_or_default()
}

async fn attempt<S: LeaseStore>(
    store: &S,
    daemon: &Daemon,
    saved: Option<&SavedLease>,
    network_confirmed: &mut Option<String>,
) -> Result<Session, String> {
    let network = network(store, saved).await?;
    let own = own(store, saved).await?;
    let mut wanted = Wanted {
        options: daemon.options.uplink.clone(),
        overlay: Overlay::of(&network.config, &network.backends),
        known: daemon.known.clone(),
        overwrites: own.overwrites,
    };
    for (family, wish) in own.wishes.iter() {
        wanted.options.public.set(family, Some(*wish));
    }
    let choice = uplink::choose(&wanted).map_err(|error| format!("uplink: {error:#}"))?;
    announcement::check(&network.config.pools, &choice)?;
    let servers = facts::addresses_of(store.servers().await).await;
    let found = facts::read(&wanted.overlay, &servers)
        .map_err(|error| format!("the host's addresses: {error:#}"))?;
    daemon.tell_host_facts(&found);
    announcement::check_host(&network.config.pools, &choice, &found.host)?;
    daemon.announce_uplink(&choice);
    let mtu = network
        .backends
        .mtu(choice.uplink.mtu, &network.config.pools);
    let mtu = mtu.map_err(|error| error.to_string())?;
    let identity = identity::identity(daemon, &network.backends, own.announced.as_ref());
    saved::save_identity(&daemon.state, &identity);
    let request = Request {
        pools: network.config.pools.clone(),
        attrs: LeaseAttrs {
            public: choice.public,
            backend_type: network.backends.wire_type().to_owned(),
            data: network.backends.announce(&identity, &network.config.pools),
        },
        previous: previous(daemon, saved),
        avoid: host::inside(&network.config.pools, &found.host),
        held: saved
            .map(|saved| (saved.key, saved.created))
            .filter(|(key, _)| daemon.given_up != Some(*key)),
        also: identity::announced_else(daemon, &network.backends, &network.config.pools, &identity),
        ttl: daemon.options.lease_ttl,
    };
    if !network.saved {
        confirm::changed_network(store, saved, &network.text, network_confirmed).await?;
    }
    let (lease, confirmed) = lease(store, &network, &request, saved).await?;
    let node = LocalNode {
        uplink: choice.uplink,
        public: choice.public,
        identity,
        subnets: lease.key.0,
        host: found.host,
    };
    let Network {
        text: config_text,
        unknown,
        config,
        backends,
        ..
    } = network;
    Ok(Session {
        config_text,
        unknown,
        config,
        backends,
        node,
        lease,
        request,
        confirmed,
        mtu,
        wishes: own.wishes,
        uplink: wanted,
        settled: choice.settled,
        cut_by: store.subnets(),
        servers,
    })
}

/// What the store knows of this node by its name; without the store, what it said last.
async fn own<S: LeaseStore>(store: &S, saved: Option<&SavedLease>) -> Result<OwnRecord, String> {
    match store.own().await {
        Ok(own) => Ok(own),
        Err(error @ StoreError::Unavailable(_)) => match saved {
            Some(saved) => Ok(OwnRecord {
                wishes: saved.wishes,
                overwrites: saved.overwrites,
                announced: None,
            }),
            None => Err(error.to_string()),
        },
        Err(error) => Err(error.to_string()),
    }
}

async fn network<S: LeaseStore>(store: &S, saved: Option<&SavedLease>) -> Result<Network, String> {
    match store.config().await {
        Ok(text) => {
            let network = read_network(text, false, store.subnets())?;
            Ok(network)
        }
        Err(error @ (StoreError::Unavailable(_) | StoreError::Refused(_))) => match saved {
            Some(saved) => {
                tracing::warn!(%error, "the store is out of reach, starting from the saved state");
                read_network(saved.config.clone(), true, store.subnets())
            }
            None => Err(error.to_string()),
        },
        Err(error) => Err(error.to_string()),
    }
}

fn read_network(text: String, saved: bool, cut_by: Subnets) -> Result<Network, String> {
    let parsed = NetworkConfig::parse_for(cut_by, &text);
    let (config, unknown) = parsed.map_err(|error| error.to_string())?;
    let (backends, unknown_options) =
        Backends::parse(&config).map_err(|error| error.to_string())?;
    Ok(Network {
        text,
        unknown: [unknown, unknown_options].concat(),
        config,
        backends,
        saved,
    })
}

async fn lease<S: LeaseStore>(
    store: &S,
    network: &Network,
    request: &Request,
    saved: Option<&SavedLease>,
) -> Result<(Lease, bool), String> {
    let fallback = saved.and_then(|saved| saved_lease(store, saved, request));
    if network.saved {
        return fallback.map(|lease| (lease, false)).ok_or_else(|| {
            "the store is out of reach, and the saved lease doesn't fit the saved configuration"
                .to_owned()
        });
    }
    match store.acquire(request).await {
        Ok(lease) => Ok((lease, true)),
        Err(error @ (StoreError::Unavailable(_) | StoreError::Refused(_))) => match fallback {
            Some(lease) => {
                tracing::warn!(%error, lease = %lease.key, "going on with the saved lease");
                Ok((lease, false))
            }
            None => Err(error.to_string()),
        },
        Err(error) => Err(error.to_string()),
    }
}

/// The saved lease with what is to be announced now, if it fits the configuration.
fn saved_lease<S: LeaseStore>(store: &S, saved: &SavedLease, request: &Request) -> Option<Lease> {
    let fits = |family: Family| match (request.pools.get(family), saved.key.0.get(family)) {
        (Some(pool), Some(subnet)) => store.fits(pool, subnet),
        (None, None) => true,
        _ => false,
    };
    Family::BOTH.into_iter().all(fits).then(|| Lease {
        key: saved.key,
        attrs: request.attrs.clone(),
        node: None,
        created: saved.created,
        term: saved.term,
    })
}

/// Subnets to ask for: the saved lease, then what `subnet.env` says.
fn previous(daemon: &Daemon, saved: Option<&SavedLease>) -> Vec<Dual<IpNet>> {
    let held = saved.map(|saved| saved.key.0);
    let mut previous: Vec<_> = held.into_iter().collect();
    let file = &daemon.options.host.subnet_file;
    if let Ok(text) = bounded_file::read_text(file, Links::Refused, 64 * KIB) {
        let env = tweed_model::subnet_env::PreviousSubnets::parse(&text);
        if !env.subnets.is_empty() && !previous.contains(&env.subnets) {
            previous.push(env.subnets);
        }
    }
    // A network that comes back gives back what was held in it.
    previous.extend(saved.into_iter().flat_map(|saved| &saved.earlier));
    previous
}
