//! When to look into the folder again: at once after a change on this machine, and now and then in any case, since
//! nobody tells of changes that other machines make to a shared folder.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use inotify::{Event, EventMask, Inotify, WatchMask};
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep_until};

use super::folder::{Folder, LOCK};

/// While the folder isn't there, or can't be watched.
const RETRY: Duration = Duration::from_secs(1);

/// Tells when to look again.
pub(super) struct Changes {
    folder: Folder,
    every: Duration,
    inotify: Option<AsyncFd<Inotify>>,
}

impl Changes {
    pub(super) fn new(folder: &Folder, every: Duration) -> Self {
        let inotify = Inotify::init().and_then(AsyncFd::register);
        let inotify = inotify
            .inspect_err(
                |error| tracing::warn!(%error, "no inotify; the folder is only read now and then"),
            )
            .ok();
        Self {
            folder: folder.clone(),
            every,
            inotify,
        }
    }

    /// Sees to it that changes from now on are noticed. To be called before each look: folders come and go, and the
    /// kernel forgets a watch with its folder.
    pub(super) fn arm(&self) -> Armed {
        let watched = self.watch(self.folder.path()) && self.watch(&self.folder.subnets());
        let again = if watched {
            self.every
        } else {
            RETRY.min(self.every)
        };
        Armed {
            until: Instant::now() + again,
        }
    }

    fn watch(&self, path: &Path) -> bool {
        let mask = WatchMask::CLOSE_WRITE
            | WatchMask::MOVE
            | WatchMask::CREATE
            | WatchMask::DELETE
            | WatchMask::DELETE_SELF
            | WatchMask::MOVE_SELF;
        let watch =
            |inotify: &AsyncFd<Inotify>| inotify.get_ref().watches().add(path, mask).is_ok();
        self.inotify.as_ref().is_some_and(watch)
    }

    /// Waits for a change, or until it is time to look anyway.
    pub(super) async fn next(&mut self, armed: Armed) {
        let Some(inotify) = &mut self.inotify else {
            return sleep_until(armed.until).await;
        };
        tokio::select! {
            () = concerns_us(inotify) => {}
            () = sleep_until(armed.until) => {}
        }
    }
}

/// A promise that changes are noticed from now on.
pub(super) struct Armed {
    until: Instant,
}

async fn concerns_us(inotify: &mut AsyncFd<Inotify>) {
    loop {
        let Ok(mut ready) = inotify.readable_mut().await else {
            return;
        };
        let mut buffer = [0; 4096];
        let concerns = match ready.get_inner_mut().read_events(&mut buffer) {
            Ok(mut events) => events.any(|event| is_relevant(&event)),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                ready.clear_ready();
                false
            }
            Err(_) => true,
        };
        if concerns {
            return;
        }
    }
}

/// Locks and unfinished files change nothing. A file that is only created has no content yet; a folder is worth a look.
fn is_relevant(event: &Event<&OsStr>) -> bool {
    let name = event.name.map(OsStr::to_string_lossy).unwrap_or_default();
    let only_created =
        event.mask.contains(EventMask::CREATE) && !event.mask.contains(EventMask::ISDIR);
    !only_created && name != LOCK && !name.starts_with('.')
}
