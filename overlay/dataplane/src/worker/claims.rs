//! MTUs that ICMP errors claim of paths, and the echoes by which they are checked: the [claims](tweed_forward::claim) of
//! all workers, which share them with their trials.

use std::net::IpAddr;
use std::sync::Arc;

use tweed_forward::claim::{Found, Next, Question};
use tweed_forward::path_mtu;
use tweed_forward::table::Peer;
use tweed_forward::trial::echo::{self, Mark};
use tweed_host::random;
use tweed_model::Family;

use super::state::WorkerState;
use super::trials::echo_addrs;

/// A question goes by so many leases of one address at most: more could make many large packets of one small error. The next
/// question goes by the next ones.
const MOST: usize = 8;

impl WorkerState {
    /// An ICMP error or the kernel says that datagrams of more than so many bytes do not get to an address. True if that is
    /// less than the MTU in use.
    #[cold]
    pub(super) fn claim(&mut self, addr: IpAddr, mtu: u32) -> bool {
        if !path_mtu::is_news(&self.table, addr, mtu) {
            return false;
        }
        let now = self.trials.elapsed();
        let shared = &self.trials.shared;
        let question = shared.change(|asked| asked.claims.add(addr, mtu, random::bits(), now));
        if let Some(question) = question {
            self.trials.shared.tell();
            self.ask_whole(question);
        }
        true
    }

    /// Takes a packet that may be the answer to a question. True if it was.
    pub(super) fn refutes(&mut self, mark: Mark) -> bool {
        let now = self.trials.elapsed();
        let shared = &self.trials.shared;
        let peer = shared.change(|asked| asked.claims.answered(mark, now));
        if let Some(peer) = peer {
            shared.tell();
            tracing::info!(
                %peer,
                "an ICMP error said that the path to a peer is narrower than the uplink; it is not, the peer answers"
            );
        }
        peer.is_some()
    }

    /// Asks again where answers have not come.
    pub(super) fn look_after_claims(&mut self) {
        while self.trials.are_running()
            && let Some(next) = (self.trials.shared).change(|asked| asked.claims.overdue(self.now))
        {
            match next {
                Next::Ask(question) => self.ask_whole(question),
                Next::Counts(_) => self.trials.shared.tell(),
            }
        }
    }

    /// Lowers the MTUs of paths that are confirmed to be narrower.
    pub(super) fn take_claims(&mut self) {
        let now = self.trials.elapsed();
        let shared = Arc::clone(&self.trials.shared);
        let found: Vec<Found> = shared.change(|asked| asked.claims.found(now).collect());
        for Found { peer, path, since } in found {
            self.learn(peer, path, since);
        }
    }

    /// Asks with a datagram as large as the MTU in use.
    fn ask_whole(&mut self, question: Question) {
        let Question { peer, mark } = question;
        // What is lost on the way is asked again.
        let may_come = self.send_whole(peer, mark).is_some();
        if !may_come {
            let now = self.trials.elapsed();
            let shared = &self.trials.shared;
            shared.change(|asked| asked.claims.give_up(mark, now));
            shared.tell();
        }
    }

    /// None if nothing of that size can go out, or there is nobody to be asked. Any lease may name the address: the peer is
    /// asked by the subnet of each, since an answer by any of them tells how wide the path is.
    fn send_whole(&mut self, addr: IpAddr, mark: Mark) -> Option<()> {
        let table = Arc::clone(&self.table);
        let peers = table.peers().iter();
        let peers: Vec<&Peer> = peers.filter(|peer| peer.endpoint.ip() == addr).collect();
        let before = usize::from(mark.number.saturating_sub(1)) * MOST;
        let next = peers.iter().cycle().skip(before % peers.len().max(1));
        let asked = next.take(peers.len().min(MOST));
        let sent = asked.filter_map(|peer| self.send_one(peer, mark));
        (sent.count() > 0).then_some(())
    }

    fn send_one(&mut self, peer: &Peer, mark: Mark) -> Option<()> {
        let addr = peer.endpoint.ip();
        let mut packet = vec![0; peer.mtu.into()];
        echo::write_whole(echo_addrs(self.table.own(), peer)?, mark, &mut packet)?;
        let socket = self.sockets.get_mut(Family::of(&addr))?;
        match socket.send_whole(peer.endpoint, &packet) {
            Ok(()) => {
                let bytes = packet.len() as u64;
                self.counters.sent.count(1, bytes, 1);
                if let Some(peer) = self.peers.at(&self.table, addr) {
                    peer.sent.count(1, bytes, 1);
                }
                Some(())
            }
            Err(error) => (error.raw_os_error() != Some(libc::EMSGSIZE)).then_some(()),
        }
    }
}
