//! The host around the agent: what `/proc`, `/run` and the file systems tell of it.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::sys::statvfs::{FsFlags, statvfs};
use tweed_host::sysctl;
use tweed_netlink::Netfilter;
use tweed_nft::live::read::every_chain;

use crate::config::options::Options;
use crate::daemon::status::Status;
use crate::operator::doctor::facts::{Net, Read};
use crate::operator::doctor::surroundings::{Folder, Limit, Proxy, Room, Surroundings};

/// Where kube-proxy tells of its health, unless it is told another port.
const PROXY_HEALTH: u16 = 10_256;
/// The host itself answers at once, or not at all.
const AT_ONCE: Duration = Duration::from_millis(300);

/// Reads all of it. What isn't there is left out.
pub fn read(options: &Options, status: &Status, net: &Read<Net>) -> Surroundings {
    let root = Path::new("/");
    let host = &options.host;
    let plugins = PathBuf::from("/var/lib/cni");
    let run = host.subnet_file.parent().map(Path::to_path_buf);
    let folders = [host.state_dir.clone(), host.run_dir.clone(), plugins];
    let folders = folders.into_iter().chain(run).filter(|path| path.exists());
    let uplink = status.uplink.as_deref().unwrap_or_default();
    let (limits, killed) = match status.pid {
        Some(pid) => (limits(root, pid), killed(root, pid)),
        None => (Vec::new(), 0),
    };
    Surroundings {
        folders: folders.map(folder).collect(),
        future: future(&[&host.state_dir, &host.subnet_file]),
        kept: net.as_ref().map(|net| kept(root, net)).unwrap_or_default(),
        removes_routes: removes_routes(root),
        limits,
        killed,
        strict: strict(uplink),
        ipv6_off: [
            format!("net/ipv6/conf/{uplink}/disable_ipv6"),
            "net/ipv6/conf/all/disable_ipv6".to_owned(),
        ]
        .iter()
        .any(|key| number(key) == Some(1)),
        proxy: Proxy {
            rules: has_proxy_rules(),
            answers: TcpStream::connect_timeout(
                &SocketAddr::from((Ipv4Addr::LOCALHOST, PROXY_HEALTH)),
                AT_ONCE,
            )
            .is_ok(),
        },
    }
}

fn folder(path: PathBuf) -> Folder {
    let room = statvfs(&path).map_err(|error| format!("{}: {error}", path.display()));
    let percent = |free: u64, all: u64| (free * 100).checked_div(all).unwrap_or(100);
    let room = room.map(|found| Room {
        bytes: found.blocks_available() * found.fragment_size(),
        free: percent(found.blocks_available(), found.blocks())
            .min(percent(found.files_available(), found.files())),
        read_only: found.flags().contains(FsFlags::ST_RDONLY),
    });
    Folder { path, room }
}

/// By how much the newest of these files, or of those in these folders, lies in the future.
fn future(places: &[&Path]) -> Option<Duration> {
    let now = SystemTime::now();
    let inside = |place: &Path| {
        let entries = fs::read_dir(place).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let files = places
        .iter()
        .flat_map(|place| [vec![place.to_path_buf()], inside(place)].concat());
    let times = files.filter_map(|file| fs::metadata(file).ok()?.modified().ok());
    times.filter_map(|time| time.duration_since(now).ok()).max()
}

/// Interfaces of the overlay and the pods that a service of the host is to configure: the service's own files say so.
fn kept(root: &Path, net: &Net) -> BTreeMap<String, &'static str> {
    let own = |link: &&tweed_netlink::LinkInfo| {
        let port_of = |master: u32| net.name(master) == tweed_nft::POD_BRIDGE;
        tweed_state::instance_of(&link.alias).is_some()
            || link.name == tweed_nft::POD_BRIDGE
            || link.master.is_some_and(port_of)
    };
    let keeper = |index: u32| {
        let text = |folder: &str| {
            fs::read_to_string(root.join(folder).join(index.to_string())).unwrap_or_default()
        };
        let has =
            |text: &str, lines: &[&str]| text.lines().any(|line| lines.contains(&line.trim()));
        let networkd = text("run/systemd/netif/links");
        let configured = [
            "ADMIN_STATE=configured",
            "ADMIN_STATE=configuring",
            "ADMIN_STATE=failed",
        ];
        // `full`: NetworkManager has a connection of its own on it; external ones it only shows.
        if has(&networkd, &configured) {
            Some("systemd-networkd")
        } else if has(&text("run/NetworkManager/devices"), &["managed=full"]) {
            Some("NetworkManager")
        } else {
            None
        }
    };
    let all = net.links.iter().filter(own);
    all.filter_map(|link| Some((link.name.clone(), keeper(link.index)?)))
        .collect()
}

