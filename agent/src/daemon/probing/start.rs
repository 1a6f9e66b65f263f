//! Starts to ask the other nodes, and to file and log what comes of it.

use tweed_probe::thread::Probes;

use super::super::facts::SharedFacts;
use super::news::News;
use super::{Answers, Probing};

/// Starts the thread, where that is wanted and the kernel allows it.
pub fn start(on: bool, facts: SharedFacts) -> Probing {
    if !on {
        return Probing::default();
    }
    let mut news = News::default();
    let started = Probes::start(move |prober, now, turned| {
        let mut facts = facts.lock();
        let ports: Vec<u16> = facts.session.tunnels.keys().copied().collect();
        facts.cluster.answers = Answers::of(prober, now, &ports);
        let events = facts.events.clone();
        drop(facts);
        news.tell(&events, turned, &ports);
    });
    match started {
        Ok(probes) => Probing::by(probes),
        Err(error) => {
            tracing::warn!(
                error = %error,
                "the other nodes are not probed: echoes need the agent's group in net.ipv4.ping_group_range (sysctl -w net.ipv4.ping_group_range='0 0'), or CAP_NET_RAW; --probes=false says that none are wanted"
            );
            Probing::default()
        }
    }
}
