//! What the kernel reports of the underlay: ICMP errors, and messages that are too big for a path.

use tweed_forward::path_mtu::is_too_narrow;
use tweed_model::Family;

use super::state::WorkerState;
use crate::socket::{Socket, UnderlayError};

/// Errors that are read at once.
const ERRORS: usize = 64;

impl WorkerState {
    /// Asks the kernel for the MTU of the path that a message was too big for.
    pub(super) fn probe(&mut self) {
        let Some(suspect) = self.suspect.take() else {
            return;
        };
        let family = Family::of(&suspect.ip());
        let socket = self.sockets.get(family);
        let Some(Ok(mtu)) = socket.map(|socket| socket.path_mtu(suspect)) else {
            return;
        };
        if !self.claim(suspect.ip(), mtu)
            && !is_too_narrow(mtu)
            && let Some(socket) = self.sockets.get_mut(family)
        {
            socket.count_refusal();
        }
    }

    /// Reads the ICMP errors about datagrams of ours.
    pub(super) fn read_errors(&mut self) {
        for _ in 0..ERRORS {
            let Some((to, error)) = self.sockets.values().find_map(Socket::next_error) else {
                return;
            };
            self.counters.underlay_errors += 1;
            let addr = to.ip().to_canonical();
            match error {
                UnderlayError::TooBig(mtu) => {
                    self.claim(addr, mtu);
                }
                UnderlayError::Unreachable => {
                    if let Some(peer) = self.peers.at(&self.table, addr) {
                        peer.refused += 1;
                    }
                }
            }
        }
    }
}
