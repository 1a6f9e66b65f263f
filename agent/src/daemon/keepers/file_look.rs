//! When kept files are looked at: after each change in their folder, and now and then. The thread `files` looks, and
//! puts right what it finds.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{SOON, next_look};
use crate::daemon::readings::{Reader, Reading};
use crate::files::watch::Folders;

/// Between two looks without a change. A change may go unnoticed, as where another file system covers the folder.
const LOOK: Duration = Duration::from_secs(10);

/// The thread that has the files, and the watch on their folders.
#[derive(Clone)]
pub struct Files {
    /// Hands work to the thread.
    pub reader: Reader,
    /// The watched folders.
    pub folders: Folders,
}

/// Looks at files of some folders.
pub struct FileLook<T> {
    of: Vec<PathBuf>,
    folders: Folders,
    /// The result, and whether the folders are watched.
    found: Reading<(T, bool)>,
    changed: bool,
    due: Instant,
}

impl<T: Send + 'static> FileLook<T> {
    /// The first look is due then.
    pub fn new(folder: Option<&Path>, files: &Files, due: Instant) -> Self {
        Self {
            of: vec![here_or(folder)],
            folders: files.folders.clone(),
            found: Reading::new(files.reader.clone()),
            changed: false,
            due,
        }
    }

    /// Looks at files of this folder, too.
    pub fn and(mut self, folder: Option<&Path>) -> Self {
        self.of.push(here_or(folder));
        self
    }

    /// Something may have changed: looks at once, or as soon as the present look is over.
    pub fn changed(&mut self) {
        self.changed = true;
    }

    /// Brings the next look forward.
    pub fn again_soon(&mut self, now: Instant) {
        self.due = self.due.min(now + SOON);
    }

    /// Has it looked at if that is due. Returns the result of the look before.
    pub fn look(&mut self, now: Instant, look: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let found = self.found.take();
        if let Some((_, false)) = found {
            self.again_soon(now);
        }
        if !self.found.is_asked() && (self.changed || now >= self.due) {
            self.changed = false;
            self.due = next_look(now, LOOK);
            let (of, folders) = (self.of.clone(), self.folders.clone());
            self.found.ask(move || folders.look(&of, look));
        }
        found.map(|(found, _)| found)
    }

    /// When to look next, unless that is being done.
    pub fn due(&self) -> Option<Instant> {
        let idle = !self.found.is_asked();
        idle.then_some(if self.changed {
            Instant::now()
        } else {
            self.due
        })
    }
}

/// The folder of a path that names none is the current one.
fn here_or(folder: Option<&Path>) -> PathBuf {
    let folder = folder.filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new(".")).to_owned()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tokio::time::timeout;

    use super::*;
    use crate::daemon::readings::tests::reading_thread;
    use crate::files::watch::Watch;

    #[tokio::test]
    async fn a_change_in_each_of_its_folders_is_reported_once_they_were_looked_at() {
        let [first, second] = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
        let mut watch = Watch::new();
        let files = Files {
            reader: Reader::by_kernel(reading_thread().0),
            folders: watch.folders(),
        };
        let mut look = FileLook::new(Some(first.path()), &files, Instant::now());
        look = look.and(Some(second.path()));
        look.look(Instant::now(), || ());
        files.reader.flush();
        files.reader.news().await;
        for folder in [&first, &second] {
            fs::write(folder.path().join("kept"), "edited").expect("written");
            let changed = timeout(Duration::from_secs(5), watch.changed());
            changed.await.expect("reported");
        }
        assert!(look.look(Instant::now(), || ()).is_some());
        let due = look.due().expect("none is under way");
        assert!(due > Instant::now() + SOON, "both folders are watched");
    }
}
