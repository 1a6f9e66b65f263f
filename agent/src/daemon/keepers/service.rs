//! Messages to the service manager: what the agent does or waits for, and that a start which waits for others counts as
//! done. A host whose store is away, or has no configuration, must not hang in its boot without a message.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use crate::daemon::status::Status;

/// A start counts as done after this long though the network does not work: what it waits for may take days, and other
/// units wait for it. Status, readiness and metrics go on saying that it isn't ready.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Longest text of the reasons.
const LONGEST: usize = 400;

/// Tells the service manager, where there is one.
pub(super) struct Service {
    started: Instant,
    told: String,
    released: bool,
}

impl Service {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            started: now,
            told: String::new(),
            released: false,
        }
    }

    /// Sends what has changed.
    pub(super) fn look(&mut self, status: &Status, now: Instant) {
        let (words, ready) = self.news(status, now);
        if std::env::var_os("NOTIFY_SOCKET").is_none() {
            return;
        }
        if ready {
            tracing::warn!(
                "the service manager is told that the start is done, so that nothing waits for it: {}",
                self.told
            );
        }
        let mut states = Vec::new();
        states.extend(words.as_deref().map(NotifyState::Status));
        states.extend(ready.then_some(NotifyState::Ready));
        if !states.is_empty() {
            // One that is gone is no fault of the agent's.
            let _ = sd_notify::notify(&states);
        }
    }

    /// New words, and whether the start is to count as done though nothing works.
    fn news(&mut self, status: &Status, now: Instant) -> (Option<String>, bool) {
        let words = words(status);
        let words = (words != self.told).then(|| {
            self.told.clone_from(&words);
            words
        });
        let late = now.duration_since(self.started) >= TIMEOUT;
        let release = late && !self.released;
        self.released |= late;
        let waits = status.subnet_file.is_none();
        (words, release && waits)
    }
}

/// One line.
fn words(status: &Status) -> String {
    let text = if let Some(reason) = &status.waiting {
        format!("waiting: {reason}")
    } else if status.ready {
        format!("ready, {} peers", status.peers)
    } else {
        format!("not ready: {}", status.not_ready.join("; "))
    };
    let line = text.replace(['\n', '\r'], " ");
    line.chars().take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_told_once_and_a_start_that_waits_is_over_after_a_while() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut service = Service::new(start);
        let waits = |reason: &str| Status {
            waiting: Some(reason.to_owned()),
            ..Status::default()
        };
        let told = |words: &str| Some(words.to_owned());
        let no_config = waits("no\nconfiguration");
        let news = service.news(&no_config, at(0));
        assert_eq!(news, (told("waiting: no configuration"), false));
        assert_eq!(service.news(&no_config, at(14)), (None, false));
        assert_eq!(service.news(&no_config, at(15)), (None, true));
        let news = service.news(&waits("etcd"), at(16));
        assert_eq!(news, (told("waiting: etcd"), false));
    }

    #[test]
    fn a_start_that_succeeds_is_reported_by_the_part_that_programs_the_kernel() {
        let start = Instant::now();
        let mut service = Service::new(start);
        let works = Status {
            subnet_file: Some("/run/flannel/subnet.env".to_owned()),
            ready: true,
            peers: 2,
            ..Status::default()
        };
        let news = service.news(&works, start + TIMEOUT);
        assert_eq!(news, (Some("ready, 2 peers".to_owned()), false));
    }
}
