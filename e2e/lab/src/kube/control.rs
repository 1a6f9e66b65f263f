//! The control plane, in the switch's namespace: etcd, the API server, and what a scenario adds to them.

use std::cell::OnceCell;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::etcd::{self, Etcd};
use crate::kube::binaries::KubeBinaries;
use crate::kube::image;
use crate::kube::pki::Pki;
use crate::launch::{NETWORK, NETWORK_V6};
use crate::topology::Lab;
use crate::wait::timed;

/// The port of the API server.
pub const PORT: u16 = 6443;
/// Service networks; the first address of the first is that of the API server's own service.
pub const SERVICES: &str = "10.96.0.0/16,fd00:10:96::/112";
/// The API server's own service.
pub const API_SERVICE: &str = "10.96.0.1";

/// Long enough for an API server on a busy machine.
const STARTS: Duration = Duration::from_secs(60);

/// etcd and an API server, with or without the rest of a control plane. Fields drop in this order: the store last.
#[derive(Debug)]
pub struct ApiServer<'lab> {
    lab: &'lab Lab,
    binaries: KubeBinaries,
    pki: Pki,
    admin: PathBuf,
    images: OnceCell<Vec<PathBuf>>,
    controllers: Option<Child>,
    scheduler: Option<Child>,
    child: Option<Child>,
    flags: Vec<String>,
    etcd: Etcd<'lab>,
}

/// How the controller manager gives pod subnets to nodes.
#[derive(Clone, Debug)]
pub struct Controllers {
    /// `--allocate-node-cidrs`.
    pub allocate: bool,
    /// The cluster's pod networks.
    pub networks: String,
    /// Further flags.
    pub flags: Vec<String>,
}

impl Default for Controllers {
    fn default() -> Self {
        Self {
            allocate: true,
            networks: NETWORK.to_owned(),
            flags: Vec::new(),
        }
    }
}

impl Controllers {
    /// Subnets of both families, /24 and /64, to each node.
    pub fn dual() -> Self {
        Self {
            networks: format!("{NETWORK},{NETWORK_V6}"),
            ..Self::default()
        }
    }

    /// Nodes get no pod subnets.
    pub fn without_allocation() -> Self {
        Self {
            allocate: false,
            ..Self::default()
        }
    }
}

impl<'lab> ApiServer<'lab> {
    /// Starts an empty etcd and an API server on it, and waits until that is ready.
    ///
    /// # Errors
    /// When one does not come up.
    pub fn start(lab: &'lab Lab) -> Result<Self> {
        Self::start_with(lab, Vec::new())
    }

    /// The same, with these flags for the API server beside those that it needs.
    ///
    /// # Errors
    /// When one does not come up.
    pub fn start_with(lab: &'lab Lab, flags: Vec<String>) -> Result<Self> {
        let binaries = KubeBinaries::locate()?;
        let pki = Pki::new(lab.folder.path().join("pki"))?;
        let mut names: Vec<_> = ["", ".default", ".default.svc", ".default.svc.cluster.local"]
            .map(|domain| format!("DNS:kubernetes{domain}"))
            .into();
        names.extend([API_SERVICE, "127.0.0.1", &address()].map(|addr| format!("IP:{addr}")));
        pki.sign("apiserver", "/CN=kube-apiserver", &names)?;
        let admin = pki.kubeconfig("admin", &["system:masters"], &Self::url())?;
        let mut server = Self {
            lab,
            binaries,
            pki,
            admin,
            images: OnceCell::new(),
            controllers: None,
            scheduler: None,
            child: None,
            flags,
            etcd: Etcd::start(lab)?,
        };
        server.resume()?;
        Ok(server)
    }

    /// Where clients on the hosts find it.
    pub fn url() -> String {
        format!("https://{}:{PORT}", address())
    }

    /// A kubeconfig with all rights, readable from every host.
    pub fn kubeconfig(&self) -> &Path {
        &self.admin
    }

    /// Makes a kubeconfig of another user; a node's is `system:node:<name>` in group `system:nodes`.
    ///
    /// # Errors
    /// When no certificate can be made.
    pub fn kubeconfig_of(&self, user: &str, groups: &[&str]) -> Result<PathBuf> {
        self.pki.kubeconfig(user, groups, &Self::url())
    }

    /// The certificates.
    pub fn pki(&self) -> &Pki {
        &self.pki
    }

    /// The Kubernetes binaries.
    pub fn binaries(&self) -> &KubeBinaries {
        &self.binaries
    }

    /// The lab's folder, which every host sees.
    pub fn folder(&self) -> &Path {
        self.lab.folder.path()
    }

    /// Archives of the lab's images, made when first asked for.
    ///
    /// # Errors
    /// When they cannot be made.
    pub fn images(&self) -> Result<&[PathBuf]> {
        if self.images.get().is_none() {
            let archives = image::make(&self.folder().join("images"), &self.binaries)?;
            let _ = self.images.set(archives);
        }
        Ok(self.images.get().map_or(&[], Vec::as_slice))
    }

