//! Single decisions of the data plane. Each answer takes a few seconds at most; a client that wants more asks again.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tweed_forward::trace::{Direction, Filter, TraceVerdict, Traced};

use crate::daemon::data_plane::{DataPlane, NoTrace};

/// Decisions of one answer at most.
pub const MOST: usize = 1000;
/// How long one answer takes at most, in milliseconds.
pub const LONGEST: u64 = 5_000;
/// Decisions that wait to be taken; beyond that they are missed.
const QUEUE: usize = 1024;

/// Parameters of a request.
#[derive(Debug, Serialize, Deserialize)]
pub struct Question {
    /// Source or destination of the packets.
    pub prefix: IpNet,
    /// Of these, one in so many.
    pub every: u64,
    /// Decisions at most.
    pub count: usize,
    /// Milliseconds at most.
    pub time: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// `out` from a pod to another node, `in` from there.
    pub way: String,
    /// Source of the pod's packet.
    pub source: IpAddr,
    pub destination: IpAddr,
    /// Number of its protocol.
    pub protocol: u8,
    /// Its length; of packets that the kernel gave as one, that of all.
    pub bytes: u16,
    /// Which node it came from.
    #[serde(default)]
    pub sender: Option<IpAddr>,
    /// Which node it was sent to.
    #[serde(default)]
    pub peer: Option<SocketAddr>,
    /// Why it was dropped: a label of the metrics.
    #[serde(default)]
    pub reason: Option<String>,
    /// What was decided, in words.
    pub verdict: String,
}

impl From<Traced> for Decision {
    fn from(traced: Traced) -> Self {
        let (peer, reason) = match traced.verdict {
            TraceVerdict::Sent(peer) | TraceVerdict::Fragmented(peer) => (Some(peer), None),
            TraceVerdict::Answered(reason) | TraceVerdict::Dropped(reason) => (None, Some(reason)),
            TraceVerdict::Delivered => (None, None),
        };
        let way = match traced.direction {
            Direction::Out => "out",
            Direction::In => "in",
        };
        Self {
            way: way.to_owned(),
            source: traced.source,
            destination: traced.destination,
            protocol: traced.protocol,
            bytes: traced.len,
            sender: traced.sender,
            peer,
            reason: reason.map(|reason| reason.label().to_owned()),
            verdict: traced.verdict.to_string(),
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            1 | 58 => "ICMP".to_owned(),
            6 => "TCP".to_owned(),
            17 => "UDP".to_owned(),
            number => format!("protocol {number}"),
        };
        let Self {
            way,
            source,
            destination,
            bytes,
            verdict,
            ..
        } = self;
        write!(
            f,
            "{way:<3} {source} > {destination} {protocol}, {bytes} bytes"
        )?;
        if let Some(sender) = self.sender {
            write!(f, ", by {sender}")?;
        }
        write!(f, ": {verdict}")
    }
}

/// `/v1/trace`.
pub(super) async fn trace(
    State(plane): State<DataPlane>,
    Query(question): Query<Question>,
) -> Response {
    let listen = tokio::task::spawn_blocking(move || listen(&plane, &question));
    match listen.await {
        Ok(Ok(decisions)) => Json(decisions).into_response(),
        Ok(Err(why)) => {
            let why = match why {
                NoTrace::NothingRuns => {
                    "this agent carries no packets itself: a trace is for backend udp, once its data plane runs; with the others use tcpdump"
                }
                NoTrace::Busy => "too many traces run on this node; end one",
            };
            (StatusCode::CONFLICT, why).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

fn listen(plane: &DataPlane, question: &Question) -> Result<Vec<Decision>, NoTrace> {
    let (tell, told) = sync_channel(QUEUE);
    let filter = Filter {
        prefix: question.prefix,
        every: question.every,
    };
    let _listener = plane.trace(filter, &tell)?;
    drop(tell);
    let end = Instant::now() + Duration::from_millis(question.time.min(LONGEST));
    let mut decisions = Vec::new();
    while decisions.len() < question.count.min(MOST) {
        let left = end.saturating_duration_since(Instant::now());
        match told.recv_timeout(left) {
            Ok(traced) => decisions.push(Decision::from(traced)),
            // The time is over, or the workers have ended.
            Err(_) => break,
        }
    }
    Ok(decisions)
}
