//! Counters of the data plane's workers. A thread of the pool waits for the workers, once for all requests within a
//! moment. A request that can't wait gets the last counters, with their age.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

use crate::daemon::data_plane::DataPlane;
use crate::daemon::data_plane::status::DataPlaneStatus;

/// What was collected within this time is not collected again.
pub const FRESH: Duration = Duration::from_millis(100);
/// An answer waits this long for the workers.
const LONGEST: Duration = Duration::from_millis(300);

/// The counters as they were collected last. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Collected(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    plane: DataPlane,
    collecting: tokio::sync::Mutex<Option<JoinHandle<()>>>,
    last: Arc<Mutex<Option<Last>>>,
}

#[derive(Debug)]
struct Last {
    at: Instant,
    /// None with a backend that has no data plane.
    status: Option<DataPlaneStatus>,
}

impl Collected {
    /// The counters of this data plane.
    pub fn of(plane: DataPlane) -> Self {
        Self(Arc::new(Shared {
            plane,
            ..Shared::default()
        }))
    }

    /// The counters as they are now, or were a moment ago.
    pub async fn now(&self) -> Option<DataPlaneStatus> {
        self.refresh().await;
        self.last()
    }

    /// Collects the counters, unless they are fresh.
    pub async fn refresh(&self) {
        let shared = &self.0;
        if !shared.plane.seen().wanted {
            *lock(&shared.last) = None;
            return;
        }
        let mut collecting = shared.collecting.lock().await;
        if collecting.is_none() {
            let fresh = |last: &Last| last.at.elapsed() < FRESH;
            if lock(&shared.last).as_ref().is_some_and(fresh) {
                return;
            }
        }
        let work = collecting.get_or_insert_with(|| {
            let (plane, last) = (shared.plane.clone(), Arc::clone(&shared.last));
            spawn_blocking(move || {
                let status = plane.status();
                let at = Instant::now();
                *lock(&last) = Some(Last { at, status });
            })
        });
        if timeout(LONGEST, work).await.is_ok() {
            *collecting = None;
        }
    }

    /// The last counters, without waiting.
    pub fn last(&self) -> Option<DataPlaneStatus> {
        let last = lock(&self.0.last);
        let last = last.as_ref()?;
        let mut status = last.status.clone()?;
        let age = last.at.elapsed().as_millis();
        status.age_milliseconds = age.try_into().unwrap_or(u64::MAX);
        Some(status)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
