//! A host (the test's own network namespace), pods (named namespaces), and calls of plugins as runtimes make them.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tweed_model::plugins::{BINARY, LINKS};
use tweed_netlink::lab::Namespace;
pub(crate) use tweed_netlink::lab::sh;

/// Every version, oldest first.
pub(crate) const VERSIONS: [&str; 7] = [
    "0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0",
];

/// The folder of Go's plugins: what `TWEED_GO_PLUGINS` names, or Debian's (1.1.1, which speaks up to 1.0.0).
pub(crate) fn go_folder() -> String {
    std::env::var("TWEED_GO_PLUGINS").unwrap_or_else(|_| "/usr/lib/cni".to_owned())
}

/// A host with our plugins installed, and a folder for everything they keep.
pub(crate) struct Host {
    dir: TempDir,
}

/// A container: nothing but a network namespace with a name.
pub(crate) struct Pod(Namespace);

/// One call of a plugin, ready to be run with any verb.
#[derive(Clone)]
pub(crate) struct Call {
    program: PathBuf,
    conf: Value,
    container_id: String,
    ifname: String,
    netns: String,
    args: String,
    path: String,
}

/// What a plugin answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a test on a host of its own.
pub(crate) fn on_host(test: impl FnOnce(&Host) + Send) {
    tweed_netlink::netns::isolated(|| test(&Host::new()));
}

impl Host {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let bin = dir.path().join("bin");
        fs::create_dir(&bin).unwrap();
        let names = [BINARY, "copy"].into_iter().chain(LINKS);
        for name in names {
            symlink(env!("CARGO_BIN_EXE_tweed"), bin.join(name)).unwrap();
        }
        Self { dir }
    }

    /// A path in the host's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The reservations of a network.
    pub(crate) fn reservations(&self, network: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path("data").join(network)) else {
            return Vec::new();
        };
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names
            .filter(|name| name.parse::<std::net::IpAddr>().is_ok())
            .collect();
        names.sort();
        names
    }

    /// A call of one of our plugins.
    pub(crate) fn call(&self, plugin: &str, conf: Value, pod: &Pod) -> Call {
        Call {
            program: self.path("bin").join(plugin),
            conf,
            container_id: pod.name().to_owned(),
            ifname: "eth0".into(),
            netns: pod.path(),
            args: String::new(),
            path: go_folder(),
        }
    }

    /// An `ipam` object of `host-local` with these subnets, one set each.
    pub(crate) fn ipam(&self, subnets: &[&str]) -> Value {
        let ranges: Vec<Value> = subnets
            .iter()
            .map(|subnet| json!([{"subnet": subnet}]))
            .collect();
        json!({"type": "host-local", "dataDir": self.path("data"), "ranges": ranges})
    }

    /// The same with reservations of their own, in a folder of this name.
    pub(crate) fn ipam_of(&self, folder: &str, subnets: &[&str]) -> Value {
        let mut ipam = self.ipam(subnets);
        ipam["dataDir"] = json!(self.path(folder));
        ipam
    }

    /// A configuration of `bridge` that most tests start from.
    pub(crate) fn bridge_conf(&self, version: &str, subnets: &[&str]) -> Value {
        json!({
            "cniVersion": version, "name": "net", "type": "bridge", "bridge": "cni0",
            "isDefaultGateway": true, "ipam": self.ipam(subnets), "stateDir": self.path("run"),
        })
    }

    /// Writes a program into a folder that then is a `CNI_PATH`.
    pub(crate) fn program(&self, name: &str, script: &str) -> PathBuf {
        let dir = self.path("programs");
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        dir
    }

    /// The names of the host's interfaces, `lo` aside.
    pub(crate) fn links(&self) -> Vec<String> {
        links(&sh("ip -j link"))
    }

    /// The interfaces of the host that are veth ends.
    pub(crate) fn veths(&self) -> Vec<String> {
        let links = self.links();
        links
            .into_iter()
            .filter(|name| name.starts_with("veth"))
            .collect()
    }
}

impl Pod {
    /// A new namespace.
    pub(crate) fn new() -> Self {
        Self(Namespace::new("pod"))
    }

    /// Its name, which is the container's ID unless a test says otherwise.
    pub(crate) fn name(&self) -> &str {
        self.0.name()
    }

    /// `CNI_NETNS`.
    pub(crate) fn path(&self) -> String {
        self.0.path()
    }

    /// Runs a command inside.
    pub(crate) fn sh(&self, command: &str) -> String {
        self.0.sh(command)
    }

    /// The names of its interfaces, `lo` aside.
    pub(crate) fn links(&self) -> Vec<String> {
        links(&self.sh("ip -j link"))
    }

    /// The addresses of an interface, those that the kernel makes up aside.
    pub(crate) fn addrs(&self, ifname: &str) -> Vec<String> {
        global_addrs(&self.sh(&format!("ip -j addr show dev {ifname}")))
    }

    /// Whether one packet comes back from there.
    pub(crate) fn reaches(&self, addr: &str) -> bool {
        self.0.tries(&format!("ping -c1 -W2 {addr}")).0
    }
}

impl Call {
    /// The same call of the Go plugin of that name.
    pub(crate) fn of_go(&self) -> Self {
        let name = self.program.file_name().unwrap().to_str().unwrap();
        self.of_go_named(name)
    }

