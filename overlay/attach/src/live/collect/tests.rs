use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use tempfile::TempDir;
use tweed_netlink::lab::ip;
use tweed_netlink::netns::isolated;

use super::*;
use crate::record::file_name;
use crate::reservation::Note;
use crate::{Record, sha512_hex};

/// A host's folders, in one file system.
struct Host(TempDir);

impl Host {
    fn new() -> Self {
        let host = Self(tempfile::tempdir().unwrap());
        for folder in [
            "records",
            "results",
            "netns",
            "networks/n/.netns",
            "networks/other",
        ] {
            fs::create_dir_all(host.path(folder)).unwrap();
        }
        fs::write(host.path("networks/n/lock"), "").unwrap();
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn scope(&self) -> Scope {
        Scope {
            networks: ["n".to_owned()].into(),
            reservations: [self.path("networks")].into(),
            records: self.path("records"),
            results: self.path("results"),
        }
    }

    fn reserve(&self, network: &str, addr: &str, id: &str) -> PathBuf {
        let path = self.path(&format!("networks/{network}/{addr}"));
        fs::write(&path, format!("{id}\r\neth0")).unwrap();
        path
    }

    /// A note, as our `host-local` writes it in a mount namespace.
    fn note(&self, addr: &str, id: &str, mounts: &str, netns: &Path) {
        let note = Note {
            container_id: id,
            ifname: "eth0",
            mounts,
            netns: netns.to_str().unwrap(),
        };
        let path = self.path(&format!("networks/n/.netns/{addr}"));
        fs::write(path, note.render().unwrap()).unwrap();
    }

    /// The file that the runtime's library keeps.
    fn result(&self, id: &str, netns: &Path) {
        let text = json!({
            "kind": "cniCacheV1", "containerId": id, "config": "", "ifName": "eth0", "networkName": "n",
            "result": {"interfaces": [{"name": "br0"}, {"name": format!("v{id}")}, {"name": "eth0", "sandbox": netns}]},
        });
        fs::write(self.path(&format!("results/n-{id}-eth0")), text.to_string()).unwrap();
    }

    fn record(&self, id: &str, netns: &Path) {
        let record = Record {
            network: "n".into(),
            container_id: id.into(),
            ifname: "eth0".into(),
            masquerade: Vec::new(),
            bridged: None,
            routed: None,
            netns: netns.to_string_lossy().into_owned(),
        };
        let path = self.path("records").join(file_name(&record.owner()));
        fs::write(path, record.render()).unwrap();
    }

    /// Two collections, as the agent makes them.
    fn collect(&self) -> Collected {
        let first = collect(&self.scope(), &BTreeSet::new());
        assert_eq!(first.total(), 0, "one look is not enough");
        collect(&self.scope(), &first.gone)
    }
}

fn own_mounts() -> String {
    let mounts = fs::read_link("/proc/thread-self/ns/mnt").unwrap();
    mounts.to_string_lossy().into_owned()
}

#[test]
fn addresses_of_containers_that_are_surely_gone_are_released_and_no_others() {
    isolated(|| {
        let host = Host::new();
        let gone = host.path("netns/gone");
        let alive = Path::new("/proc/self/ns/net");
        let file = host.path("netns/file");
        fs::write(&file, "").unwrap();
        let unseen = Path::new("/nowhere/at/all");

        let released = [
            host.reserve("n", "10.0.0.1", "result"),
            host.reserve("n", "10.0.0.2", "record"),
            host.reserve("n", "10.0.0.3", "note"),
            host.reserve("n", "10.0.0.4", "elsewhere"),
            host.reserve("n", "fd00::1", "record"),
        ];
        host.result("result", &gone);
        host.record("record", &gone);
        host.note("10.0.0.3", "note", &own_mounts(), unseen);
        host.note("10.0.0.4", "elsewhere", "mnt:[1]", &gone);
        fs::write(host.path("networks/n/.index"), "").unwrap();

        let kept = [
            host.reserve("n", "10.0.1.1", "alive"),
            host.reserve("n", "10.0.1.2", "nothing-known"),
            host.reserve("n", "10.0.1.3", "unseen"),
            host.reserve("n", "10.0.1.4", "a-file-without-its-mount"),
            host.reserve("n", "10.0.1.5", "two-paths"),
            host.reserve("n", "10.0.1.6", "unseen-note"),
            host.reserve("n", "10.0.1.7", "docker"),
            host.reserve("other", "10.0.0.1", "result"),
        ];
        host.record("alive", alive);
        host.record("unseen", unseen);
        host.record("a-file-without-its-mount", &file);
        host.record("two-paths", &gone);
        host.result("two-paths", alive);
        host.note("10.0.1.6", "unseen-note", "mnt:[1]", unseen);
        host.record("docker", Path::new("/proc/999999999/ns/net"));

        let collected = host.collect();
        assert_eq!(collected.errors, [""; 0]);
        assert_eq!(collected.addresses, 5);
        assert!(released.iter().all(|path| !path.exists()));
        assert!(kept.iter().all(|path| path.exists()));
        assert!(!host.path("networks/n/.netns/10.0.0.3").exists());
        assert!(!host.path("networks/n/.index").exists());
        assert!(host.path("results/n-result-eth0").exists(), "the runtime's");
        assert_eq!(host.collect().total(), 0);
    });
}

#[test]
fn a_container_whose_interface_has_an_end_on_the_host_lives() {
    isolated(|| {
        let host = Host::new();
        let gone = host.path("netns/gone");
        for id in ["a", "b", "c"] {
            host.result(id, &gone);
        }
        let files = ["a", "b", "c"]
            .map(|id| host.reserve("n", &format!("10.0.0.{}", id.as_bytes()[0]), id));
        // By the name in the result, and by the alias of ours; a bridge and a device that limits are no sign.
        ip("link add va type veth peer name x");
        ip("link add w type veth peer name y");
        ip("link set w alias n/b/eth0");
        ip("link add br0 type bridge");
        ip("link add bwp1 type ifb");
        ip("link set bwp1 alias n/c/eth0");
        let collected = host.collect();
        assert_eq!((collected.addresses, collected.devices), (1, 1));
        assert_eq!(files.map(|path| path.exists()), [true, true, false]);
    });
}

#[test]
fn devices_that_limit_go_with_their_container_be_they_gos() {
    isolated(|| {
        let host = Host::new();
        let gone = host.path("netns/gone");
        host.result("dead", &gone);
        host.result("live", Path::new("/proc/self/ns/net"));
        let go = |id: &str| format!("bwp{}", sha512_hex(&format!("n{id}"), 12));
        for (name, alias) in [
            (go("dead").as_str(), ""),
            (&go("live"), ""),
            ("bwp1", "n/dead/eth0"),
            ("bwp2", "n/live/eth0"),
            ("bwp3", "n/unknown/eth0"),
            ("ifb7", ""),
        ] {
            ip(&format!("link add {name} type ifb"));
            if !alias.is_empty() {
                ip(&format!("link set {name} alias {alias}"));
            }
        }
        assert_eq!(host.collect().devices, 2);
        let links = Netlink::open().unwrap().links().unwrap();
        let left: BTreeSet<String> = links.into_iter().map(|link| link.name).collect();
        assert!(!left.contains(&go("dead")) && !left.contains("bwp1"));
        for name in [go("live").as_str(), "bwp2", "bwp3", "ifb7"] {
            assert!(left.contains(name), "{name}");
        }
    });
}

#[test]
fn what_cannot_be_removed_is_named() {
    isolated(|| {
        let host = Host::new();
        host.result("dead", &host.path("netns/gone"));
        host.reserve("n", "10.0.0.1", "dead");
        fs::remove_file(host.path("networks/n/lock")).unwrap();
        let collected = host.collect();
        assert_eq!(collected.addresses, 0);
        assert!(
            collected.errors[0].contains("networks/n: "),
            "{:?}",
            collected.errors
        );
    });
}
