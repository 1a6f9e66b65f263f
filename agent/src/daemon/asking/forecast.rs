//! What an agent that is started here would take over, change and sweep. Takes no lease and changes nothing.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use serde::Serialize;
use tweed_host::bounded_file::{self, KIB, Links};
use tweed_kernel::Linux;
use tweed_model::subnet_env::PreviousSubnets;
use tweed_model::{Dual, LeaseAttrs, LocalNode, Seniority, SubnetKey, host};
use tweed_netlink::Netlink;
use tweed_plan::desired;
use tweed_reconcile::Reconciler;
use tweed_state::{Desired, LinkKind};
use tweed_store::forecast::Forecast as Claimed;
use tweed_store::{Cluster, LeaseStore, OwnRecord, Request, cut_by, servers_of};

use super::identity;
use super::network::Network;
use super::survey::Survey;
use crate::config::options::Options;
use crate::daemon::answers::Preview;
use crate::daemon::choices::choices;
use crate::daemon::saved;
use crate::daemon::threads::records;
use crate::files::state_dir::StateDir;
use crate::host::uplink::{Known, Overlay, Wanted};
use crate::host::{facts, flanneld, presence};
use crate::store::Store;

/// Version of this document: it rises when a field changes its meaning or goes.
const SCHEMA: u32 = 1;

/// What a start of the agent would come to on this host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Forecast {
    /// Version of this document.
    pub schema: u32,
    /// What must be done first.
    pub hindrances: Vec<String>,
    /// The lease that would be taken over; none if it would be another one.
    pub lease: Option<String>,
    /// How this is known.
    pub lease_note: String,
    /// The uplink that would be chosen.
    pub uplink: String,
    /// What stays as it is, in use.
    pub taken_over: Vec<String>,
    /// What would be made or changed.
    pub changed: Vec<String>,
    /// What would be removed.
    pub swept: Vec<String>,
}

/// Looks at store and host.
///
/// # Errors
/// When the store or the kernel can't be read, or the node can't be a part of the network.
pub async fn forecast(options: &Options) -> Result<Forecast> {
    let store = Store::open(&options.store)?;
    let network =
        Network::read(store.config().await?, cut_by(&store)).map_err(|text| anyhow!(text))?;
    let record = match store.cluster() {
        Some(cluster) => cluster.own().await?,
        None => OwnRecord::default(),
    };
    let servers = facts::addresses_of(servers_of(&store).await).await;
    let snapshot = store.list().await?;
    let state = StateDir::at(&options.host.state_dir);
    let (pools, backends) = (&network.config.pools, &network.backends);
    let wanted = wanted(options, &network, &record, &state);
    let survey = Survey::read(&wanted, &servers, pools, backends).map_err(|text| anyhow!(text))?;
    let identity = identity::of(
        (&state, None),
        backends,
        &survey.macs,
        record.announced.as_ref(),
    );
    let attrs = LeaseAttrs {
        public: survey.choice.public,
        backend_type: backends.own().wire_type.to_owned(),
        data: backends.own().announce(&identity, pools),
    };
    let held = saved::lease(&state);
    let subnet_file = &options.host.subnet_file;
    let env = bounded_file::read_text(subnet_file, Links::Refused, 64 * KIB);
    let env = env.map(|text| PreviousSubnets::parse(&text).subnets);
    let env = env.unwrap_or_default();
    let remembered = held.iter().map(|saved| saved.key.0).chain([env]);
    let request = Request {
        pools: pools.clone(),
        attrs,
        previous: remembered.filter(|subnets| !subnets.is_empty()).collect(),
        avoid: host::inside(pools, &survey.found.host),
        held: held.as_ref().map(|saved| (saved.key, saved.created)),
        announced: None,
        wishes: record.wishes,
        inhabited: survey.inhabited,
        also: identity::announced_else(None, backends, pools, &identity),
        ttl: options.lease_ttl,
    };
    let claimed = Claimed::of(&snapshot, &request);
    let mut forecast = Forecast {
        schema: SCHEMA,
        hindrances: hindrances(options, claimed),
        uplink: survey.choice.uplink.name.clone(),
        lease_note: note(claimed).to_owned(),
        ..Forecast::default()
    };
    let Some(key) = key(claimed) else {
        return Ok(forecast);
    };
    let node = LocalNode {
        uplink: survey.choice.uplink,
        public: survey.choice.public,
        identity,
        subnets: key.0,
        host: survey.found.host,
    };
    let mut seniority = Seniority::default();
    seniority.follow(&snapshot);
    let choices = choices(options);
    let want = desired(
        &network.config,
        backends,
        &node,
        &choices,
        &snapshot,
        &seniority,
    );
    forecast.lease = Some(key.to_string());
    let preview = preview(options, &want)?;
    forecast.taken_over = taken_over(&want, &preview)?;
    if env == key.0 {
        forecast
            .taken_over
            .push(format!("{} (the same subnet)", subnet_file.display()));
    }
    (forecast.changed, forecast.swept) = (preview.puts, preview.deletes);
    Ok(forecast)
}

