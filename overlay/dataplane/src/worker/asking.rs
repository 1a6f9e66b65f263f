//! A worker's part in the [trials](tweed_forward::trial): it asks, takes answers, and asks again.

use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

use tweed_forward::packet::Packet;
use tweed_forward::table::{Peer, PeerId};
use tweed_forward::trial::echo::{self, Form, ROOM};
use tweed_forward::trial::{Ask, News, Next};
use tweed_host::random;
use tweed_model::Family;

use super::state::WorkerState;
use super::trials::{echo_addrs, target};
use crate::socket::{Sent, Socket};

/// How long a worker leaves a peer alone that is being tried already, or can't be.
const PAUSE: Duration = Duration::from_secs(1);

impl WorkerState {
    /// Tries whether several datagrams at once reach a peer.
    #[cold]
    pub(super) fn try_together(&mut self, peer: PeerId) {
        let now = self.now;
        self.trials.defer(peer, now + PAUSE);
        let peer = self.table.peer(peer);
        let socket = self.sockets.get(Family::of(&peer.endpoint.ip()));
        let sends_several = socket.is_some_and(Socket::sends_segments);
        let target = target(&self.table, peer);
        if !sends_several || target.inside.is_none() {
            return;
        }
        let shared = &self.trials.shared;
        let ask = shared.change(|asked| asked.trials.begin(target, random::bits(), now));
        if let Some(ask) = ask {
            self.ask(&ask);
        }
    }

    /// Goes on where a packet answers a question of ours. Says whether it did.
    #[cold]
    pub(super) fn takes_answer(&mut self, packet: &Packet, bytes: &[u8]) -> bool {
        let Some(mark) = echo::answered(packet, bytes) else {
            return false;
        };
        let now = self.trials.elapsed();
        let next = self.trials.shared.change(|asked| {
            let is_ours = asked.trials.knows(mark);
            is_ours.then(|| asked.trials.answered(mark, now))
        });
        let Some(next) = next else {
            return self.refutes(mark);
        };
        if let Some(next) = next {
            self.go_on(next);
        }
        true
    }

    /// Asks again where answers have not come, and takes over what others have found.
    pub(super) fn look_after_trials(&mut self) {
        while self.trials.are_running()
            && let Some(next) = (self.trials.shared).change(|asked| asked.trials.overdue(self.now))
        {
            self.go_on(next);
        }
        self.look_after_claims();
        if self.trials.has_news() {
            self.look_at_peers();
        }
    }

    /// Copies what other workers have found.
    pub(super) fn look_at_peers(&mut self) {
        self.trials.look(&self.table);
        self.take_claims();
    }

    fn go_on(&mut self, next: Next) {
        match next {
            Next::Ask(ask) => self.ask(&ask),
            Next::Over(news) => {
                self.trials.shared.tell();
                tell(&news);
            }
        }
    }

    /// Asks. What can't be asked is given up.
    fn ask(&mut self, ask: &Ask) {
        let table = Arc::clone(&self.table);
        let mut peers = table.peers().iter();
        let peer = peers.find(|peer| target(&table, peer) == ask.peer);
        let asked = peer.and_then(|peer| self.send_question(peer, ask));
        if asked.is_none() {
            let now = self.now;
            let shared = &self.trials.shared;
            shared.change(|asked| asked.trials.give_up(ask.mark, now));
        }
    }

    fn send_question(&mut self, peer: &Peer, ask: &Ask) -> Option<()> {
        let mut room = [0; ROOM];
        let pair = echo_addrs(self.table.own(), peer)?;
        let packets = echo::write(pair, ask.mark, ask.form, peer.mtu.into(), &mut room)?;
        let socket = self.sockets.get_mut(Family::of(&ask.peer.addr))?;
        let parts = [IoSlice::new(&room[..packets.len])];
        let sent = socket.send(peer.endpoint, &parts, packets.size);
        let Ok(sent) = sent else {
            return Some(()); // It is asked again, like what is lost later.
        };
        let whole = sent == Sent::Whole;
        let (count, bytes) = (packets.count() as u64, packets.len as u64);
        let calls = if whole { 1 } else { count };
        self.counters.sent.count(count, bytes, calls);
        if let Some(peer) = self.peers.at(&self.table, ask.peer.addr) {
            peer.sent.count(count, bytes, calls);
        }
        (whole || ask.form == Form::Alone).then_some(())
    }
}

fn tell(news: &News) {
    let News {
        peer,
        singly,
        changed,
    } = news;
    match (changed, singly) {
        (true, true) => tracing::warn!(
            %peer,
            "datagrams that are sent several at once don't reach this peer, and single ones do: it gets single ones; \
             update the kernel, or turn off tx-udp-segmentation of the uplink"
        ),
        (true, false) => {
            tracing::info!(%peer, "datagrams that are sent several at once reach this peer again")
        }
        (false, _) => {}
    }
}
