//! The file for the CNI plugin: written once the kernel is programmed, and again whenever it is gone or changed.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use anyhow::{Context, Result};
use tweed_host::bounded_file::{self, KIB, Links};
use tweed_model::subnet_env::SubnetEnv;
use tweed_model::{LocalNode, NetworkConfig, subnet};

use super::file_look::{FileLook, Files};
use super::{Keeper, News};
use crate::daemon::facts::{Facts, FileFacts};
use crate::files::{atomic, file_id};

/// Keeps the file of the session, or of the last one while the daemon waits for another.
pub struct SubnetFile {
    /// What begins after this is gone writes nothing.
    content: Option<Arc<Mutex<Content>>>,
    path: String,
    files: Files,
    look: FileLook<Option<Ensured>>,
    /// Pods may start: the file may be written.
    open: bool,
    /// The service manager has been told so.
    told: bool,
}

/// Result of a look at the file.
struct Ensured {
    /// Whether it had to be written; the error, if it could not be.
    written: Result<bool, String>,
    rewritten: bool,
}

impl SubnetFile {
    /// Without content yet.
    pub fn new(path: &Path, files: Files, now: Instant) -> Self {
        Self {
            content: None,
            path: path.display().to_string(),
            look: FileLook::new(path.parent(), &files, now),
            files,
            open: false,
            told: false,
        }
    }

    /// A session begins, whose file this is. It is not written yet.
    pub fn prepare(&mut self, content: Content, now: Instant) {
        self.look = FileLook::new(content.path.parent(), &self.files, now);
        self.content = Some(Arc::new(Mutex::new(content)));
        self.open = false;
        self.told = false;
    }

    /// Pods may start from now on.
    pub fn open(&mut self) {
        self.open = true;
    }

    /// The file or its folder has changed.
    pub fn changed(&mut self) {
        self.look.changed();
    }

    /// The subnet is somebody else's: what stands there stays, and is not written again.
    pub fn give_up(&mut self) {
        self.content = None;
    }

    fn file(&mut self, found: Ensured, facts: &mut Facts, now: Instant) {
        let error = found.written.as_ref().err();
        if let Ok(true) = found.written {
            tracing::info!(path = self.path, "subnet file written");
        }
        if let Some(error) = error {
            self.look.again_soon(now);
            if facts.subnet_file.error.as_ref() != Some(error) {
                tracing::error!(error, "subnet file not written");
            }
        }
        facts.subnet_file = FileFacts {
            path: error.is_none().then(|| self.path.clone()),
            error: error.cloned(),
            rewritten: facts.subnet_file.rewritten || found.rewritten,
        };
        if !self.told {
            self.told = true;
            // Without systemd there is nobody to notify.
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        }
    }
}

impl Keeper for SubnetFile {
    fn look(&mut self, facts: &mut Facts, now: Instant) -> Option<News> {
        let content = self.content.as_ref().filter(|_| self.open)?;
        let content = Arc::downgrade(content);
        let found = self.look.look(now, move || ensured(&content));
        if let Some(found) = found.flatten() {
            self.file(found, facts, now);
        }
        None
    }

    fn due(&self) -> Option<Instant> {
        let kept = self.content.is_some() && self.open;
        self.look.due().filter(|_| kept)
    }
}

fn ensured(content: &Weak<Mutex<Content>>) -> Option<Ensured> {
    let content = content.upgrade()?;
    let mut content = content.lock().unwrap_or_else(PoisonError::into_inner);
    let written = content.ensure().map_err(|error| format!("{error:#}"));
    Some(Ensured {
        written,
        rewritten: content.rewritten,
    })
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
