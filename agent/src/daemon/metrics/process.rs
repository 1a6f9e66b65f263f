//! What the process takes of its host, under the names that every program has for it. A thread of the pool looks.

use std::fmt;
use std::fs;
use std::sync::{Arc, Mutex, PoisonError};

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
use nix::sys::time::TimeVal;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use tokio::task::spawn_blocking;

use super::single::single;

/// What was seen last. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Process(Arc<Mutex<Seen>>);

/// What the kernel doesn't tell is left out.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// Processor time, seconds.
    used: Option<f64>,
    /// Memory in RAM, bytes.
    resident: Option<u64>,
    /// Open descriptors.
    open: Option<u64>,
    /// As many may be open.
    most: Option<u64>,
    /// When it started, seconds since 1970.
    started: Option<u64>,
}

impl Process {
    /// Looks again.
    pub async fn look(&self, started: Option<u64>) {
        if let Ok(seen) = spawn_blocking(move || Seen::now(started)).await {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = seen;
        }
    }

    fn seen(&self) -> Seen {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let seen = self.seen();
        if let Some(used) = seen.used {
            let help = "Processor time of the agent and of the kernel for it";
            let used = ConstCounter::new(used);
            single(&mut encoder, "process_cpu_seconds", help, &used)?;
        }
        for (name, help, value) in [
            (
                "process_resident_memory_bytes",
                "Memory of the agent in RAM",
                seen.resident,
            ),
            ("process_open_fds", "Open file descriptors", seen.open),
            (
                "process_max_fds",
                "File descriptors that may be open",
                seen.most,
            ),
            (
                "process_start_time_seconds",
                "When the agent started, in seconds since 1970",
                seen.started,
            ),
        ] {
            if let Some(value) = value {
                single(&mut encoder, name, help, &ConstGauge::new(value as f64))?;
            }
        }
        Ok(())
    }
}

impl Seen {
    fn now(started: Option<u64>) -> Self {
        let usage = getrusage(UsageWho::RUSAGE_SELF).ok();
        let used = usage.map(|usage| seconds(usage.user_time()) + seconds(usage.system_time()));
        let descriptors = fs::read_dir("/proc/self/fd").ok();
        Self {
            used,
            resident: resident(),
            // One of them is that of the folder.
            open: descriptors.map(|entries| (entries.count() as u64).saturating_sub(1)),
            most: getrlimit(Resource::RLIMIT_NOFILE).map(|(now, _)| now).ok(),
            started,
        }
    }
}

fn seconds(time: TimeVal) -> f64 {
    time.tv_sec() as f64 + time.tv_usec() as f64 * 1e-6
}

/// The kernel tells it in KiB, `VmRSS:     4660 kB`.
fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let mut lines = status.lines();
    let line = lines.find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}
