//! Network namespaces: open by path, tell what is wrong with a path, run a closure inside on its own thread.
//!
//! `setns` moves the calling thread only, and code that runs later on a thread that could not be moved back would work in
//! the wrong namespace. So nothing here ever moves the caller: each visit has a fresh thread that ends with it. Sockets
//! stay in the namespace they were made in, so the usual visit opens a [`Netlink`] and returns it.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::{io, thread};

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::sys::statfs::{NSFS_MAGIC, fstatfs};
use tweed_host::bounded_file::{self, Links};

use crate::{Netfilter, Netlink};

/// An open network namespace. Keeps it alive.
#[derive(Debug)]
pub struct Netns {
    file: File,
    path: PathBuf,
    /// Device and inode: what makes two namespaces the same.
    id: (u64, u64),
}

/// Why a namespace can't be had.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// Nothing is at the path.
    #[error("there is no network namespace at {}", .0.display())]
    Missing(PathBuf),
    /// Something is there, but not a network namespace: the bind mount is gone and left its file behind.
    #[error("{} is not a network namespace (its mount is gone)", .0.display())]
    NotANamespace(PathBuf),
    /// Anything else.
    #[error("{what} {}: {source}", .path.display())]
    Failed {
        /// What was being done.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl NetnsError {
    /// Whether the namespace is gone, in either way: a teardown has nothing left to do inside it.
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Missing(_) | Self::NotANamespace(_))
    }
}

impl Netns {
    /// Device and inode of the namespace that the calling thread is in.
    ///
    /// # Errors
    /// When `/proc` is not there.
    pub fn id_of_caller() -> io::Result<(u64, u64)> {
        let meta = std::fs::metadata("/proc/thread-self/ns/net")?;
        Ok((meta.dev(), meta.ino()))
    }

    /// Opens the namespace that is mounted at `path`, or stands at `/proc/<pid>/ns/net`.
    ///
    /// # Errors
    /// See [`NetnsError`].
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, NetnsError> {
        let path = path.into();
        let failed = |what, source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => NetnsError::Missing(path.clone()),
            io::ErrorKind::InvalidInput => NetnsError::NotANamespace(path.clone()),
            _ => NetnsError::Failed {
                what,
                path: path.clone(),
                source,
            },
        };
        let file = bounded_file::open(&path, Links::Followed)
            .map_err(|error| failed("open network namespace", error))?;
        let kind = fstatfs(&file)
            .map_err(|errno| failed("look at", errno.into()))?
            .filesystem_type();
        if kind != NSFS_MAGIC {
            return Err(NetnsError::NotANamespace(path));
        }
        let metadata = file.metadata().map_err(|error| failed("look at", error))?;
        Ok(Self {
            file,
            id: (metadata.dev(), metadata.ino()),
            path,
        })
    }

    /// The namespace of the calling thread.
    ///
    /// # Errors
    /// When `/proc` isn't mounted.
    pub fn current() -> Result<Self, NetnsError> {
        Self::open("/proc/thread-self/ns/net")
    }

    /// Where it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether both are one namespace, however they were opened.
    pub fn is_same(&self, other: &Self) -> bool {
        self.id == other.id
    }

    /// Runs `visit` inside, on a fresh thread, and returns what it returns. `/proc/sys/net` is this namespace's there;
    /// `/sys` is not.
    ///
    /// # Errors
    /// When the namespace can't be entered.
    ///
    /// # Panics
    /// When `visit` does, with its message.
    pub fn run<T: Send>(&self, visit: impl FnOnce() -> T + Send) -> Result<T, NetnsError> {
        let failed = |what, source| NetnsError::Failed {
            what,
            path: self.path.clone(),
            source,
        };
        thread::scope(|scope| {
            let entered = thread::Builder::new()
                .name("netns".to_owned())
                .spawn_scoped(scope, || {
                    setns(&self.file, CloneFlags::CLONE_NEWNET)?;
                    Ok(visit())
                })
                .map_err(|error| failed("start a thread for", error))?
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            entered.map_err(|errno: Errno| match errno {
                // Another kind of namespace.
                Errno::EINVAL => NetnsError::NotANamespace(self.path.clone()),
                errno => failed("enter network namespace", errno.into()),
            })
        })
    }

    /// An rtnetlink socket of this namespace, for use from here.
    ///
    /// # Errors
    /// When the namespace can't be entered.
    pub fn netlink(&self) -> Result<Netlink, NetnsError> {
        self.socket(Netlink::open)
    }

    /// A packet filter socket of this namespace, for use from here.
    ///
    /// # Errors
    /// When the namespace can't be entered.
    pub fn netfilter(&self) -> Result<Netfilter, NetnsError> {
        self.socket(Netfilter::open)
    }

    fn socket<T: Send>(&self, open: fn() -> io::Result<T>) -> Result<T, NetnsError> {
        self.run(open)?.map_err(|source| NetnsError::Failed {
            what: "open a netlink socket in",
            path: self.path.clone(),
            source,
        })
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Runs a test in a network namespace of its own, on a thread of its own, with `lo` up. Commands that the closure
/// starts inherit the namespace; it is gone when the last of them and of its sockets is.
///
/// # Panics
/// When the namespace can't be made (root is needed), and when the test does.
#[cfg(any(test, feature = "test-util"))]
pub fn isolated<T: Send>(test: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        thread::Builder::new()
            .name("isolated".to_owned())
            .spawn_scoped(scope, || {
                nix::sched::unshare(CloneFlags::CLONE_NEWNET)
                    .expect("a network namespace of the test's own (run as root)");
                let mut netlink = Netlink::open().expect("a netlink socket");
                let lo = crate::Dev {
                    index: 1,
                    name: "lo",
                };
                let up = crate::LinkChange {
                    up: Some(true),
                    ..Default::default()
                };
                netlink.set_link(lo, &up).expect("lo up");
                test()
            })
            .expect("a thread for the test")
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_path_is_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ns");
        let missing = Netns::open(&path).unwrap_err();
        assert!(matches!(missing, NetnsError::Missing(_)) && missing.is_gone());
        std::fs::write(&path, "").unwrap();
        let plain = Netns::open(&path).unwrap_err();
        assert!(matches!(plain, NetnsError::NotANamespace(_)) && plain.is_gone());
        let fifo = folder.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let waits_for_nobody = Netns::open(&fifo).unwrap_err();
        assert!(matches!(waits_for_nobody, NetnsError::NotANamespace(_)));
    }

    #[test]
    fn a_namespace_of_another_kind_is_not_entered() {
        let mount = Netns::open("/proc/self/ns/mnt").unwrap();
        let refused = mount.run(|| ()).unwrap_err();
        assert!(matches!(refused, NetnsError::NotANamespace(_)), "{refused}");
    }

    #[test]
    fn a_visit_leaves_the_visitor_where_it_was() {
        let home = Netns::current().unwrap();
        isolated(|| {
            let island = Netns::current().unwrap();
            assert!(!island.is_same(&home));
            let seen = home.run(|| Netns::current().unwrap()).unwrap();
            assert!(seen.is_same(&home));
            assert!(Netns::current().unwrap().is_same(&island));
        });
        assert!(Netns::current().unwrap().is_same(&home));
    }

    #[test]
    fn a_socket_stays_in_the_namespace_it_was_made_in() {
        let mut island = isolated(|| Netns::current().unwrap().netlink().unwrap());
        let links = island.links().unwrap();
        let names: Vec<&str> = links.iter().map(|link| link.name.as_str()).collect();
        assert_eq!(names, ["lo"]);
    }
}
