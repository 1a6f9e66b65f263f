//! The file for the CNI plugin: written once the kernel is programmed, and again whenever it is gone or changed.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use tweed_host::bounded_file::{self, KIB, Links};
use tweed_model::subnet_env::SubnetEnv;
use tweed_model::{LocalNode, NetworkConfig, subnet};

use super::{Keeper, News};
use crate::daemon::facts::{Facts, FileFacts};
use crate::files::atomic;

/// Keeps the file of the session, or of the last one while the daemon waits for another.
#[derive(Default)]
pub struct SubnetFile {
    content: Option<Content>,
    /// Pods may start: it may be there.
    open: bool,
}

impl SubnetFile {
    /// A session begins, whose file this is. It is not written yet.
    pub fn prepare(&mut self, content: Content) {
        self.content = Some(content);
        self.open = false;
    }

    /// Pods may start from now on.
    pub fn open(&mut self) {
        self.open = true;
    }

    /// The subnet is somebody else's: what stands there stays, and is not written again.
    pub fn give_up(&mut self) {
        self.content = None;
    }
}

impl Keeper for SubnetFile {
    fn look(&mut self, facts: &mut Facts, _now: Instant) -> Option<News> {
        let content = self.content.as_ref().filter(|_| self.open)?;
        let path = content.path.display().to_string();
        let error = match content.ensure() {
            Ok(written) => {
                if written {
                    tracing::info!(path, "subnet file written");
                }
                None
            }
            Err(error) => Some(format!("{error:#}")),
        };
        if let Some(error) = error.as_ref().filter(|_| facts.subnet_file.error != error) {
            tracing::error!(error, "subnet file not written");
        }
        facts.subnet_file = FileFacts {
            path: error.is_none().then_some(path),
            error,
        };
        None
    }
}

/// One file at one content.
pub struct Content {
    path: PathBuf,
    text: String,
}

impl Content {
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
    fn ensure(&self) -> Result<bool> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockers_options_behind_our_lines_stay_and_anything_else_is_replaced() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("subnet.env");
        let text = "FLANNEL_SUBNET=10.5.1.1/24\nFLANNEL_MTU=1450\n".to_owned();
        let file = Content {
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
