//! Notices changes in folders, so that nobody has to look at files again and again (inotify(7)).

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use inotify::{EventOwned, EventStream, Inotify, WatchMask, Watches};
use tokio::time::{Instant, sleep_until};

/// Between two reports, however often something changes.
const REST: Duration = Duration::from_millis(100);

/// Reports changes. One report stands for any number of them.
pub struct Watch {
    events: Option<EventStream<[u8; 4096]>>,
    rested: Instant,
}

/// Adds folders to a [`Watch`], from any thread.
#[derive(Clone)]
pub struct Folders(Option<Watches>);

impl Watch {
    /// Watches no folder yet. Without inotify, of which a host may be short, nothing is ever reported.
    pub fn new() -> Self {
        let events = Inotify::init().and_then(|inotify| inotify.into_event_stream([0; 4096]));
        let events = events.inspect_err(|error| {
            tracing::info!(%error, "no inotify; files are looked at twice a second");
        });
        Self {
            events: events.ok(),
            rested: Instant::now(),
        }
    }

    /// Adds folders to it.
    pub fn folders(&self) -> Folders {
        Folders(self.events.as_ref().map(EventStream::watches))
    }

    /// Returns after a change.
    pub async fn changed(&mut self) {
        sleep_until(self.rested).await;
        while let Some(events) = &mut self.events {
            match events.next().await {
                Some(Ok(event)) if is_relevant(&event) => {
                    while let Some(Some(_)) = events.next().now_or_never() {}
                    self.rested = Instant::now() + REST;
                    return;
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => self.events = None,
            }
        }
        std::future::pending().await
    }
}

/// The link that Kubernetes replaces when the content of a volume changes.
const VOLUME: &[u8] = b"..data";

/// Files that are being written, here and by most programs, are hidden until they are whole.
fn is_relevant(event: &EventOwned) -> bool {
    let name = event.name.as_deref().map(OsStr::as_encoded_bytes);
    name.is_none_or(|name| name == VOLUME || !name.starts_with(b"."))
}

impl Folders {
    /// Folders of nothing: none can be watched.
    #[cfg(test)]
    pub fn unwatched() -> Self {
        Self(None)
    }

    /// Looks at files of some folders, and says whether each change after that is reported. It is not where the look is
    /// what makes a folder.
    pub fn look<T>(&self, folders: &[impl AsRef<Path>], look: impl FnOnce() -> T) -> (T, bool) {
        let watched = folders.iter().filter(|folder| self.add(folder.as_ref()));
        let watched = watched.count() == folders.len();
        (look(), watched)
    }

    /// Adding a folder again changes nothing, unless another one has its name by now.
    fn add(&self, folder: &Path) -> bool {
        let mask = WatchMask::CLOSE_WRITE
            | WatchMask::MOVE
            | WatchMask::CREATE
            | WatchMask::DELETE
            | WatchMask::DELETE_SELF
            | WatchMask::MOVE_SELF
            | WatchMask::ONLYDIR;
        let watches = self.0.clone();
        watches.is_some_and(|mut watches| watches.add(folder, mask).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use tokio::time::timeout;

    use super::*;

    async fn is_reported(watch: &mut Watch) -> bool {
        timeout(Duration::from_millis(500), watch.changed())
            .await
            .is_ok()
    }

    #[tokio::test]
    async fn each_way_to_change_a_file_is_reported_and_a_look_is_none() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("kept");
        fs::write(&path, "as it should be").expect("written");
        let mut watch = Watch::new();
        let folders = watch.folders();
        type Change = fn(&Path);
        let changes: [(Change, bool); 8] = [
            (|path| drop(fs::read(path)), false),
            (|path| fs::write(path, "edited").expect("written"), true),
            (
                |path| fs::write(path.with_file_name(".kept.tmp"), "").expect("written"),
                false,
            ),
            (
                |path| fs::rename(path.with_file_name(".kept.tmp"), path).expect("renamed"),
                true,
            ),
            (|path| fs::remove_file(path).expect("removed"), true),
            (
                |path| symlink("..1", path.with_file_name("..data_tmp")).expect("made"),
                false,
            ),
            (
                |path| {
                    let [from, to] = ["..data_tmp", "..data"].map(|name| path.with_file_name(name));
                    fs::rename(from, to).expect("renamed");
                },
                true,
            ),
            (
                |path| fs::remove_dir_all(path.parent().expect("a folder")).expect("removed"),
                true,
            ),
        ];
        for (number, (change, reported)) in changes.into_iter().enumerate() {
            let ((), watched) = folders.look(&[dir.path()], || ());
            assert!(watched);
            change(&path);
            assert_eq!(is_reported(&mut watch).await, reported, "change {number}");
        }
        let (made, watched) = folders.look(&[dir.path()], || fs::create_dir(dir.path()));
        assert!(made.is_ok() && !watched, "it is to be looked at again");
        assert!(folders.look(&[dir.path()], || ()).1);
    }

    #[tokio::test]
    async fn many_changes_are_a_few_reports() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut watch = Watch::new();
        assert!(watch.folders().look(&[dir.path()], || ()).1);
        let path = dir.path().to_owned();
        let writes = std::thread::spawn(move || {
            let begun = std::time::Instant::now();
            while begun.elapsed() < Duration::from_millis(550) {
                fs::write(path.join("kept"), "again").expect("written");
            }
        });
        let mut reports = 0;
        while is_reported(&mut watch).await {
            reports += 1;
        }
        writes.join().expect("ends");
        assert!((2..=8).contains(&reports), "{reports}");
    }
}
