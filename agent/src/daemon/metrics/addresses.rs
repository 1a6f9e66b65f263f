//! Addresses of the node's own subnets that containers have, by `host-local`'s reservations. A thread of the pool counts
//! them; one that its disk keeps waiting keeps no answer waiting.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;
use tweed_attach::live::CNI_DATA_DIR;
use tweed_model::Dual;

/// An answer waits this long for the disk.
const LONGEST: Duration = Duration::from_millis(300);

/// What was counted last. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Addresses(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    counting: tokio::sync::Mutex<Option<JoinHandle<()>>>,
    pools: Mutex<Vec<Pool>>,
}

/// A subnet of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pool {
    subnet: IpNet,
    used: u64,
    /// Without a number where no node can use them up.
    free: Option<u64>,
}

impl Addresses {
    /// Counts again, unless the last count still waits for the disk.
    pub async fn look(&self, subnets: Dual<IpNet>) {
        let mut counting = self.0.counting.lock().await;
        let work = counting.get_or_insert_with(|| {
            let shared = Arc::clone(&self.0);
            spawn_blocking(move || {
                let folder = Path::new(CNI_DATA_DIR).join("networks");
                let pools = pools(&reserved(&folder), &subnets);
                *shared.pools.lock().unwrap_or_else(PoisonError::into_inner) = pools;
            })
        });
        if timeout(LONGEST, work).await.is_ok() {
            *counting = None;
        }
    }
}

impl Collector for Addresses {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let pools = self.0.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let help = "Addresses of the node's subnet that containers have, and those that are free";
        let mut metric =
            encoder.encode_descriptor("pod_addresses", help, None, MetricType::Gauge)?;
        for pool in pools.iter() {
            let subnet = pool.subnet.to_string();
            let counts = [("used", Some(pool.used)), ("free", pool.free)];
            for (state, count) in counts {
                if let Some(count) = count {
                    let labels = [("subnet", subnet.as_str()), ("state", state)];
                    ConstGauge::new(count as f64).encode(metric.encode_family(&labels)?)?;
                }
            }
        }
        Ok(())
    }
}

/// A file an address, in a folder a network.
fn reserved(folder: &Path) -> BTreeSet<IpAddr> {
    let entries = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries(folder).flat_map(|network| entries(&network.path()));
    let addrs = files.filter_map(|file| file.file_name().to_str()?.parse().ok());
    addrs.collect()
}

/// Of a subnet of IPv4 its own address, the gateway's and the last are given to no container, of IPv6 the first two.
fn pools(reserved: &BTreeSet<IpAddr>, subnets: &Dual<IpNet>) -> Vec<Pool> {
    let pool = |subnet: &IpNet| {
        let used = reserved.iter().filter(|addr| subnet.contains(*addr));
        let used = used.count() as u64;
        let bits = subnet.max_prefix_len() - subnet.prefix_len();
        let kept = if subnet.addr().is_ipv4() { 3 } else { 2 };
        let size = (bits <= 32).then(|| (1_u64 << bits).saturating_sub(kept));
        let free = size.map(|size| size.saturating_sub(used));
        Pool {
            subnet: *subnet,
            used,
            free,
        }
    };
    subnets.values().map(pool).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_containers_have_and_what_is_left_is_counted_by_subnet() {
        let folder = tempfile::tempdir().expect("a folder");
        for file in [
            "cbr0/10.244.31.2",
            "cbr0/10.244.31.3",
            "cbr0/last_reserved_ip.0",
            "other/10.244.31.3",
            "other/10.99.0.2",
            "cbr0/fd00::2",
        ] {
            let file = folder.path().join(file);
            fs::create_dir_all(file.parent().expect("a folder")).expect("made");
            fs::write(file, "").expect("written");
        }
        let nets = ["10.244.31.0/24", "fd00::/64"].map(|net| net.parse().expect("a subnet"));
        let found = pools(&reserved(folder.path()), &Dual::of_nets(nets));
        let counts: Vec<_> = found.iter().map(|pool| (pool.used, pool.free)).collect();
        assert_eq!(counts, [(2, Some(251)), (1, None)]);
        assert_eq!(reserved(Path::new("/nowhere")), BTreeSet::new());
    }
}
