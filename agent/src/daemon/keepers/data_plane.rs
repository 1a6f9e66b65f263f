//! Our own data plane is started once its device is there, and again when it has ended: by the kernel thread, which waits
//! for its workers.

use std::time::Instant;

use super::{Keeper, News, SOON};
use crate::daemon::data_plane::{DataPlane, Seen};
use crate::daemon::facts::{DataPlaneFacts, Facts};
use crate::daemon::readings::{Reader, Reading};

/// Has the data plane started, and files its state.
pub struct DataPlaneKeeper {
    plane: DataPlane,
    started: Reading<()>,
    /// When it was last to be started. Each result wakes the main thread, which looks again.
    tried: Option<Instant>,
    /// When it was last looked at while packets are to be carried.
    looked: Option<Instant>,
}

impl DataPlaneKeeper {
    /// A keeper of this data plane.
    pub fn new(plane: DataPlane, reader: Reader) -> Self {
        Self {
            plane,
            started: Reading::new(reader),
            tried: None,
            looked: None,
        }
    }

    /// Files the state of the data plane.
    pub fn file(&self, facts: &mut Facts) {
        let Seen { carries, error, .. } = self.plane.seen();
        facts.data_plane = DataPlaneFacts { carries, error };
    }
}

impl Keeper for DataPlaneKeeper {
    fn look(&mut self, facts: &mut Facts, now: Instant) -> Option<News> {
        // The result is in what was seen.
        let _ = self.started.take();
        self.looked = self.plane.seen().wanted.then_some(now);
        let is_due = self.tried.is_none_or(|tried| now >= tried + SOON);
        if is_due && self.plane.is_to_start() {
            self.tried = Some(now);
            let plane = self.plane.clone();
            self.started.ask(move || plane.start_if_due());
        }
        self.file(facts);
        None
    }

    /// Workers end without an event.
    fn due(&self) -> Option<Instant> {
        self.looked.map(|looked| looked + SOON)
    }
}
