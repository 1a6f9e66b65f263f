//! Podman with the network backend `cni`, on a host of its own: it has no daemon, and keeps all in files.

use std::fs;
use std::process::Child;

use anyhow::{Context, Result};

use crate::cni::OUR_PLUGINS;
use crate::engine::Engines;

const STORAGE: &str = r#"
[storage]
driver = "vfs"
graphroot = "/var/lib/containers/storage"
runroot = "/run/containers/storage"
"#;

/// Podman as configured on a host.
#[derive(Debug)]
pub struct Podman<'e, 'lab> {
    engines: &'e Engines<'lab>,
}

impl<'e, 'lab> Podman<'e, 'lab> {
    /// Configures it, and loads the image.
    ///
    /// # Errors
    /// When it can't load it.
    pub fn on(engines: &'e Engines<'lab>) -> Result<Self> {
        let folder = engines.host.path("/etc/containers");
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("containers.conf"), configuration())?;
        fs::write(folder.join("storage.conf"), STORAGE)?;
        let podman = Self { engines };
        podman.run(&["load", "--input", "/run/image/image.tar"])?;
        Ok(podman)
    }

    /// Runs a command.
    ///
    /// # Errors
    /// When it fails.
    pub fn run(&self, words: &[&str]) -> Result<String> {
        let all: Vec<&str> = ["podman"].iter().chain(words).copied().collect();
        self.engines.run(&all)
    }

    /// Starts a command and doesn't wait for it.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start(&self, words: &[&str]) -> Result<Child> {
        let all: Vec<&str> = ["podman"].iter().chain(words).copied().collect();
        self.engines.start("podman", &all)
    }

    /// The address of a container in a network.
    ///
    /// # Errors
    /// When it has none.
    pub fn addr(&self, container: &str, network: &str) -> Result<String> {
        let format = format!("{{{{.NetworkSettings.Networks.{network}.IPAddress}}}}");
        let addr = self.run(&["inspect", "--format", &format, container])?;
        (!addr.is_empty())
            .then_some(addr)
            .with_context(|| format!("{container} has no address in {network}"))
    }
}

impl Drop for Podman<'_, '_> {
    fn drop(&mut self) {
        let _ = self.run(&["rm", "--force", "--all", "--time", "0"]);
    }
}

fn configuration() -> String {
    format!(
        r#"
[network]
network_backend = "cni"
cni_plugin_dirs = ["{OUR_PLUGINS}"]
network_config_dir = "/etc/cni/net.d"
default_network = "cbr0"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
"#
    )
}
