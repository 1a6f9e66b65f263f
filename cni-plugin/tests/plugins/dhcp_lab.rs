//! A link with a DHCP server at its other end, and our daemon.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tweed_netlink::lab::Namespace;

use super::lab::{Call, Host, Pod, sh};

/// The host's `up0`, at whose other end a namespace has 10.9.0.1 and a server.
pub(crate) struct Link {
    far: Namespace,
}

/// A process that ends with this.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

/// Waits until something holds.
pub(crate) fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < Duration::from_secs(40), "never: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

impl Process {
    pub(crate) fn start(host: &Host, name: &str, mut command: Command) -> Self {
        let log = host.path(&format!("{name}.log"));
        let file = File::options().append(true).create(true).open(&log);
        let file = file.unwrap();
        let (out, err) = (file.try_clone().unwrap(), file);
        let command = command.stdin(Stdio::null()).stdout(out).stderr(err);
        let child = command.spawn().unwrap();
        Self { child, log }
    }

    /// What it has printed, and those before it with the same name.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// How often it has printed a text.
    pub(crate) fn count(&self, text: &str) -> usize {
        self.log().matches(text).count()
    }

    pub(crate) fn wait_for(&self, text: &str) {
        eventually(&format!("{text:?} in {}", self.log()), || {
            self.count(text) > 0
        });
    }

    /// Ends it as systemd does.
    pub(crate) fn stop(&mut self) {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM).unwrap();
        assert!(self.child.wait().unwrap().success(), "{}", self.log());
    }
}

impl Drop for Process {
    /// With kill -9.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Link {
    pub(crate) fn new() -> Self {
        let far = Namespace::new("dhcp");
        let name = far.name();
        sh(&format!(
            "ip link add up0 type veth peer name srv0 netns {name}; ip link set up0 up"
        ));
        far.sh("ip addr add 10.9.0.1/16 dev srv0; ip link set srv0 up; ip link set lo up");
        Self { far }
    }

    fn command(&self, words: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", self.far.name()]);
        command.args(words.split_whitespace());
        command
    }

    /// dnsmasq with addresses from 10.9.1.1 on for two minutes, which is the shortest that it gives.
    pub(crate) fn dnsmasq(&self, host: &Host, more: &str) -> Process {
        let leases = host.path("leases");
        let words = format!(
            "dnsmasq --keep-in-foreground --conf-file=/dev/null --port=0 --interface=srv0 --bind-interfaces \
             --no-ping --dhcp-authoritative --dhcp-range=10.9.1.1,10.9.2.250,255.255.0.0,2m --pid-file= --user=root \
             --dhcp-option=option:router,10.9.0.1 --dhcp-option=option:dns-server,10.9.0.1 --domain=lab.example \
             --dhcp-leasefile={} --log-dhcp --log-facility=- {more}",
            leases.display()
        );
        let server = Process::start(host, "dnsmasq", self.command(&words));
        server.wait_for("sockets bound exclusively");
        server
    }

    /// busybox' udhcpd with addresses from 10.9.1.1 on for so many seconds.
    pub(crate) fn udhcpd(&self, host: &Host, seconds: u32) -> Process {
        self.udhcpd_with(host, seconds, 9)
    }

    /// The same with so many addresses.
    pub(crate) fn udhcpd_with(&self, host: &Host, seconds: u32, addresses: u8) -> Process {
        let conf = host.path("udhcpd.conf");
        let text = format!(
            "start 10.9.1.1\nend 10.9.1.{addresses}\ninterface srv0\nmin_lease {seconds}\nlease_file {}\n\
             option subnet 255.255.0.0\noption router 10.9.0.1\noption lease {seconds}\n",
            host.path("udhcpd.leases").display()
        );
        fs::write(&conf, text).unwrap();
        fs::write(host.path("udhcpd.leases"), "").unwrap();
        let words = format!("busybox udhcpd -f {}", conf.display());
        Process::start(host, "udhcpd", self.command(&words))
    }
}

/// The addresses that dnsmasq has given to clients.
pub(crate) fn given(host: &Host) -> Vec<String> {
    let text = fs::read_to_string(host.path("leases")).unwrap_or_default();
    let addresses = text.lines().filter_map(|line| line.split(' ').nth(2));
    let mut addresses: Vec<String> = addresses.map(str::to_owned).collect();
    addresses.sort();
    addresses
}

/// Our daemon, with a socket and leases in the host's folder.
pub(crate) fn daemon(host: &Host, more: &str) -> Process {
    let program = host.path("bin/dhcp");
    let mut command = Command::new(program);
    let socket = host.path("dhcp.sock");
    command.arg("daemon").arg("-socketpath").arg(&socket);
    command.args(more.split_whitespace());
    let daemon = Process::start(host, "daemon", command);
    eventually("the daemon listens", || {
        std::os::unix::net::UnixStream::connect(&socket).is_ok()
    });
    daemon
}

/// Its files of leases.
pub(crate) fn kept(host: &Host) -> usize {
    let files = fs::read_dir(host.path("dhcp.leases")).unwrap().flatten();
    let is_lease = |name: &str| name.ends_with(".json");
    files
        .filter(|file| is_lease(file.file_name().to_str().unwrap()))
        .count()
}

pub(crate) fn ipam(host: &Host) -> Value {
    json!({"type": "dhcp", "daemonSocketPath": host.path("dhcp.sock")})
}

/// Go's `macvlan` over `up0`, which runs our plugin.
pub(crate) fn macvlan(host: &Host, pod: &Pod) -> Call {
    let conf = json!({
        "cniVersion": "1.0.0", "name": "net", "type": "macvlan", "master": "up0", "ipam": ipam(host),
    });
    let path = host.path("bin");
    host.call("dhcp", conf, pod)
        .of_go_named("macvlan")
        .path(path.to_str().unwrap())
}

/// Our `bridge`, of which `up0` is a port.
pub(crate) fn bridge(host: &Host, pod: &Pod) -> Call {
    let conf = json!({
        "cniVersion": "1.1.0", "name": "net", "type": "bridge", "bridge": "br0",
        "ipam": ipam(host), "stateDir": host.path("run"),
    });
    sh(
        "ip link show br0 >/dev/null 2>&1 || { ip link add br0 type bridge; ip link set br0 up; ip link set up0 master br0; }",
    );
    host.call("bridge", conf, pod)
}

/// The plugin alone, for an interface `eth0` on `up0` that this makes.
pub(crate) fn alone(host: &Host, pod: &Pod) -> Call {
    let conf = json!({"cniVersion": "1.1.0", "name": "net", "type": "macvlan", "ipam": ipam(host)});
    let name = pod.name();
    sh(&format!(
        "ip link add tmp0 link up0 type macvlan mode bridge; ip link set tmp0 netns {name} name eth0"
    ));
    host.call("dhcp", conf, pod)
}
