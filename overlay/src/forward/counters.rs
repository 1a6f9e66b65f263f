//! What has been carried and what has not, by reason.

use super::reason::Reason;

/// Packets and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Packets of the wire's size.
    pub packets: u64,
    /// Their bytes, without what carries them.
    pub bytes: u64,
    /// System calls that took them.
    pub calls: u64,
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
    /// ICMP errors given to the device.
    pub answers: u64,
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
            answers: 0,
            dropped: [0; Reason::ALL.len()],
        }
    }
}

impl Counters {
    /// Counts a packet that went nowhere.
    pub fn drop(&mut self, reason: Reason) {
        self.dropped[reason.index()] += 1;
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