fn wanted(options: &Options, network: &Network, record: &OwnRecord, state: &StateDir) -> Wanted {
    let before = saved::lease(state).map_or_else(Dual::default, |lease| lease.known_by());
    let mut wanted = Wanted {
        options: options.uplink.clone(),
        overlay: Overlay::of(&network.config, &network.backends),
        known: Known {
            before,
            others: BTreeSet::new(),
        },
        overwrites: record.overwrites,
    };
    for (family, wish) in record.wishes.iter() {
        wanted.options.public.set(family, Some(*wish));
    }
    wanted
}

fn key(claimed: Claimed) -> Option<SubnetKey> {
    match claimed {
        Claimed::Own(key) | Claimed::Unclear(key) | Claimed::Again(key) => Some(key),
        Claimed::New => None,
    }
}

fn note(claimed: Claimed) -> &'static str {
    match claimed {
        Claimed::Own(_) => "in the store under this node's address, with the same data",
        Claimed::Unclear(_) => {
            "in the store under this node's address or data alone: taken if its holder does not answer"
        }
        Claimed::Again(_) => "a new one, of the subnet that this node had",
        Claimed::New => "a new one: no lease in the store is this node's",
    }
}

fn hindrances(options: &Options, claimed: Claimed) -> Vec<String> {
    let found = flanneld::find(Path::new("/proc"));
    let runs = flanneld::check(&found, options).err();
    let runs = runs.map(|error| error.to_string());
    let other = (claimed == Claimed::New)
        .then(|| "pods of flannel's subnet would stay on it: drain them first".to_owned());
    runs.into_iter().chain(other).collect()
}

/// What a pass would do.
fn preview(options: &Options, want: &Desired) -> Result<Preview> {
    let kernel = Linux::open().context("open netlink sockets")?;
    let kernel = kernel
        .beside(presence::others(&options.host.run_dir))
        .with_attachments(records());
    Ok(Preview::of(&Reconciler::new(kernel).preview(want)?))
}

/// The devices that stay.
fn taken_over(want: &Desired, preview: &Preview) -> Result<Vec<String>> {
    let mut netlink = Netlink::open().context("open a netlink socket")?;
    let mut kept = Vec::new();
    for (name, link) in &want.state.links {
        // What can't be changed in place is made anew.
        let (made, goes) = (format!("add link {name} "), format!("delete link {name}"));
        let goes = preview.puts.iter().any(|line| line.starts_with(&made))
            || preview.deletes.contains(&goes);
        if goes || netlink.link(name)?.is_none() {
            continue;
        }
        kept.push(match link.kind {
            LinkKind::Vxlan(_) => format!("link {name} with its MAC {}", link.mac),
            _ => format!("link {name}"),
        });
    }
    Ok(kept)
}
