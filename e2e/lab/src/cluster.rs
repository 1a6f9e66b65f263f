//! Agents on every host and a pod on each: where most scenarios begin.

use anyhow::{Context, Result};
use serde_json::Value;
use tweed_model::Family;

use crate::agent::Agent;
use crate::cni::{Pod, Runtime};
use crate::etcd::Etcd;
use crate::fault::Peer;
use crate::launch::Launch;
use crate::topology::Lab;
use crate::traffic;

/// Running agents, one a host, and a pod beside each. Fields drop in this order: pods' agents before the store.
#[derive(Debug)]
pub struct Cluster<'lab> {
    /// The agents, in the order of the hosts.
    pub agents: Vec<Agent<'lab>>,
    /// A pod on each host, in the order of the hosts.
    pub pods: Vec<Pod<'lab>>,
    /// How the agents were started.
    pub launch: Launch,
    etcd: Option<Etcd<'lab>>,
}

impl<'lab> Cluster<'lab> {
    /// A cluster on etcd.
    ///
    /// # Errors
    /// When something does not come up.
    pub fn on_etcd(lab: &'lab Lab, config: &Value) -> Result<Self> {
        Self::on_etcd_with(lab, config, |launch| launch)
    }

    /// A cluster on etcd whose agents get further arguments.
    ///
    /// # Errors
    /// When something does not come up.
    pub fn on_etcd_with(
        lab: &'lab Lab,
        config: &Value,
        arguments: impl FnOnce(Launch) -> Launch,
    ) -> Result<Self> {
        let etcd = Etcd::start(lab)?;
        etcd.put_config(config)?;
        Self::start(lab, arguments(Launch::etcd()), Some(etcd))
    }

    /// A cluster on a folder.
    ///
    /// # Errors
    /// When something does not come up.
    pub fn on_files(lab: &'lab Lab, config: &Value) -> Result<Self> {
        Self::on_files_with(lab, config, |launch| launch)
    }

    /// A cluster on a folder whose agents get further arguments.
    ///
    /// # Errors
    /// When something does not come up.
    pub fn on_files_with(
        lab: &'lab Lab,
        config: &Value,
        arguments: impl FnOnce(Launch) -> Launch,
    ) -> Result<Self> {
        let launch = arguments(Launch::file(lab));
        launch.set_config(lab, config)?;
        Self::start(lab, launch, None)
    }

    fn start(lab: &'lab Lab, launch: Launch, etcd: Option<Etcd<'lab>>) -> Result<Self> {
        let agents = Agent::everywhere(lab, &launch)?;
        let pods = Runtime::tweed().pods(&lab.hosts)?;
        Ok(Self {
            agents,
            pods,
            launch,
            etcd,
        })
    }

    /// The etcd below.
    ///
    /// # Errors
    /// When the cluster has none.
    pub fn etcd(&mut self) -> Result<&mut Etcd<'lab>> {
        self.etcd.as_mut().context("this cluster has no etcd")
    }

    /// Checks that every pod reaches every other.
    ///
    /// # Errors
    /// Names those that don't.
    pub fn talks(&self, family: Family) -> Result<()> {
        traffic::all_reach_each_other(&self.pods, family)
    }

    /// What every host should have programmed for the host at `index`.
    ///
    /// # Errors
    /// When that host has no subnet.
    pub fn peer(&self, index: usize, family: Family) -> Result<Peer> {
        let agent = &self.agents[index];
        Peer::of(agent.host(), agent.subnet(family)?)
    }
}
