//! A host for container engines: a control group of its own, file systems on which an overlay may stand, an image, and
//! the list of plugins that clusters have, with all that is chained to it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tweed_model::plugins::{BINARY, LINKS};

use crate::cni::OUR_PLUGINS;
use crate::kube::cgroup::Cgroup;
use crate::kube::image;
use crate::topology::Host;
use crate::wait::eventually;

/// The image of every container: busybox, with a web server's page in `/www`.
pub const IMAGE: &str = image::BUSYBOX;

/// The name of the network.
pub const NETWORK: &str = "cbr0";

const PREPARE: &str = r#"
mount --make-rshared /
for folder in /var/lib/containerd /var/lib/containers /var/log; do
  mkdir -p $folder
  mount -t tmpfs -o mode=755 lab $folder
done
sysctl -q -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
"#;

/// All that attachments leave on a host: reservations, records, what is cached, interfaces, elements, rules.
const LEFT: &str = r#"
cd /var/lib/cni 2>/dev/null && find networks flannel results -type f 2>/dev/null |
  grep -v -e last_reserved_ip -e /lock -e /.index -e /.boot-id || true
ls /run/tweed/cni 2>/dev/null | grep -e json -e firewall || true
ip -o link | grep -o -e 'veth[0-9a-f]*' -e 'bwp[0-9a-f]*' || true
nft list ruleset | grep -o 'comment "cbr0/[^"]*"' || true
nft list ruleset | sed -n 's/.*\(.addr 10\.244\.[0-9.]*\) .*accept.*/\1/p'
"#;

/// A host on which engines run.
#[derive(Debug)]
pub struct Engines<'lab> {
    /// The host below.
    pub host: &'lab Host,
    /// The image as an archive.
    pub image: PathBuf,
    _cgroup: Cgroup,
}

impl<'lab> Engines<'lab> {
    /// Prepares a host, on which an agent runs.
    ///
    /// # Errors
    /// When a file system can't be mounted, or a file not be written.
    pub fn on(host: &'lab Host) -> Result<Self> {
        host.place().cmd(["sh", "-euc", PREPARE])?;
        let cgroup = Cgroup::new(host.ns().init_pid())?;
        let bind = Cgroup::bind_script();
        host.place()
            .cmd(["sh", "-euc", bind, "bind", cgroup.name()])?;
        for plugin in LINKS {
            host.sh(&format!("ln -sfn {BINARY} {OUR_PLUGINS}/{plugin}"))?;
        }
        let engines = Self {
            host,
            image: image::busybox(&host.path("/run/image"))?,
            _cgroup: cgroup,
        };
        engines.network(NETWORK, &list())?;
        Ok(engines)
    }

    /// Writes a network's list of plugins.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn network(&self, name: &str, plugins: &Value) -> Result<()> {
        let list = json!({
            "name": name, "cniVersion": "1.0.0", "cniVersions": ["1.0.0", "1.1.0"], "plugins": plugins,
        });
        let path = self.host.path(format!("/etc/cni/net.d/{name}.conflist"));
        fs::write(&path, list.to_string()).with_context(|| format!("write {}", path.display()))
    }

    /// Runs a program to its end and gives its output.
    ///
    /// # Errors
    /// When it fails.
    pub fn run(&self, words: &[&str]) -> Result<String> {
        let all = Cgroup::enter().into_iter().chain(words.iter().copied());
        let output = self.host.place().cmd(all)?;
        Ok(output.trim().to_owned())
    }

    /// Starts a program, which has this log.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start(&self, log: &str, words: &[&str]) -> Result<Child> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.host.log(log))?;
        let [shell, rest @ ..] = Cgroup::enter();
        let mut command = Command::new(shell);
        let command = command.args(rest).args(words);
        // It can be killed together with the plugins that it runs.
        std::os::unix::process::CommandExt::process_group(command, 0);
        let command = command.stdout(log.try_clone()?).stderr(log);
        self.host.place().spawn(command)
    }

    /// The page of a web server, asked from the host.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn page(&self, url: &str) -> Result<String> {
        let page = self.host.place().cmd(["busybox", "wget", "-qO-", url]);
        Ok(page?.trim().to_owned())
    }

    /// GC of each plugin of our list, as libcni calls it: these containers are valid, each with its `eth0`.
    ///
    /// # Errors
    /// When a plugin fails.
    pub fn gc(&self, valid: &[&str]) -> Result<()> {
        let valid: Vec<Value> = valid
            .iter()
            .map(|id| json!({"containerID": id, "ifname": "eth0"}))
            .collect();
        for plugin in list().as_array().into_iter().flatten() {
            let mut conf = plugin.clone();
            conf["cniVersion"] = "1.1.0".into();
            conf["name"] = NETWORK.into();
            conf["cni.dev/valid-attachments"] = json!(valid);
            let name = plugin["type"].as_str().context("a plugin has a type")?;
            let mut command = Command::new(format!("{OUR_PLUGINS}/{name}"));
            command
                .env("CNI_COMMAND", "GC")
                .env("CNI_PATH", OUR_PLUGINS);
            self.host
                .place()
                .cmd_with(&mut command, &conf.to_string())?;
        }
        Ok(())
    }

    /// What attachments have on the host.
    ///
    /// # Errors
    /// When it can't be listed.
    pub fn left(&self) -> Result<BTreeSet<String>> {
        let lines = self.host.place().cmd(["sh", "-uc", LEFT])?;
        Ok(lines.lines().map(str::to_owned).collect())
    }

    /// Waits until attachments have nothing on the host: the kernel removes what a namespace had in the background.
    ///
    /// # Errors
    /// When something stays.
    pub fn nothing_is_left(&self) -> Result<()> {
        eventually("nothing is left", || {
            let left = self.left()?;
            ensure!(left.is_empty(), "{left:#?}");
            Ok(())
        })
    }
}

fn list() -> Value {
    json!([
        {"type": "tweed", "delegate": {"hairpinMode": true, "isDefaultGateway": true}},
        {"type": "portmap", "capabilities": {"portMappings": true}},
        {"type": "bandwidth", "capabilities": {"bandwidth": true}},
        {"type": "tuning", "sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1"}},
        {"type": "firewall"},
    ])
}
