//! Devices and sockets of workers, kept for the next ones: of this process while options change, and of the next process
//! while the agent is replaced. Meanwhile packets wait in the device's queue and in the sockets, instead of being lost.
//! Between processes the service manager keeps the descriptors (`FDSTORE=1` in sd_notify(3), `FileDescriptorStoreMax=` in
//! systemd.service(5)); without one they are closed, and the device is attached to anew.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use sd_notify::NotifyState;
use tweed_dataplane::socket::{Port, Socket, SocketFds};
use tweed_dataplane::tun::Tun;
use tweed_dataplane::worker::WorkerIo;
use tweed_forward::forwarding::Forwarding;
use tweed_model::{Dual, Family};

use crate::daemon::inherited::{DEVICE, Inherited, PREFIX};

/// How long the service manager may take to fetch what was sent, in milliseconds.
const FETCHED: u16 = 1_000;
/// The service manager watches what it keeps and lets go of sockets with an error. An ICMP error is one, and no reason.
const UNWATCHED: NotifyState<'_> = NotifyState::Custom("FDPOLL=0");

/// Descriptors by their names.
#[derive(Debug, Default)]
pub(super) struct Kept(BTreeMap<String, OwnedFd>);

impl Kept {
    /// What an earlier agent has left with the service manager, which is told to keep it no longer. To be called once.
    pub(super) fn received(inherited: Inherited) -> Self {
        let Inherited { fds, warnings } = inherited;
        for warning in warnings {
            tracing::warn!(
                warning,
                "what an earlier agent may have left is not taken up"
            );
        }
        for name in fds.keys() {
            let forget = [NotifyState::FdStoreRemove, NotifyState::FdName(name)];
            // Otherwise it goes when the unit stops.
            let _ = sd_notify::notify(&forget);
        }
        Self(fds)
    }

    /// Keeps the device and the sockets of a worker.
    pub(super) fn keep(&mut self, number: usize, ends: WorkerIo) {
        let mut keep = |what: &str, fd| self.0.insert(name(number, what), fd);
        keep(DEVICE, ends.tun.into_fd());
        let Dual { v4, v6 } = ends.sockets;
        let sockets = v4.map(|socket| (Family::V4, socket)).into_iter();
        for (family, socket) in sockets.chain(v6.map(|socket| (Family::V6, socket))) {
            let SocketFds { receiver, sender } = socket.into_fds();
            keep(&family.to_string(), receiver);
            if let Some(sender) = sender {
                keep(&format!("{family}-sender"), sender);
            }
        }
    }

    /// Devices and sockets for the workers that are wanted: for all of them or for none. All others are closed.
    pub(super) fn take(&mut self, wanted: &Forwarding) -> Option<Vec<WorkerIo>> {
        let mut fds = std::mem::take(self);
        let ends = (0..wanted.workers).map(|number| fds.ends(wanted, number));
        let ends = ends.collect::<Option<Vec<_>>>()?;
        // A group of more sockets would go on giving packets to those that nobody reads.
        fds.0.is_empty().then_some(ends)
    }

    fn ends(&mut self, wanted: &Forwarding, number: u8) -> Option<WorkerIo> {
        let mut take = |what: &str| self.0.remove(&name(number.into(), what));
        let tun = Tun::adopt(take(DEVICE)?, &wanted.device, wanted.workers > 1)?;
        let sockets = wanted.locals.try_map(|family, addr| {
            let fds = SocketFds {
                receiver: take(&family.to_string()).ok_or(())?,
                sender: take(&format!("{family}-sender")),
            };
            let addr = SocketAddr::new(*addr, wanted.port);
            Socket::adopt(fds, addr, port(wanted, number)).ok_or(())
        });
        let sockets = sockets.ok()?;
        Some(WorkerIo { tun, sockets })
    }

    /// Leaves all with the service manager. It keeps nothing where its limit is zero, or where there is none.
    pub(super) fn leave(self) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        for (name, fd) in &self.0 {
            let state = [
                NotifyState::FdStore,
                NotifyState::FdName(name),
                UNWATCHED.clone(),
            ];
            sd_notify::notify_with_fds(&state, &[fd.as_fd()]).context("leave a descriptor")?;
        }
        wait_until_fetched()
    }
}

/// The service manager closes this descriptor when it has fetched everything that was sent before (`BARRIER=1`).
fn wait_until_fetched() -> Result<()> {
    let (read, write) = std::io::pipe()?;
    let barrier = [NotifyState::Custom("BARRIER=1")];
    sd_notify::notify_with_fds(&barrier, &[write.as_fd()]).context("ask for an answer")?;
    drop(write);
    let mut closed = [PollFd::new(read.as_fd(), PollFlags::empty())];
    poll(&mut closed, PollTimeout::from(FETCHED)).context("wait for the service manager")?;
    Ok(())
}

/// How the workers' sockets share the port.
pub(super) fn port(wanted: &Forwarding, number: u8) -> Port {
    match wanted.workers {
        0 | 1 => Port::Alone,
        of => Port::Shared { number, of },
    }
}

fn name(number: usize, what: &str) -> String {
    format!("{PREFIX}{number}-{what}")
}
