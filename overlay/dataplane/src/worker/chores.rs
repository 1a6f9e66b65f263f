//! What a worker does beside packets as time passes.

use std::io::IoSlice;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::mailbox::Tracing;
use super::state::WorkerState;

/// How often a worker that has something to do looks for what has expired.
const INTERVAL: Duration = Duration::from_secs(1);

impl WorkerState {
    /// How long to sleep at most; forever if nothing is planned.
    pub(super) fn sleep(&self) -> Option<Duration> {
        let keep_alive = self.options.keep_alive.map(|_| self.keep_alive.next);
        let planned = [keep_alive, self.trials.deadline()];
        let next = planned.into_iter().flatten().min()?;
        Some(next.saturating_sub(self.now))
    }

    /// Does what is due.
    pub(super) fn do_chores(&mut self) {
        if self.now >= self.chores {
            self.chores = self.now + INTERVAL;
            self.tracing.retain(Tracing::has_listener);
            if self.learned.forget(self.now) {
                self.take_posted();
            }
            if self.trials.any_with_false_mtu() {
                self.look_at_peers(); // What was false may have expired.
            }
            for socket in [&mut self.sockets.v4, &mut self.sockets.v6] {
                socket
                    .iter_mut()
                    .for_each(|socket| socket.join_again(self.now));
            }
        }
        self.look_after_trials();
        let interval = self.options.keep_alive;
        if let Some(interval) = interval.filter(|_| self.now >= self.keep_alive.next) {
            self.keep_alive.next = self.now + interval;
            self.send_keep_alives();
        }
    }

    /// Sends an empty datagram to each peer that was sent nothing since the last time.
    fn send_keep_alives(&mut self) {
        let table = Arc::clone(&self.table);
        let sent: Vec<u64> = self
            .peers
            .all()
            .iter()
            .map(|peer| peer.sent.packets)
            .collect();
        for (place, peer) in table.peers().iter().enumerate() {
            let silent = self
                .keep_alive
                .sent
                .get(place)
                .is_none_or(|before| *before == sent[place]);
            let socket = match peer.endpoint {
                SocketAddr::V4(_) => self.sockets.v4.as_mut(),
                SocketAddr::V6(_) => self.sockets.v6.as_mut(),
            };
            if let Some(socket) = socket.filter(|_| silent)
                && socket.send(peer.endpoint, &[IoSlice::new(&[])], 0).is_ok()
            {
                self.counters.keep_alives_sent += 1;
            }
        }
        self.keep_alive.sent = sent;
    }
}
