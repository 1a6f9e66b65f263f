//! Our own data plane is started once its device is there, and again when it has ended: by the kernel thread, which waits
//! for its workers.

use std::time::Instant;

use super::{Keeper, News};
use crate::daemon::data_plane::{DataPlane, Seen};
use crate::daemon::facts::{DataPlaneFacts, Facts};
use crate::daemon::readings::{Reader, Reading};

/// Has the data plane started, and files its state.
pub struct DataPlaneKeeper {
    plane: DataPlane,
    started: Reading<bool>,
}

impl DataPlaneKeeper {
    /// A keeper of this data plane.
    pub fn new(plane: DataPlane, reader: Reader) -> Self {
        Self {
            plane,
            started: Reading::new(reader),
        }
    }

    /// Files the state of the data plane.
    pub fn file(&self, facts: &mut Facts) {
        let Seen { carries, error, .. } = self.plane.seen();
        facts.data_plane = DataPlaneFacts { carries, error };
    }
}

impl Keeper for DataPlaneKeeper {
    fn look(&mut self, facts: &mut Facts, _now: Instant) -> Option<News> {
        // The result only says that the state has changed.
        let _ = self.started.take();
        if self.plane.seen().wanted {
            let plane = self.plane.clone();
            let news = |changed: &bool| *changed;
            self.started.ask(news, move || plane.start_if_due());
        }
        self.file(facts);
        None
    }
}
