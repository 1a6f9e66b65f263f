//! Links that the plugins of a call have cut, and which its end removes: the kernel needs as long for one as for many.

use std::mem;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tweed_netlink::LinkInfo;

/// The links. A copy is the same list.
#[derive(Clone, Debug, Default)]
pub(crate) struct CutLinks(Arc<Mutex<Cut>>);

#[derive(Debug, Default)]
pub(crate) struct Cut {
    /// Those to remove before the call ends.
    pub(crate) now: Vec<LinkInfo>,
    /// Some were set aside for later, by a plugin with this folder of records.
    pub(crate) later: Option<PathBuf>,
}

impl CutLinks {
    pub(crate) fn remove_now(&self, link: LinkInfo) {
        self.lock().now.push(link);
    }

    pub(crate) fn remove_later(&self, records: PathBuf) {
        self.lock().later = Some(records);
    }

    /// All that there are, once.
    pub(crate) fn take(&self) -> Cut {
        mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Cut> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
