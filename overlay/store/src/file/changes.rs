//! When to look into the folder again: at once after a change on this machine, and now and then in any case, since
//! nobody tells of changes that other machines make to a shared folder.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use inotify::{EventMask, EventOwned, EventStream, Inotify, WatchMask, Watches};
use tokio::time::{Instant, sleep_until};

use super::folder::{Folder, LOCK};
use super::gate::Gate;

/// While the folder isn't there, or can't be watched.
const RETRY: Duration = Duration::from_secs(1);

/// Tells when to look again.
pub(super) struct Changes {
    gate: Gate,
    every: Duration,
    events: Option<EventStream<[u8; 4096]>>,
}

impl Changes {
    pub(super) fn new(gate: &Gate, every: Duration) -> Self {
        let events = Inotify::init().and_then(|inotify| inotify.into_event_stream([0; 4096]));
        let events = events
            .inspect_err(
                |error| tracing::warn!(%error, "no inotify; the folder is only read now and then"),
            )
            .ok();
        Self {
            gate: gate.clone(),
            every,
            events,
        }
    }

    /// Sees to it that changes from now on are noticed. To be called before each look: folders come and go, and the
    /// kernel forgets a watch with its folder. Looking for a folder can take as long as reading it.
    pub(super) async fn arm(&self) -> Armed {
        let watched = match &self.events {
            Some(events) => {
                let watches = events.watches();
                let watch = move |folder: &Folder| {
                    let folders = [folder.path().to_owned(), folder.subnets()];
                    Ok(folders.iter().all(|folder| watch(&watches, folder)))
                };
                self.gate.run(watch).await.unwrap_or(false)
            }
            None => false,
        };
        let again = if watched {
            self.every
        } else {
            RETRY.min(self.every)
        };
        Armed {
            until: Instant::now() + again,
        }
    }

    /// Waits for a change, or until it is time to look anyway.
    pub(super) async fn next(&mut self, armed: Armed) {
        let Some(events) = &mut self.events else {
            return sleep_until(armed.until).await;
        };
        let change = async {
            while let Some(Ok(event)) = events.next().await {
                if is_relevant(&event) {
                    // Of several changes at once, one look is enough.
                    while let Some(Some(_)) = events.next().now_or_never() {}
                    return;
                }
            }
            // The stream has failed; what is left is the clock.
            std::future::pending().await
        };
        tokio::select! {
            () = change => {}
            () = sleep_until(armed.until) => {}
        }
    }
}

fn watch(watches: &Watches, path: &Path) -> bool {
    let mask = WatchMask::CLOSE_WRITE
        | WatchMask::MOVE
        | WatchMask::CREATE
        | WatchMask::DELETE
        | WatchMask::DELETE_SELF
        | WatchMask::MOVE_SELF;
    watches.clone().add(path, mask).is_ok()
}

/// A promise that changes are noticed from now on.
pub(super) struct Armed {
    until: Instant,
}

/// Locks and unfinished files change nothing. A file that is only created has no content yet; a folder is worth a look.
fn is_relevant(event: &EventOwned) -> bool {
    let name = event
        .name
        .as_deref()
        .map(OsStr::to_string_lossy)
        .unwrap_or_default();
    let only_created =
        event.mask.contains(EventMask::CREATE) && !event.mask.contains(EventMask::ISDIR);
    !only_created && name != LOCK && !name.starts_with('.')
}
