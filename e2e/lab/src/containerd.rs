//! containerd on a host, without Kubernetes: Debian's, or the one that `.ci/clients` builds.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::binaries::build_folder;
use crate::engine::{Engines, IMAGE};
use crate::kube::control::end;
use crate::kube::node::containerd_config;
use crate::wait::eventually;

const SOCKET: &str = "/run/containerd/containerd.sock";

/// Which containerd, with its `ctr`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Debian's, of series 1.
    Debian,
    /// Of series 2.
    Two,
}

/// A running containerd.
#[derive(Debug)]
pub struct Containerd<'e, 'lab> {
    engines: &'e Engines<'lab>,
    version: Version,
    child: Option<Child>,
}

impl<'e, 'lab> Containerd<'e, 'lab> {
    /// Starts it, and imports the image.
    ///
    /// # Errors
    /// When it isn't built, or doesn't come up.
    pub fn start(engines: &'e Engines<'lab>, version: Version) -> Result<Self> {
        let config = match version {
            Version::Debian => containerd_config(),
            Version::Two => second_config(),
        };
        fs::write(engines.host.path("/run/containerd.toml"), config)?;
        fs::write(
            engines.host.path("/run/crictl.yaml"),
            format!("runtime-endpoint: unix://{SOCKET}\nimage-endpoint: unix://{SOCKET}\n"),
        )?;
        let mut containerd = Self {
            engines,
            version,
            child: None,
        };
        containerd.restart()?;
        for namespace in ["default", "k8s.io"] {
            let words = [
                "--namespace",
                namespace,
                "images",
                "import",
                "/run/image/image.tar",
            ];
            containerd.ctr(&words)?;
        }
        Ok(containerd)
    }

    /// Kills it, if it runs, and starts it again; containers go on meanwhile.
    ///
    /// # Errors
    /// When it doesn't come up.
    pub fn restart(&mut self) -> Result<()> {
        if let Some(child) = self.child.take() {
            end(child);
        }
        let program = self.program("containerd")?;
        // Its shim is beside it.
        let beside = Path::new(&program).parent().unwrap_or(Path::new("/"));
        let script = format!(
            "PATH={}:$PATH exec {program} --config /run/containerd.toml",
            beside.display()
        );
        self.child = Some(self.engines.start("containerd", &["sh", "-c", &script])?);
        eventually("containerd answers", || self.ctr(&["version"]).map(drop))
    }

    /// Kills it, and the plugins that it runs.
    ///
    /// # Errors
    /// When it doesn't run.
    pub fn kill(&self) -> Result<()> {
        let child = self.child.as_ref().context("containerd runs")?;
        let group = Pid::from_raw(i32::try_from(child.id()).context("a pid fits")?);
        Ok(killpg(group, Signal::SIGKILL)?)
    }

    /// Runs `ctr`.
    ///
    /// # Errors
    /// When it fails.
    pub fn ctr(&self, words: &[&str]) -> Result<String> {
        let program = self.program("ctr")?;
        let all = [program.as_str(), "--address", SOCKET];
        let all: Vec<&str> = all.into_iter().chain(words.iter().copied()).collect();
        self.engines.run(&all)
    }

    /// Runs `crictl`.
    ///
    /// # Errors
    /// When it fails, or isn't built.
    pub fn crictl(&self, words: &[&str]) -> Result<String> {
        let program = built("crictl")?.display().to_string();
        let all = [program.as_str(), "--config", "/run/crictl.yaml"];
        let all: Vec<&str> = all.into_iter().chain(words.iter().copied()).collect();
        self.engines.run(&all)
    }

    fn program(&self, name: &str) -> Result<String> {
        Ok(match self.version {
            Version::Debian => format!("/usr/bin/{name}"),
            Version::Two => built(name)?.display().to_string(),
        })
    }
}

impl Drop for Containerd<'_, '_> {
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            end(child);
        }
    }
}

/// Where `.ci/clients` puts what it builds.
fn folder() -> Result<PathBuf> {
    Ok(match std::env::var_os("TWEED_CLIENTS_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => build_folder("clients")?.join("clients"),
    })
}

fn built(name: &str) -> Result<PathBuf> {
    let path = folder()?.join(name);
    ensure!(
        Path::is_file(&path),
        "{} is not built: run .ci/clients",
        path.display()
    );
    Ok(path)
}

fn second_config() -> String {
    format!(
        r#"version = 3
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = "{SOCKET}"
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "{IMAGE}"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  disable_apparmor = true
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = ["/opt/cni/bin"]
  conf_dir = "/etc/cni/net.d"
"#
    )
}
