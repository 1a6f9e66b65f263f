//! The keepers that outlive sessions.

use std::time::Instant;

use super::Keeper;
use super::cni::CniKeeper;
use super::collection::Collection;
use super::data_plane::DataPlaneKeeper;
use super::events::EventsKeeper;
use super::flanneld::FlanneldKeeper;
use super::hindrances::Hindrances;
use super::lock::KeptLock;
use super::node_report::NodeReports;
use super::socket::Socket;
use super::subnet_file::SubnetFile;
use crate::daemon::facts::Facts;
use crate::files::state_dir::StateDir;

/// All of them.
pub struct Keepers {
    pub state: StateDir,
    pub events: EventsKeeper,
    pub hindrances: Hindrances,
    pub subnet_file: SubnetFile,
    pub data_plane: DataPlaneKeeper,
    /// The files for the container runtime, where that was asked for.
    pub cni: Option<CniKeeper>,
    /// Unless it was switched off.
    pub collection: Option<Collection>,
    pub socket: Socket,
    pub flanneld: FlanneldKeeper,
    pub lock: KeptLock,
    pub reports: NodeReports,
}

impl Keepers {
    /// Reports to the cluster and the service manager come last.
    fn all(&mut self) -> impl Iterator<Item = &mut dyn Keeper> {
        let cni = self.cni.as_mut().map(|cni| cni as &mut dyn Keeper);
        let collection = self.collection.as_mut();
        let collection = collection.map(|collection| collection as &mut dyn Keeper);
        let before: [&mut dyn Keeper; 5] = [
            &mut self.state,
            &mut self.events,
            &mut self.hindrances,
            &mut self.subnet_file,
            &mut self.data_plane,
        ];
        let after: [&mut dyn Keeper; 4] = [
            &mut self.socket,
            &mut self.flanneld,
            &mut self.lock,
            &mut self.reports,
        ];
        before.into_iter().chain(cni).chain(collection).chain(after)
    }

    /// Each does what is due.
    pub fn look(&mut self, facts: &mut Facts, now: Instant) {
        for keeper in self.all() {
            // None of these concerns the session.
            let _ = keeper.look(facts, now);
        }
    }

    /// When to look without an event.
    pub fn due(&mut self) -> Option<Instant> {
        self.all().filter_map(|keeper| keeper.due()).min()
    }

    /// Files or their folders have changed.
    pub fn files_changed(&mut self) {
        self.subnet_file.changed();
        self.socket.changed();
        self.lock.changed();
        self.flanneld.files_changed();
        self.cni.iter_mut().for_each(CniKeeper::changed);
    }
}
