//! What the cluster is told about the node: that its network works as soon as it does, that it doesn't only after a
//! while without; and what keeps the container runtime from using it. And what the service manager is told.

use std::time::{Duration, Instant};

use tokio::sync::watch;
use tweed_store::{Health, NodeReport};

use super::service::Service;
use super::status::SharedStatus;

/// How long the network may be down before the cluster is told: longer than a restart or a new session takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// How soon the cluster is told that the network works.
const LOOK: Duration = Duration::from_millis(500);
/// How often a network that works is looked at; every look wakes an idle processor.
const LOOK_WHEN_UP: Duration = Duration::from_secs(5);

/// Keeps the report up to date. Never returns.
pub(super) async fn observe(status: &SharedStatus, tell: &watch::Sender<NodeReport>) {
    let mut clock = Clock::default();
    let mut service = Service::new(Instant::now());
    loop {
        let now = status.read();
        service.look(&now, Instant::now());
        let health = clock.look(now.network_down(), Instant::now());
        let cni = now.cni.unwrap_or_default();
        let cni_warnings: Vec<_> = cni.error.into_iter().chain(cni.warnings).collect();
        let warnings = now.warnings.into_iter().map(|it| it.text);
        let host_warnings: Vec<_> = warnings.chain(now.host).collect();
        tell.send_if_modified(|told| {
            let news = worth_telling(&told.health, &health)
                || told.cni_warnings != cni_warnings
                || told.host_warnings != host_warnings;
            if news {
                *told = NodeReport {
                    health,
                    cni_warnings,
                    host_warnings,
                };
            }
            news
        });
        let up = matches!(tell.borrow().health, Health::Up);
        tokio::time::sleep(if up { LOOK_WHEN_UP } else { LOOK }).await;
    }
}

/// Another reason for the same is no news.
fn worth_telling(told: &Health, health: &Health) -> bool {
    std::mem::discriminant(told) != std::mem::discriminant(health)
}

/// Remembers since when the network is down.
#[derive(Default)]
struct Clock {
    health: Health,
    down_since: Option<Instant>,
}

impl Clock {
    fn look(&mut self, down: Option<String>, now: Instant) -> Health {
        let Some(reason) = down else {
            self.down_since = None;
            self.health = Health::Up;
            return Health::Up;
        };
        let since = *self.down_since.get_or_insert(now);
        if now.duration_since(since) >= PATIENCE {
            self.health = Health::Down { reason };
        }
        self.health.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn down_is_told_after_a_while_and_up_at_once() {
        let mut clock = Clock::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let why = || Some("why".to_owned());
        assert_eq!(clock.look(why(), at(0)), Health::Unknown);
        assert_eq!(clock.look(None, at(5)), Health::Up);
        assert_eq!(clock.look(why(), at(10)), Health::Up);
        assert_eq!(clock.look(None, at(65)), Health::Up);
        // The time begins anew.
        assert_eq!(clock.look(why(), at(75)), Health::Up);
        let down = Health::Down {
            reason: "why".to_owned(),
        };
        assert_eq!(clock.look(why(), at(135)), down);
        assert_eq!(clock.look(None, at(136)), Health::Up);
    }
}
