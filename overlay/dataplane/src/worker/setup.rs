//! A worker's parts, before and after its work.

use std::sync::Arc;

use tweed_forward::options::ForwardOptions;
use tweed_forward::table::Table;
use tweed_model::Dual;

use super::trials::SharedTrials;
use crate::socket::Socket;
use crate::tun::Tun;

/// The parts of a new worker.
#[derive(Debug)]
pub struct Setup {
    /// A queue of the device.
    pub tun: Tun,
    /// A socket for each family that peers are reached by.
    pub sockets: Dual<Socket>,
    /// The first table.
    pub table: Arc<Table>,
    /// As the operator chose them.
    pub options: ForwardOptions,
    /// Shared by all workers of this device.
    pub trials: Arc<SharedTrials>,
}

/// A worker's device and sockets: they go on to the next one, in this process or another.
#[derive(Debug)]
pub struct WorkerIo {
    /// A queue of the device.
    pub tun: Tun,
    /// One for each family.
    pub sockets: Dual<Socket>,
}
