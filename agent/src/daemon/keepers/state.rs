//! Saves again what could not be saved.

use std::time::Instant;

use super::{Keeper, News};
use crate::daemon::facts::Facts;
use crate::files::state_dir::StateDir;

impl Keeper for StateDir {
    fn look(&mut self, _facts: &mut Facts, _now: Instant) -> Option<News> {
        self.try_again();
        None
    }

    fn due(&self) -> Option<Instant> {
        Self::due(self)
    }
}