    /// The etcd below.
    pub fn etcd(&mut self) -> &mut Etcd<'lab> {
        &mut self.etcd
    }

    /// Runs kubectl as the administrator and gives its output.
    ///
    /// # Errors
    /// When it fails.
    pub fn kubectl(&self, words: &[&str]) -> Result<String> {
        self.kubectl_with(&self.admin, words, "")
    }

    /// Runs kubectl with this kubeconfig and input.
    ///
    /// # Errors
    /// When it fails.
    pub fn kubectl_with(&self, kubeconfig: &Path, words: &[&str], input: &str) -> Result<String> {
        let mut command = self.command("kubectl");
        command
            .arg(format!("--kubeconfig={}", kubeconfig.display()))
            .arg(format!(
                "--cache-dir={}",
                self.pki.path("kubectl-cache").display()
            ))
            .args(words);
        self.lab.switch.place().cmd_with(&mut command, input)
    }

    /// Applies objects given as YAML or JSON.
    ///
    /// # Errors
    /// When they are refused.
    pub fn apply(&self, objects: &str) -> Result<()> {
        self.kubectl_with(&self.admin, &["apply", "-f", "-"], objects)
            .map(drop)
    }

    /// An object, or a list of them, as JSON: `get(&["node", "host1"])`.
    ///
    /// # Errors
    /// When there is none.
    pub fn get(&self, words: &[&str]) -> Result<Value> {
        let mut all = vec!["get", "--output=json"];
        all.extend(words);
        Ok(serde_json::from_str(&self.kubectl(&all)?)?)
    }

    /// Starts the API server again over the same etcd.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn resume(&mut self) -> Result<()> {
        let file = |name: &str| self.pki.path(name).display().to_string();
        let mut command = self.command("kube-apiserver");
        command
            .arg(format!("--etcd-servers=http://127.0.0.1:{}", etcd::PORT))
            .arg(format!("--advertise-address={}", address()))
            .arg(format!("--secure-port={PORT}"))
            .arg(format!("--service-cluster-ip-range={SERVICES}"))
            .arg(format!("--tls-cert-file={}", file("apiserver.crt")))
            .arg(format!("--tls-private-key-file={}", file("apiserver.key")))
            .arg(format!("--client-ca-file={}", file("ca.crt")))
            .arg(format!(
                "--kubelet-client-certificate={}",
                file("admin.crt")
            ))
            .arg(format!("--kubelet-client-key={}", file("admin.key")))
            .arg("--kubelet-preferred-address-types=InternalIP")
            .arg("--service-account-issuer=https://kubernetes.default.svc")
            .arg(format!("--service-account-key-file={}", file("tokens.pub")))
            .arg(format!(
                "--service-account-signing-key-file={}",
                file("tokens.key")
            ))
            .arg("--authorization-mode=Node,RBAC")
            .arg("--enable-admission-plugins=NodeRestriction")
            .args(["--allow-privileged", "--profiling=false"])
            .args(&self.flags);
        self.child = Some(self.launch(&mut command, "kube-apiserver")?);
        timed("the API server is ready", STARTS, || {
            self.kubectl(&["get", "--raw=/readyz"])
        })?;
        Ok(())
    }

    /// Stops the API server; etcd goes on.
    ///
    /// # Errors
    /// When it isn't running.
    pub fn stop(&mut self) -> Result<()> {
        let child = self.child.take().context("the API server is not running")?;
        end(child);
        Ok(())
    }

    /// Starts the controller manager, or starts it again with other settings.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn run_controllers(&mut self, controllers: &Controllers) -> Result<()> {
        if let Some(child) = self.controllers.take() {
            end(child);
        }
        let tokens = self.pki.path("tokens.key");
        let authority = self.pki.path("ca.crt");
        let mut command = self.command("kube-controller-manager");
        command
            .arg(format!("--kubeconfig={}", self.admin.display()))
            .arg("--use-service-account-credentials")
            .arg(format!(
                "--service-account-private-key-file={}",
                tokens.display()
            ))
            .arg(format!("--root-ca-file={}", authority.display()))
            .arg(format!("--allocate-node-cidrs={}", controllers.allocate))
            .arg(format!("--cluster-cidr={}", controllers.networks))
            .arg(format!("--service-cluster-ip-range={SERVICES}"))
            .args(["--leader-elect=false", "--profiling=false"])
            .args(&controllers.flags);
        self.controllers = Some(self.launch(&mut command, "kube-controller-manager")?);
        Ok(())
    }

    /// Starts the scheduler.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn run_scheduler(&mut self) -> Result<()> {
        let mut command = self.command("kube-scheduler");
        command
            .arg(format!("--kubeconfig={}", self.admin.display()))
            .args(["--leader-elect=false", "--profiling=false"]);
        self.scheduler = Some(self.launch(&mut command, "kube-scheduler")?);
        Ok(())
    }

    fn command(&self, component: &str) -> Command {
        let mut command = Command::new(&self.binaries.kube);
        command.arg(component);
        command
    }

    fn launch(&self, command: &mut Command, name: &str) -> Result<Child> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.lab.folder.path().join(format!("{name}.log")))?;
        command.stdout(log.try_clone()?).stderr(log);
        self.lab.switch.place().spawn(command)
    }
}

impl Drop for ApiServer<'_> {
    fn drop(&mut self) {
        for child in [&mut self.scheduler, &mut self.controllers, &mut self.child] {
            if let Some(child) = child.take() {
                end(child);
            }
        }
    }
}

/// The address at which the switch is known to hosts on segment 0.
fn address() -> String {
    let addr = Lab::gateway(0).v4.expect("segment 0 has IPv4");
    addr.to_string()
}

/// Ends a component at once. An API server that is asked to stop would first serve its watches to their end.
pub(crate) fn end(mut child: Child) {
    let _ = child.kill();
    let _ = child.wait();
}
