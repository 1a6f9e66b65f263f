//! The file for the CNI plugin: written once the kernel is programmed, and again whenever it is gone or changed.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tweed_host::bounded_file::{self, KIB, Links};
use tweed_model::subnet_env::SubnetEnv;
use tweed_model::{Dual, LocalNode, NetworkConfig, subnet};
use tweed_state::may_be_absent;

use crate::files::atomic;

/// Keeps one file at one content.
pub struct SubnetFile {
    path: PathBuf,
    text: String,
}

impl SubnetFile {
    /// The file for this node.
    pub fn new(
        path: &Path,
        config: &NetworkConfig,
        node: &LocalNode,
        mtu: u32,
        ip_masq: bool,
    ) -> Self {
        let networks = config.pools.map(|_, pool| vec![pool.network]);
        let subnets = node.subnets.filter_map(|_, net| {
            ipnet::IpNet::new(subnet::first_addr(net)?, net.prefix_len()).ok()
        });
        let env = SubnetEnv {
            networks,
            subnets,
            mtu,
            ip_masq,
        };
        Self {
            path: path.to_owned(),
            text: env.render(),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a file says what this one should. Docker's options may follow, as `docker-opts -d` puts them there.
    fn holds(&self, there: &str) -> bool {
        let Some(rest) = there.strip_prefix(&self.text) else {
            return false;
        };
        let options = |line: &str| line.contains('=') && !line.starts_with("FLANNEL_");
        rest.lines().all(options)
    }

    /// Writes the file unless it already reads as it should. Says whether it had to.
    ///
    /// # Errors
    /// When the folder or the file can't be written.
    pub fn ensure(&self) -> Result<bool> {
        // A link or a FIFO in its place is replaced, like anything else that reads differently.
        let there = bounded_file::read_text(&self.path, Links::Refused, 64 * KIB);
        if there.is_ok_and(|there| self.holds(&there)) {
            return Ok(false);
        }
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("create folder {}", folder.display()))?;
        }
        atomic::replace(&self.path, self.text.as_bytes(), 0o644)?;
        Ok(true)
    }
}

/// Whether every sysctl reads as wanted. Sysctls give no netlink event, so they are looked at now and then.
pub fn sysctls_hold<'a>(wanted: impl Iterator<Item = (&'a String, &'a String)>) -> bool {
    let mut wanted = wanted;
    wanted.all(|(key, value)| {
        let path = Path::new("/proc/sys").join(key);
        match std::fs::read_to_string(path) {
            Ok(there) => there.trim_end() == value,
            Err(error) => error.kind() == std::io::ErrorKind::NotFound && may_be_absent(key),
        }
    })
}

/// Families for display: `10.244.1.0/24, fd00::/64`.
pub fn join<T: ToString>(dual: &Dual<T>) -> String {
    dual.values()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockers_options_behind_our_lines_stay_and_anything_else_is_replaced() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("subnet.env");
        let text = "FLANNEL_SUBNET=10.5.1.1/24\nFLANNEL_MTU=1450\n".to_owned();
        let file = SubnetFile {
            path: path.clone(),
            text: text.clone(),
        };
        for (there, stays) in [
            (text.clone(), true),
            (format!("{text}DOCKER_OPTS=\" --mtu=1450\"\n"), true),
            (format!("{text}FLANNEL_MTU=9\n"), false),
            (format!("{text}rubbish\n"), false),
            ("DOCKER_OPTS=\" --mtu=1450\"\n".to_owned(), false),
            (format!("DOCKER_OPTS=x\n{text}"), false),
            (String::new(), false),
        ] {
            std::fs::write(&path, &there).expect("written");
            assert_eq!(file.ensure().expect("ensured"), !stays, "{there}");
            let now = std::fs::read_to_string(&path).expect("readable");
            assert_eq!(now, if stays { there } else { text.clone() });
        }
    }
}