/// Whether systemd-networkd runs and is not told to leave the routes of others alone.
fn removes_routes(root: &Path) -> bool {
    if !root.join("run/systemd/netif/state").exists() {
        return false;
    }
    let folders = ["etc", "run", "usr/lib"].map(|place| root.join(place).join("systemd"));
    let files = folders.iter().flat_map(|folder| {
        let parts = fs::read_dir(folder.join("networkd.conf.d"))
            .into_iter()
            .flatten()
            .flatten();
        parts
            .map(|part| part.path())
            .chain([folder.join("networkd.conf")])
    });
    let says_no = |file: PathBuf| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let value = |line: &str| {
            line.trim()
                .strip_prefix("ManageForeignRoutes=")
                .map(str::to_owned)
        };
        text.lines()
            .filter_map(value)
            .any(|value| ["no", "false", "0", "off"].contains(&value.trim()))
    };
    !files.into_iter().any(says_no)
}

/// Open files and memory of the agent, where they are limited.
fn limits(root: &Path, pid: u32) -> Vec<Limit> {
    let process = root.join("proc").join(pid.to_string());
    let files = || {
        let text = fs::read_to_string(process.join("limits")).ok()?;
        let line = text
            .lines()
            .find(|line| line.starts_with("Max open files"))?;
        Some(Limit {
            what: "open files",
            used: fs::read_dir(process.join("fd")).ok()?.count() as u64,
            most: line.split_whitespace().nth(3)?.parse().ok()?,
        })
    };
    let memory = || {
        let group = group(root, pid)?;
        let number = |name: &str| {
            fs::read_to_string(group.join(name))
                .ok()?
                .trim()
                .parse()
                .ok()
        };
        Some(Limit {
            what: "bytes of memory",
            used: number("memory.current")?,
            most: number("memory.max")?,
        })
    };
    [files(), memory()].into_iter().flatten().collect()
}

/// The folder of the agent's control group.
fn group(root: &Path, pid: u32) -> Option<PathBuf> {
    let text = fs::read_to_string(root.join(format!("proc/{pid}/cgroup"))).ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(root.join("sys/fs/cgroup").join(path))
}

fn killed(root: &Path, pid: u32) -> u64 {
    let count = || {
        let text = fs::read_to_string(group(root, pid)?.join("memory.events")).ok()?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("oom_kill "))?;
        line.trim().parse().ok()
    };
    count().unwrap_or(0)
}

fn number(key: &str) -> Option<u64> {
    sysctl::read(key).ok()??.trim().parse().ok()
}

/// The kernel takes the higher of the two.
fn strict(uplink: &str) -> bool {
    let of = |name: &str| number(&format!("net/ipv4/conf/{name}/rp_filter")).unwrap_or(0);
    of("all").max(of(uplink)) == 1
}

fn has_proxy_rules() -> bool {
    let chains = Netfilter::open()
        .ok()
        .and_then(|mut socket| every_chain(&mut socket).ok());
    let mut chains = chains.into_iter().flatten();
    chains.any(|(table, chain)| table == "kube-proxy" || chain == "KUBE-SERVICES")
}
