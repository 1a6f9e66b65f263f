//! Sysctls give no netlink event, so they are looked at now and then.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tweed_host::sysctl;
use tweed_state::{Desired, may_be_absent};

use super::{Keeper, News};
use crate::daemon::facts::Facts;
use crate::daemon::readings::{Reader, Reading};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// Between two reports of the same wrong values, which can't be set, or are set again by something else.
const AGAIN: Duration = Duration::from_secs(10);

/// Sysctls that don't read as wanted, and how they read: `None` if they can't be read.
type Wrong = BTreeMap<String, Option<String>>;

/// Has changed sysctls repaired.
pub struct Sysctls {
    wanted: Option<Arc<Desired>>,
    reading: Reading<Wrong>,
    /// What the last look has found, and when that was reported.
    wrong: Wrong,
    reported: Option<Instant>,
    due: Instant,
}

impl Sysctls {
    /// A keeper that wants no sysctl yet.
    pub fn new(reader: Reader) -> Self {
        Self {
            wanted: None,
            reading: Reading::new(reader),
            wrong: Wrong::new(),
            reported: None,
            due: Instant::now(),
        }
    }

    /// Watches the sysctls of this state from now on.
    pub fn want(&mut self, desired: &Arc<Desired>) {
        self.wanted = Some(Arc::clone(desired));
    }
}

impl Keeper for Sysctls {
    fn look(&mut self, _facts: &mut Facts, now: Instant) -> Option<News> {
        let wanted = Arc::clone(self.wanted.as_ref()?);
        let news = match self.reading.take() {
            Some(wrong) => self.judge(wrong, now),
            None => None,
        };
        if now >= self.due {
            self.due = now + LOOK;
            let known = self.wrong.clone();
            self.reading.ask(
                move |wrong| !wrong.is_empty() && *wrong != known,
                move || wrong(wanted.state.sysctls.iter()),
            );
        }
        news
    }
}

impl Sysctls {
    /// Other wrong values than at the last look are news: they have changed since a pass set them.
    fn judge(&mut self, wrong: Wrong, now: Instant) -> Option<News> {
        let is_same = wrong == self.wrong;
        let is_recent = self.reported.is_some_and(|at| now < at + AGAIN);
        self.wrong = wrong;
        if self.wrong.is_empty() || (is_same && is_recent) {
            return None;
        }
        self.reported = Some(now);
        Some(News::Kernel)
    }
}

fn wrong<'a>(wanted: impl Iterator<Item = (&'a String, &'a String)>) -> Wrong {
    let read = wanted.filter_map(|(key, value)| match sysctl::read(key) {
        Ok(Some(there)) => (there != *value).then(|| (key.clone(), Some(there))),
        Ok(None) => (!may_be_absent(key)).then(|| (key.clone(), None)),
        Err(_) => Some((key.clone(), None)),
    });
    read.collect()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    fn of(value: &str) -> Wrong {
        Wrong::from([("net/ipv4/ip_forward".to_owned(), Some(value.to_owned()))])
    }

    #[test]
    fn a_value_that_changes_again_before_the_next_look_is_news_and_one_that_stays_seldom_is() {
        let mut keeper = Sysctls::new(Reader::new(channel().0));
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut news = |wrong, seconds| keeper.judge(wrong, at(seconds)).is_some();
        assert!(!news(Wrong::new(), 0));
        assert!(news(of("0"), 1));
        assert!(news(of("2"), 2), "it was set meanwhile, and changed again");
        assert!(!news(of("2"), 3));
        assert!(news(of("2"), 12), "once more: it may be possible now");
        assert!(!news(Wrong::new(), 13));
        assert!(news(of("2"), 14));
    }
}
