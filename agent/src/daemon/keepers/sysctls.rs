//! Sysctls give no netlink event, so they are looked at now and then.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tweed_host::sysctl;
use tweed_state::{Desired, may_be_absent};

use super::{Keeper, News};
use crate::daemon::facts::Facts;
use crate::daemon::readings::{Reader, Reading};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// Has changed sysctls repaired, once: what can't be set is tried again with the pass that failed.
pub struct Sysctls {
    wanted: Option<Arc<Desired>>,
    /// Whether they read as wanted.
    holds: Reading<bool>,
    /// Whether the last look found another value.
    changed: bool,
    due: Instant,
}

impl Sysctls {
    /// A keeper that wants no sysctl yet.
    pub fn new(reader: Reader) -> Self {
        Self {
            wanted: None,
            holds: Reading::new(reader),
            changed: false,
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
        let before = self.changed;
        if let Some(holds) = self.holds.take() {
            self.changed = !holds;
        }
        if now >= self.due {
            self.due = now + LOOK;
            let known = self.changed;
            self.holds.ask(
                move |holds| !holds && !known,
                move || hold(wanted.state.sysctls.iter()),
            );
        }
        (self.changed && !before).then_some(News::Kernel)
    }
}

/// Whether every sysctl reads as wanted.
fn hold<'a>(wanted: impl Iterator<Item = (&'a String, &'a String)>) -> bool {
    let mut wanted = wanted;
    wanted.all(|(key, value)| match sysctl::read(key) {
        Ok(Some(there)) => there == *value,
        Ok(None) => may_be_absent(key),
        Err(_) => false,
    })
}