    /// The same call of a Go plugin.
    pub(crate) fn of_go_named(&self, name: &str) -> Self {
        self.with(|call| call.program = Path::new(&go_folder()).join(name))
    }

    /// The same for another interface.
    pub(crate) fn ifname(&self, ifname: &str) -> Self {
        self.with(|call| call.ifname = ifname.into())
    }

    /// The same for another container.
    pub(crate) fn container_id(&self, id: &str) -> Self {
        self.with(|call| call.container_id = id.into())
    }

    /// The same with another namespace; empty for none.
    pub(crate) fn netns(&self, path: &str) -> Self {
        self.with(|call| call.netns = path.into())
    }

    /// The same with `CNI_ARGS`.
    pub(crate) fn args(&self, args: &str) -> Self {
        self.with(|call| call.args = args.into())
    }

    /// The same with another `CNI_PATH`.
    pub(crate) fn path(&self, path: &str) -> Self {
        self.with(|call| call.path = path.into())
    }

    /// The same with a member of the configuration replaced.
    pub(crate) fn set(&self, key: &str, value: impl Into<Value>) -> Self {
        let value = value.into();
        self.with(|call| call.conf[key] = value)
    }

    /// The same with what an ADD resulted in, as a runtime passes it on.
    pub(crate) fn after(&self, added: &Value) -> Self {
        self.set("prevResult", added.clone())
    }

    /// The same with the attachments that GC shall keep.
    pub(crate) fn valid(&self, attachments: &[(&str, &str)]) -> Self {
        let list: Vec<Value> = attachments
            .iter()
            .map(|(id, ifname)| json!({"containerID": id, "ifname": ifname}))
            .collect();
        self.set("cni.dev/valid-attachments", list)
    }

    fn with(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut call = self.clone();
        change(&mut call);
        call
    }

    /// The process, with its environment, not started.
    pub(crate) fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.program);
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        for (variable, value) in [
            ("CNI_COMMAND", verb),
            ("CNI_CONTAINERID", &self.container_id),
            ("CNI_IFNAME", &self.ifname),
            ("CNI_NETNS", &self.netns),
            ("CNI_ARGS", &self.args),
            ("CNI_PATH", &self.path),
        ] {
            if !value.is_empty() {
                command.env(variable, value);
            }
        }
        command
    }

    /// The configuration.
    pub(crate) fn conf(&self) -> &Value {
        &self.conf
    }

    /// Starts a verb and does not wait for it.
    pub(crate) fn start(&self, verb: &str) -> Child {
        let mut command = self.command(verb);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(self.conf.to_string().as_bytes()).unwrap();
        child
    }

    /// Starts a verb and kills it.
    pub(crate) fn kill_after(&self, verb: &str, time: Duration) {
        let mut child = self.start(verb);
        std::thread::sleep(time);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Runs a verb.
    pub(crate) fn run(&self, verb: &str) -> Answer {
        answer(self.command(verb), &self.conf.to_string())
    }

    /// Runs ADD, which must succeed, and answers its result.
    pub(crate) fn add(&self) -> Value {
        let answer = self.run("ADD");
        assert_eq!(answer.code, 0, "ADD: {answer:?}");
        serde_json::from_str(&answer.stdout).unwrap_or_else(|e| panic!("{e}: {answer:?}"))
    }

    /// Runs a verb without a result, which must succeed and say nothing.
    pub(crate) fn ok(&self, verb: &str) {
        let answer = self.run(verb);
        assert_eq!(answer.code, 0, "{verb}: {answer:?}");
        assert_eq!(answer.stdout, "", "{verb}");
    }

    /// Runs a verb, which must fail, and answers code and text.
    pub(crate) fn fails(&self, verb: &str) -> (u64, String) {
        let answer = self.run(verb);
        assert_ne!(answer.code, 0, "{verb} must fail: {answer:?}");
        answer.error()
    }
}

impl Answer {
    /// Code and text of the error object, which must be the only document.
    pub(crate) fn error(&self) -> (u64, String) {
        let error: Value =
            serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {self:?}"));
        let details = error["details"].as_str().unwrap_or_default();
        let msg = error["msg"].as_str().unwrap();
        (error["code"].as_u64().unwrap(), format!("{msg}; {details}"))
    }
}

/// Runs a process with this on stdin.
pub(crate) fn answer(mut command: Command, stdin: &str) -> Answer {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    // A plugin may answer without reading.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let output = child.wait_with_output().unwrap();
    Answer {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The addresses of an interface of the host, those that the kernel makes up aside.
pub(crate) fn addrs(name: &str) -> Vec<String> {
    global_addrs(&sh(&format!("ip -j addr show dev {name}")))
}

fn global_addrs(json: &str) -> Vec<String> {
    let shown: Value = serde_json::from_str(json).unwrap();
    let infos = shown[0]["addr_info"].as_array().unwrap();
    let global = infos.iter().filter(|info| info["scope"] == "global");
    global
        .map(|info| format!("{}/{}", info["local"].as_str().unwrap(), info["prefixlen"]))
        .collect()
}

fn links(json: &str) -> Vec<String> {
    let links: Value = serde_json::from_str(json).unwrap();
    let names = links.as_array().unwrap().iter();
    let names = names.map(|link| link["ifname"].as_str().unwrap().to_owned());
    names.filter(|name| name != "lo").collect()
}
