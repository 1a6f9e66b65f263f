//! What has been carried and what has not, by reason.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::reason::Reason;

/// Packets one way, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Traffic {
    /// Packets of the wire's size.
    pub packets: u64,
    /// Their bytes, without what carries them.
    pub bytes: u64,
    /// System calls that took them: the fewer, the better the offloads work.
    pub calls: u64,
}

impl Traffic {
    /// Adds others.
    pub fn add(&mut self, other: &Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
        self.calls += other.calls;
    }

    /// Counts packets of so many bytes in all, taken by so many calls.
    #[inline]
    pub fn count(&mut self, packets: u64, bytes: u64, calls: u64) {
        self.packets += packets;
        self.bytes += bytes;
        self.calls += calls;
    }
}

/// The counts of one worker since its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counters {
    /// Sent to peers.
    pub sent: Traffic,
    /// Given to the device.
    pub delivered: Traffic,
    /// Packets that a socket did not take.
    pub send_errors: u64,
    /// Packets that the device did not take.
    pub write_errors: u64,
    /// Messages of several datagrams that had to be sent one by one.
    pub sent_singly: u64,
    /// Super-packets that had to be given to the device as single packets.
    pub delivered_singly: u64,
    /// ICMP errors given to the device.
    pub answers: u64,
    /// ICMP errors of the underlay, and errors of its sockets.
    pub underlay_errors: u64,
    /// Empty datagrams sent to peers, to keep a flow known.
    pub keep_alives_sent: u64,
    /// Empty datagrams received from peers.
    pub keep_alives: u64,
    /// Time spent looking for packets instead of sleeping until one comes.
    pub polling: Duration,
    dropped: [u64; Reason::ALL.len()],
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            sent: Traffic::default(),
            delivered: Traffic::default(),
            send_errors: 0,
            write_errors: 0,
            sent_singly: 0,
            delivered_singly: 0,
            answers: 0,
            underlay_errors: 0,
            keep_alives_sent: 0,
            keep_alives: 0,
            polling: Duration::ZERO,
            dropped: [0; Reason::ALL.len()],
        }
    }
}

impl Counters {
    /// Counts a packet that went nowhere.
    pub fn drop(&mut self, reason: Reason) {
        self.dropped[reason.index()] += 1;
    }

    /// Packets sent to peers and given to the device.
    pub fn carried(&self) -> u64 {
        self.sent.packets + self.delivered.packets
    }

    /// Adds those of another worker.
    pub fn add(&mut self, other: &Self) {
        self.sent.add(&other.sent);
        self.delivered.add(&other.delivered);
        self.send_errors += other.send_errors;
        self.write_errors += other.write_errors;
        self.sent_singly += other.sent_singly;
        self.delivered_singly += other.delivered_singly;
        self.answers += other.answers;
        self.underlay_errors += other.underlay_errors;
        self.keep_alives_sent += other.keep_alives_sent;
        self.keep_alives += other.keep_alives;
        self.polling += other.polling;
        for (count, other) in self.dropped.iter_mut().zip(other.dropped) {
            *count += other;
        }
    }

    /// How many went nowhere for a reason.
    pub fn dropped(&self, reason: Reason) -> u64 {
        self.dropped[reason.index()]
    }

    /// The reasons for which any went nowhere, and how many.
    pub fn drops(&self) -> impl Iterator<Item = (Reason, u64)> {
        let all = Reason::ALL.into_iter().zip(self.dropped);
        all.filter(|(_, count)| *count > 0)
    }
}
