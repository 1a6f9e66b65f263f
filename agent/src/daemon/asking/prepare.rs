//! Prepares a session: chooses uplink, addresses and identity, and the request to the store.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use ipnet::IpNet;
use tweed_backend::Backends;
use tweed_host::bounded_file::{self, KIB, Links};
use tweed_model::subnet_env::PreviousSubnets;
use tweed_model::{Dual, Host, Identity, Lease, LeaseAttrs, LocalNode, SubnetKey, Subnets, host};
use tweed_store::{OwnRecord, Request};

use super::network::Network;
use super::survey::Survey;
use super::{announcement, identity};
use crate::config::options::UplinkOptions;
use crate::daemon::facts::SharedFacts;
use crate::daemon::keepers::host::tell;
use crate::daemon::readings::Reader;
use crate::daemon::redrawn::Redrawn;
use crate::daemon::saved;
use crate::daemon::session::Session;
use crate::files::state_dir::{SavedLease, StateDir};
use crate::host::uplink::{self, Choice, Known, Overlay, Wanted};

/// Inputs of a request to the store, on this node's side.
#[derive(Clone)]
pub struct Asker {
    pub options: UplinkOptions,
    pub lease_ttl: Duration,
    pub subnet_file: PathBuf,
    pub state: StateDir,
    pub saved: Option<SavedLease>,
    /// Earlier addresses of this node, and those of others.
    pub known: Known,
    /// The lease that the last session lost for good: its key belongs to another node now.
    pub given_up: Option<SubnetKey>,
    /// What this process announced in the lease that it held until now.
    pub until_now: Option<LeaseAttrs>,
    /// MACs that were drawn because somebody else had the saved ones first.
    pub redrawn: Option<Redrawn>,
    pub reader: Reader,
    pub facts: SharedFacts,
    /// The choice of the uplink that was logged last.
    pub announced: Rc<RefCell<Option<Choice>>>,
}

/// Answers of the store, or saved ones.
pub(super) struct Asked {
    pub(super) network: Network,
    pub(super) record: OwnRecord,
    pub(super) servers: BTreeSet<IpAddr>,
}

/// Everything of a session but the lease.
pub(super) struct Prepared {
    pub(super) request: Request,
    wanted: Wanted,
    choice: Choice,
    identity: Identity,
    host: Host,
    mtu: u32,
}

impl Asker {
    /// Chooses uplink and identity.
    ///
    /// # Errors
    /// Why this node can't be a part of the network now.
    pub(super) async fn prepare(&self, asked: &Asked) -> Result<Prepared, String> {
        let Asked {
            network,
            record,
            servers,
        } = asked;
        let (pools, backends) = (&network.config.pools, &network.backends);
        let wanted = self.wanted(network, record);
        let survey = Survey::make(&self.reader, &wanted, servers, pools, backends).await?;
        let choice = &survey.choice;
        announcement::check(pools, choice)?;
        tell(&survey.found, &mut self.facts.lock());
        announcement::check_host(pools, choice, &survey.found.host)?;
        self.announce(choice);
        let mtu = backends.mtu(choice.uplink.mtu, pools);
        let mtu = mtu.map_err(|error| error.to_string())?;
        let files = self.files(backends, &survey, record.announced.as_ref());
        let (identity, before) = files.await?;
        Ok(Prepared {
            request: self.request((network, record), &survey, &identity, before),
            wanted,
            choice: survey.choice,
            identity,
            host: survey.found.host,
            mtu,
        })
    }

    /// The identity, which is saved, and the subnets of `subnet.env`. A folder that doesn't answer keeps nothing else
    /// waiting.
    async fn files(
        &self,
        backends: &Backends,
        survey: &Survey,
        announced: Option<&LeaseAttrs>,
    ) -> Result<(Identity, Option<PreviousSubnets>), String> {
        let (state, redrawn) = (self.state.clone(), self.redrawn.clone());
        let (backends, macs) = (backends.clone(), survey.macs);
        let (announced, subnet_file) = (announced.cloned(), self.subnet_file.clone());
        let work = tokio::task::spawn_blocking(move || {
            let saved = (&state, redrawn.as_ref());
            let identity = identity::of(saved, &backends, &macs, announced.as_ref());
            saved::save_identity(&state, &identity);
            let text = bounded_file::read_text(&subnet_file, Links::Refused, 64 * KIB);
            (
                identity,
                text.ok().map(|text| PreviousSubnets::parse(&text)),
            )
        });
        work.await.map_err(|error| error.to_string())
    }

    fn wanted(&self, network: &Network, record: &OwnRecord) -> Wanted {
        let mut wanted = Wanted {
            options: self.options.clone(),
            overlay: Overlay::of(&network.config, &network.backends),
            known: self.known.clone(),
            overwrites: record.overwrites,
        };
        for (family, wish) in record.wishes.iter() {
            wanted.options.public.set(family, Some(*wish));
        }
        wanted
    }

    fn request(
        &self,
        (network, record): (&Network, &OwnRecord),
        survey: &Survey,
        identity: &Identity,
        before: Option<PreviousSubnets>,
    ) -> Request {
        let (backends, pools) = (&network.backends, &network.config.pools);
        let held = self.saved.as_ref();
        let held = held.map(|saved| (saved.key, saved.created));
        Request {
            pools: pools.clone(),
            attrs: LeaseAttrs {
                public: survey.choice.public,
                backend_type: backends.own().wire_type.to_owned(),
                data: backends.own().announce(identity, pools),
            },
            previous: self.previous(before),
            avoid: host::inside(pools, &survey.found.host),
            held: held.filter(|(key, _)| self.given_up != Some(*key)),
            announced: self.until_now.clone(),
            wishes: record.wishes,
            inhabited: survey.inhabited,
            also: identity::announced_else(self.redrawn.as_ref(), backends, pools, identity),
            ttl: self.lease_ttl,
        }
    }

    /// Subnets to ask for: the saved lease, then what `subnet.env` says.
    fn previous(&self, env: Option<PreviousSubnets>) -> Vec<Dual<IpNet>> {
        let saved = self.saved.as_ref();
        let mut previous: Vec<_> = saved.map(|saved| saved.key.0).into_iter().collect();
        let env = env.map(|env| env.subnets).unwrap_or_default();
        if !env.is_empty() && !previous.contains(&env) {
            previous.push(env);
        }
        // A network that comes back gives back what was held in it.
        previous.extend(saved.into_iter().flat_map(|saved| &saved.earlier));
        previous
    }

    /// Logs a choice of the uplink, once as long as it stays the same.
    fn announce(&self, choice: &Choice) {
        if self.announced.borrow().as_ref() != Some(choice) {
            uplink::announce(choice);
            self.announced.replace(Some(choice.clone()));
        }
    }
}

impl Prepared {
    /// The session on a lease.
    pub(super) fn session(self, asked: Asked, lease: Lease, cut_by: Subnets) -> Session {
        let Asked {
            network,
            record,
            servers,
        } = asked;
        Session {
            config_text: network.text,
            unknown: network.unknown,
            config: network.config,
            backends: network.backends,
            node: LocalNode {
                uplink: self.choice.uplink,
                public: self.choice.public,
                identity: self.identity,
                subnets: lease.key.0,
                host: self.host,
            },
            lease,
            request: self.request,
            mtu: self.mtu,
            wishes: record.wishes,
            uplink: self.wanted,
            settled: self.choice.settled,
            cut_by,
            servers,
        }
    }
}
