//! A processor for each host, as hosts have: the threads that carry a path's packets, and both ends of a conversation,
//! stay where their host is. Otherwise it is the scheduler's choice from run to run whether the two ends share one, which
//! decides more than the path does.

use std::fs;

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use super::paths::Path;

/// This thread, to the kernel.
const SELF: Pid = Pid::from_raw(0);

/// Processors of the two hosts.
const HOSTS: [usize; 2] = [0, 1];

/// Keeps a path's processes on their hosts' processors until it is dropped.
pub struct Apart {
    pinned: Vec<u32>,
    before: CpuSet,
}

impl Apart {
    /// Pins the processes of both hosts. None on a machine with one processor.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn pin(path: &Path<'_>) -> Result<Option<Self>> {
        let before = sched_getaffinity(SELF).context("ask which processors there are")?;
        if !before.is_set(HOSTS[0])? || !before.is_set(HOSTS[1])? {
            return Ok(None);
        }
        let mut apart = Self {
            pinned: Vec::new(),
            before,
        };
        for (host, pid) in path.carriers() {
            apart.pinned.push(pid);
            set(pid, &only(HOSTS[host])?)?;
        }
        Ok(Some(apart))
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        for pid in &self.pinned {
            let _ = set(*pid, &self.before); // It may have ended.
        }
        let _ = sched_setaffinity(SELF, &self.before);
    }
}

/// Keeps the calling thread on a host's processor.
///
/// # Errors
/// When the kernel refuses.
pub fn stay(host: usize) -> Result<()> {
    sched_setaffinity(SELF, &only(HOSTS[host])?).context("stay on a processor")
}

fn only(processor: usize) -> Result<CpuSet> {
    let mut set = CpuSet::new();
    set.set(processor)?;
    Ok(set)
}

/// All threads of a process.
fn set(pid: u32, processors: &CpuSet) -> Result<()> {
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let task: i32 = task?.file_name().to_string_lossy().parse()?;
        sched_setaffinity(Pid::from_raw(task), processors)
            .with_context(|| format!("pin thread {task} of process {pid}"))?;
    }
    Ok(())
}
