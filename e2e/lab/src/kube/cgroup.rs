//! A control group for everything that a node runs: kubelet, containerd and, below them, the pods.
//!
//! A node's processes see it as the root of a control-group namespace, so that groups which containerd makes at the
//! root lie inside; ending a node is ending whatever is in the group.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::wait::timed;

const ROOT: &str = "/sys/fs/cgroup";
const PREFIX: &str = "tweed-kube-";

/// Runs in the node's mount namespace: the group's folders take the place of the roots of their hierarchies.
const BIND: &str = r#"
for hierarchy in /sys/fs/cgroup/*/; do
  if [ -d "$hierarchy$1" ]; then mount --bind "$hierarchy$1" "$hierarchy"; fi
done
"#;

/// A group of the same name in every hierarchy.
#[derive(Debug)]
pub struct Cgroup {
    name: String,
    folders: Vec<PathBuf>,
}

impl Cgroup {
    /// Makes a group that is named after this process and `number`, a process of the lab; and takes away the groups
    /// of labs that have been killed.
    ///
    /// # Errors
    /// When there are no control groups of version 1, or one cannot be made.
    pub fn new(number: u32) -> Result<Self> {
        let hierarchies = hierarchies()?;
        for hierarchy in &hierarchies {
            sweep(hierarchy);
        }
        let name = format!("{PREFIX}{}-{number}", std::process::id());
        let mut group = Self {
            name,
            folders: Vec::new(),
        };
        for hierarchy in hierarchies {
            let folder = hierarchy.join(&group.name);
            fs::create_dir(&folder).with_context(|| format!("make {}", folder.display()))?;
            // A group without processors and memory nodes takes no process.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                if let Ok(all) = fs::read_to_string(hierarchy.join(file)) {
                    fs::write(folder.join(file), all)?;
                }
            }
            group.folders.push(folder);
        }
        Ok(group)
    }

    /// Its name, relative to the root of every hierarchy.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A shell script that makes the group look like the root, for a node's mount namespace; its argument is the name.
    pub fn bind_script() -> &'static str {
        BIND
    }

    /// Words to put before a program's: it starts inside the group, which is the root of its namespace. To be run
    /// after [`Cgroup::bind_script`].
    pub fn enter() -> [&'static str; 4] {
        let script = r#"
for procs in /sys/fs/cgroup/*/cgroup.procs; do echo $$ >"$procs"; done
exec unshare --cgroup "$@"
"#;
        ["sh", "-euc", script, "enter"]
    }

    /// Ends every process in the group and those below.
    ///
    /// # Errors
    /// When some are there after a while.
    pub fn end_processes(&self) -> Result<()> {
        timed("the node's processes end", Duration::from_secs(10), || {
            let pids: Vec<_> = self
                .folders
                .iter()
                .flat_map(|folder| pids(folder))
                .collect();
            for pid in &pids {
                let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
            }
            ensure!(pids.is_empty(), "{pids:?} are in {}", self.name);
            Ok(())
        })?;
        Ok(())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if let Err(error) = self.end_processes() {
            eprintln!("control group {}: {error:#}", self.name);
        }
        for folder in &self.folders {
            remove(folder);
        }
    }
}

/// Version 1 has a folder for each hierarchy, version 2 none.
fn hierarchies() -> Result<Vec<PathBuf>> {
    let folders: Vec<_> = subfolders(Path::new(ROOT))
        .filter(|folder| folder.join("cgroup.procs").is_file())
        .collect();
    let mounted = !Path::new(ROOT).join("cgroup.controllers").is_file() && !folders.is_empty();
    ensure!(
        mounted,
        "the Kubernetes lab needs control groups of version 1 in {ROOT}"
    );
    Ok(folders)
}

/// Removes groups whose lab has ended without doing so.
fn sweep(hierarchy: &Path) {
    for folder in subfolders(hierarchy) {
        let owner = folder
            .file_name()
            .and_then(|name| name.to_str()?.strip_prefix(PREFIX)?.split('-').next());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            remove(&folder);
        }
    }
}

/// Removes a group and those below, deepest first; the kernel keeps those with processes.
fn remove(folder: &Path) {
    subfolders(folder).for_each(|below| remove(&below));
    let _ = fs::remove_dir(folder);
}

fn pids(folder: &Path) -> Vec<i32> {
    let own = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    let own = own.lines().filter_map(|line| line.parse().ok());
    own.chain(subfolders(folder).flat_map(|below| pids(&below)))
        .collect()
}

fn subfolders(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
}
