//! A host as a Kubernetes node: containerd and runc, kubelet, kube-proxy.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use tweed_model::Family;

use crate::kube::cgroup::Cgroup;
use crate::kube::control::{ApiServer, end};
use crate::kube::dns;
use crate::kube::image;
use crate::topology::Host;
use crate::wait::eventually;

/// Where containerd listens on a host.
pub const CONTAINERD: &str = "/run/containerd/containerd.sock";

/// Prepares the host: shared propagation for kubelet, file systems that an overlay may stand on, logs apart from the
/// machine's. kubelet sets some switches of the whole machine: it finds files with the wanted values in their place.
const PREPARE: &str = r#"
mount --make-rshared /
for folder in /var/lib/containerd /var/lib/kubelet /var/log; do
  mkdir -p $folder
  mount -t tmpfs -o mode=755 lab $folder
done
pretend() { mkdir -p /run/.lab/sysctl; echo "$2" >"/run/.lab/sysctl/$1"; mount --bind "/run/.lab/sysctl/$1" "/proc/sys/$(echo "$1" | tr . /)"; }
pretend vm.overcommit_memory 1
pretend vm.panic_on_oom 0
pretend kernel.panic 10
pretend kernel.panic_on_oops 1
pretend kernel.keys.root_maxkeys 1000000
pretend kernel.keys.root_maxbytes 25000000
sysctl -q -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
# As systemd sets it.
sysctl -q -w net.ipv4.ping_group_range='0 2147483647'
rm -f /opt/cni/bin/*
"#;

/// How a node is started.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// `nftables` or `iptables`.
    pub proxy_mode: String,
    /// Whether the node has addresses of both families.
    pub families: Vec<Family>,
    /// Archives to import, besides the lab's own.
    pub images: Vec<PathBuf>,
}

impl Default for NodeOptions {
    fn default() -> Self {
        Self {
            proxy_mode: "nftables".to_owned(),
            families: vec![Family::V4],
            images: Vec::new(),
        }
    }
}

/// A running node. Fields drop in this order: nothing that could start a pod is left when the group goes.
#[derive(Debug)]
pub struct Node<'lab> {
    host: &'lab Host,
    kube: PathBuf,
    options: NodeOptions,
    files: PathBuf,
    kubelet: Option<Child>,
    proxy: Option<Child>,
    containerd: Option<Child>,
    cgroup: Cgroup,
}

impl<'lab> Node<'lab> {
    /// Starts containerd, imports the images, and starts kubelet and kube-proxy. Folders of CNI are empty.
    ///
    /// # Errors
    /// When containerd does not come up.
    pub fn start(api: &ApiServer<'lab>, host: &'lab Host, options: NodeOptions) -> Result<Self> {
        let files = api.folder().join(format!("kube-{}", host.name()));
        fs::create_dir(&files).with_context(|| format!("make {}", files.display()))?;
        host.place().cmd(["sh", "-euc", PREPARE])?;
        let cgroup = Cgroup::new(host.ns().init_pid())?;
        let bind = Cgroup::bind_script();
        host.place()
            .cmd(["sh", "-euc", bind, "bind", cgroup.name()])?;
        let mut node = Self {
            host,
            kube: api.binaries().kube.clone(),
            options,
            files,
            kubelet: None,
            proxy: None,
            containerd: None,
            cgroup,
        };
        node.write_files(api)?;
        node.run_containerd()?;
        for archive in api.images()?.iter().chain(&node.options.images) {
            node.import(archive)?;
        }
        node.run_kubelet()?;
        node.run_proxy()?;
        Ok(node)
    }

    /// The host below.
    pub fn host(&self) -> &'lab Host {
        self.host
    }

    /// The node's name.
    pub fn name(&self) -> &'lab str {
        self.host.name()
    }

    /// Imports an image archive.
    ///
    /// # Errors
    /// When containerd refuses.
    pub fn import(&self, archive: &Path) -> Result<()> {
        let archive = archive.display().to_string();
        self.ctr(&["images", "import", &archive]).map(drop)
    }

    /// Runs `ctr` on the images and containers of Kubernetes.
    ///
    /// # Errors
    /// When it fails.
    pub fn ctr(&self, words: &[&str]) -> Result<String> {
        let mut all = vec!["ctr", "--address", CONTAINERD, "--namespace", "k8s.io"];
        all.extend(words);
        self.host.place().cmd(all)
    }

    /// Starts containerd, again if it runs; pods go on meanwhile.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn run_containerd(&mut self) -> Result<()> {
        if let Some(child) = self.containerd.take() {
            end(child);
        }
        let config = self.files.join("containerd.toml").display().to_string();
        let child = self.launch("containerd", &["containerd", "--config", &config])?;
        self.containerd = Some(child);
        eventually("containerd answers", || self.ctr(&["version"]).map(drop))
    }

    /// Starts kubelet, again if it runs.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn run_kubelet(&mut self) -> Result<()> {
        self.stop_kubelet();
        let file = |name: &str| self.files.join(name).display().to_string();
        let addrs: Vec<_> = self
            .options
            .families
            .iter()
            .filter_map(|family| self.host.addrs.get(*family))
            .map(ToString::to_string)
            .collect();
        let words = [
            self.kube.display().to_string(),
            "kubelet".to_owned(),
            format!("--config={}", file("kubelet.json")),
            format!("--kubeconfig={}", file("kubelet.kubeconfig")),
            format!("--hostname-override={}", self.name()),
            format!("--node-ip={}", addrs.join(",")),
        ];
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        self.kubelet = Some(self.launch("kubelet", &words)?);
        Ok(())
    }

    /// Stops kubelet; pods go on.
    pub fn stop_kubelet(&mut self) {
        if let Some(child) = self.kubelet.take() {
            end(child);
        }
    }

    /// Starts kube-proxy again in another mode, `nftables` or `iptables`; it takes back the rules of the other one.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn use_proxy_mode(&mut self, mode: &str) -> Result<()> {
        mode.clone_into(&mut self.options.proxy_mode);
        self.run_proxy()
    }

    /// Starts kube-proxy, again if it runs.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn run_proxy(&mut self) -> Result<()> {
        if let Some(child) = self.proxy.take() {
            end(child);
        }
        let kubeconfig = self.files.join("proxy.kubeconfig");
        let words = [
            self.kube.display().to_string(),
            "kube-proxy".to_owned(),
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--hostname-override={}", self.name()),
            format!("--proxy-mode={}", self.options.proxy_mode),
            // Both sysctls are the whole machine's.
            "--conntrack-max-per-core=0".to_owned(),
            "--conntrack-min=0".to_owned(),
        ];
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        self.proxy = Some(self.launch("kube-proxy", &words)?);
        Ok(())
    }

    /// Suspends kube-proxy, as on a node that is busy, or resumes it.
    ///
    /// # Errors
    /// When it doesn't run.
    pub fn proxy_stands_still(&self, still: bool) -> Result<()> {
        let proxy = self.proxy.as_ref().context("kube-proxy runs")?;
        let signal = if still {
            Signal::SIGSTOP
        } else {
            Signal::SIGCONT
        };
        kill(Pid::from_raw(proxy.id().cast_signed()), signal)?;
        Ok(())
    }

    fn launch(&self, name: &str, words: &[&str]) -> Result<Child> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.host.log(name))?;
        let [shell, rest @ ..] = Cgroup::enter();
        let mut command = Command::new(shell);
        command
            .args(rest)
            .args(words)
            .stdout(log.try_clone()?)
            .stderr(log);
        self.host.place().spawn(&mut command)
    }

    fn write_files(&self, api: &ApiServer<'_>) -> Result<()> {
        let user = format!("system:node:{}", self.name());
        let kubelet = api.kubeconfig_of(&user, &["system:nodes"])?;
        let proxy = api.kubeconfig_of("system:kube-proxy", &[])?;
        for (from, to) in [(kubelet, "kubelet.kubeconfig"), (proxy, "proxy.kubeconfig")] {
            fs::copy(&from, self.files.join(to))?;
        }
        let authority = api.pki().path("ca.crt");
        let config = kubelet_config(&authority);
        fs::write(self.files.join("kubelet.json"), config.to_string())?;
        fs::write(self.files.join("containerd.toml"), containerd_config())?;
        Ok(())
    }
}

impl Drop for Node<'_> {
    fn drop(&mut self) {
        for child in [&mut self.kubelet, &mut self.proxy, &mut self.containerd] {
            if let Some(child) = child.take() {
                end(child);
            }
        }
        if let Err(error) = self.cgroup.end_processes() {
            eprintln!("node {}: {error:#}", self.name());
        }
    }
}

fn kubelet_config(authority: &Path) -> serde_json::Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": { "x509": { "clientCAFile": authority } },
        "containerRuntimeEndpoint": format!("unix://{CONTAINERD}"),
        "clusterDNS": [dns::ADDR],
        "clusterDomain": dns::DOMAIN,
        "resolvConf": "",
        // Files that a node on a machine of its own has, and a namespace has not.
        "cgroupDriver": "cgroupfs",
        "cgroupsPerQOS": false,
        "enforceNodeAllocatable": [],
        "failCgroupV1": false,
        "failSwapOn": false,
        "evictionHard": {
            "memory.available": "0%",
            "nodefs.available": "0%",
            "nodefs.inodesFree": "0%",
            "imagefs.available": "0%",
            "imagefs.inodesFree": "0%",
        },
        "imageGCHighThresholdPercent": 100,
        // Sooner than usual, so that scenarios wait less.
        "nodeStatusUpdateFrequency": "2s",
        "syncFrequency": "5s",
    })
}

pub(crate) fn containerd_config() -> String {
    let sandbox = image::BUSYBOX;
    format!(
        r#"version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = "{CONTAINERD}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{sandbox}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
    conf_dir = "/etc/cni/net.d"
"#
    )
}
