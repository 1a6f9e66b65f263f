//! Our own data plane is started once its device is there, and again when it has ended.

use std::time::Instant;

use super::{Keeper, News};
use crate::daemon::data_plane::DataPlane;
use crate::daemon::facts::{DataPlaneFacts, Facts};

impl Keeper for DataPlane {
    fn look(&mut self, facts: &mut Facts, _now: Instant) -> Option<News> {
        self.start_if_due();
        facts.data_plane = DataPlaneFacts {
            carries: self.carries(),
            error: self.error(),
        };
        None
    }
}
