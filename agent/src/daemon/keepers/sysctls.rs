//! Sysctls give no netlink event, so they are looked at now and then.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use tweed_state::{Desired, may_be_absent};

use super::{Keeper, News};
use crate::daemon::facts::Facts;

/// Has a change of them repaired, once: what can't be set is tried again with the pass that failed.
#[derive(Default)]
pub struct Sysctls {
    wanted: Option<Arc<Desired>>,
    /// Whether they read as wanted when they were last looked at.
    changed: bool,
}

impl Sysctls {
    /// This is wanted from now on.
    pub fn want(&mut self, desired: &Arc<Desired>) {
        self.wanted = Some(Arc::clone(desired));
    }
}

impl Keeper for Sysctls {
    fn look(&mut self, _facts: &mut Facts, _now: Instant) -> Option<News> {
        let wanted = self.wanted.as_ref()?;
        let before = self.changed;
        self.changed = !hold(wanted.state.sysctls.iter());
        (self.changed && !before).then_some(News::Kernel)
    }
}

/// Whether every sysctl reads as wanted.
fn hold<'a>(wanted: impl Iterator<Item = (&'a String, &'a String)>) -> bool {
    let mut wanted = wanted;
    wanted.all(|(key, value)| {
        let path = Path::new("/proc/sys").join(key);
        match std::fs::read_to_string(path) {
            Ok(there) => there.trim_end() == value,
            Err(error) => error.kind() == std::io::ErrorKind::NotFound && may_be_absent(key),
        }
    })
}
