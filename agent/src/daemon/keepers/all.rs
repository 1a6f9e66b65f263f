//! The keepers that outlive sessions.

use std::time::Instant;

use super::Keeper;
use super::cni::CniFiles;
use super::data_plane::DataPlaneKeeper;
use super::flanneld::FlanneldKeeper;
use super::lock::KeptLock;
use super::node_report::NodeReports;
use super::records::Records;
use super::socket::Socket;
use super::subnet_file::SubnetFile;
use crate::daemon::facts::Facts;
use crate::files::state_dir::StateDir;

/// All of them.
pub struct Keepers {
    pub state: StateDir,
    pub records: Records,
    pub subnet_file: SubnetFile,
    pub data_plane: DataPlaneKeeper,
    /// The files for the container runtime, where that was asked for.
    pub cni: Option<CniFiles>,
    pub socket: Socket,
    pub flanneld: FlanneldKeeper,
    pub lock: KeptLock,
    pub reports: NodeReports,
}

impl Keepers {
    /// Each does what is due. Reports to the cluster and the service manager come last.
    pub fn look(&mut self, facts: &mut Facts, now: Instant) {
        let mut all: Vec<&mut dyn Keeper> = vec![
            &mut self.state,
            &mut self.records,
            &mut self.subnet_file,
            &mut self.data_plane,
        ];
        all.extend(self.cni.as_mut().map(|cni| cni as &mut dyn Keeper));
        all.extend([
            &mut self.socket as &mut dyn Keeper,
            &mut self.flanneld,
            &mut self.lock,
            &mut self.reports,
        ]);
        for keeper in all {
            // None of these concerns the session.
            let _ = keeper.look(facts, now);
        }
    }
}
