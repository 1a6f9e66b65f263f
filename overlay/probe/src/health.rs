//! What is known of a peer's answers.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How a peer answers; the later, the worse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It answers.
    Ok,
    /// It answers, much later than it did.
    Slow,
    /// It has not been asked, or has never answered where that need not mean anything.
    #[default]
    Unknown,
    /// It answers, and packets of the pods' size don't get through.
    MtuReduced,
    /// It answers beside the tunnel, and not through it.
    NoAnswerByTunnel,
    /// It doesn't answer at all.
    NoAnswer,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Ok,
        Self::Slow,
        Self::Unknown,
        Self::MtuReduced,
        Self::NoAnswerByTunnel,
        Self::NoAnswer,
    ];

    /// A fixed word, as in the status document.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Slow => "slow",
            Self::Unknown => "unknown",
            Self::MtuReduced => "mtu_reduced",
            Self::NoAnswerByTunnel => "no_answer_by_tunnel",
            Self::NoAnswer => "no_answer",
        }
    }

    /// Whether no packet gets there and back.
    pub const fn is_lost(self) -> bool {
        matches!(self, Self::NoAnswerByTunnel | Self::NoAnswer)
    }

    /// Whether packets are lost.
    pub const fn is_bad(self) -> bool {
        self.is_lost() || matches!(self, Self::MtuReduced)
    }
}

/// A peer's state, and what it follows from. Times are those of the prober.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// How it answers.
    pub state: State,
    /// Since when.
    pub since: Duration,
    /// When it last answered the way pods' packets go.
    pub last_seen: Option<Duration>,
    /// How long its last answer took.
    pub rtt: Option<Duration>,
    /// The largest packet that gets there, in bytes with its IP header, where that is less than what pods send.
    pub mtu: Option<u16>,
    /// Whether it is asked through a tunnel; else nothing but its own address can be asked.
    pub tunnel: bool,
}

impl Health {
    /// Of both families of a peer the worse.
    #[must_use]
    pub fn worse(self, other: Self) -> Self {
        if other.state > self.state {
            other
        } else {
            self
        }
    }
}
