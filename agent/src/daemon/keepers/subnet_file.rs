//! The file for the CNI plugin: written once the kernel is programmed, and again whenever it is gone or changed.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use tweed_host::bounded_file::{self, KIB, Links};
use tweed_model::subnet_env::SubnetEnv;
use tweed_model::{LocalNode, NetworkConfig, subnet};

use super::{Keeper, News};
use crate::daemon::facts::{Facts, FileFacts};
use crate::files::{atomic, file_id};

/// Keeps the file of the session, or of the last one while the daemon waits for another.
#[derive(Default)]
pub struct SubnetFile {
    content: Option<Content>,
    /// Pods may start: the file may be written.
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
        let content = self.content.as_mut().filter(|_| self.open)?;
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
            rewritten: facts.subnet_file.rewritten || content.rewritten,
        };
        None
    }
}

/// One file at one content.
pub struct Content {
    path: PathBuf,
    text: String,
    /// The file that was there at the last look.
    there: Option<(u64, u64)>,
    /// Another program has written the file as flannel does, without anything more.
    rewritten: bool,
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
            there: None,
            rewritten: false,
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
    fn ensure(&mut self) -> Result<bool> {
        // A link or a FIFO in its place is replaced, like anything else that reads differently.
        let text = bounded_file::read_text(&self.path, Links::Refused, 64 * KIB);
        let text = text.unwrap_or_default();
        let there = file_id(&self.path);
        let mut lines = text.lines();
        let flannels = !text.is_empty() && lines.all(|line| line.starts_with("FLANNEL_"));
        self.rewritten |= flannels && self.there.is_some() && there != self.there;
        self.there = there;
        if self.holds(&text) {
            return Ok(false);
        }
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("create folder {}", folder.display()))?;
        }
        atomic::replace(&self.path, self.text.as_bytes(), 0o644)?;
        self.there = file_id(&self.path);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_another_program_writes_as_flannel_does_is_noticed() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("subnet.env");
        let text = "FLANNEL_SUBNET=10.5.1.1/24\nFLANNEL_MTU=1450\n";
        let others = |text: &str| {
            let new = dir.path().join(".subnet.env");
            std::fs::write(&new, text).expect("written");
            std::fs::rename(&new, &path).expect("renamed");
        };
        for (written, noticed) in [
            (text.to_owned(), true),
            (text.replace("10.5.1", "10.5.2"), true),
            (format!("{text}DOCKER_OPTS=\" --mtu=1450\"\n"), false),
            ("DOCKER_OPTS=x\n".to_owned(), false),
        ] {
            let mut file = Content {
                path: path.clone(),
                text: text.to_owned(),
                there: None,
                rewritten: false,
            };
            // What an earlier agent has left.
            others(text);
            for _ in 0..2 {
                file.ensure().expect("ensured");
                assert!(!file.rewritten);
            }
            others(&written);
            file.ensure().expect("ensured");
            assert_eq!(file.rewritten, noticed, "{written}");
        }
    }

    #[test]
    fn dockers_options_behind_our_lines_stay_and_anything_else_is_replaced() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("subnet.env");
        let text = "FLANNEL_SUBNET=10.5.1.1/24\nFLANNEL_MTU=1450\n".to_owned();
        let mut file = Content {
            path: path.clone(),
            text: text.clone(),
            there: None,
            rewritten: false,
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
