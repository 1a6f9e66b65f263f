//! Against a real kernel, in a namespace of the test's own.

use tempfile::TempDir;
use tweed_model::{Dual, Identity, Mac, wire};
use tweed_netlink::lab::{ip, run};
use tweed_netlink::netns::isolated;

use super::*;
use crate::config::cli::{self, OutputArgs};
use crate::files::state_dir::{SavedLease, StateDir};
use crate::fixture;

mod hand_back;

const CONFIG: &str = r#"{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}"#;

fn args(dry_run: bool, purge: bool) -> CleanupArgs {
    CleanupArgs {
        dry_run,
        purge,
        stay: false,
        hand_back: false,
        output: OutputArgs::default(),
    }
}

/// A host whose agent has stopped: state folder, `subnet.env`, a folder as a store with one peer, and the kernel as the
/// agent left it.
struct Stopped {
    dir: TempDir,
    options: Options,
}

impl Stopped {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let options = fixture::options_in(dir.path(), &[("iface", "uplink".to_owned())]);
        Self { dir, options }
    }

    fn save_state(&self) {
        let state = StateDir::open(&self.options.host.state_dir).expect("a state folder");
        let lease = fixture::lease("10.5.1.0-24", "192.0.2.1", "02:00:00:00:00:01");
        state
            .save_lease(&SavedLease::new(&lease, CONFIG, Dual::default()))
            .expect("saved");
        let identity = Identity {
            vtep_mac: Mac([2, 0, 0, 0, 0, 1]),
            vtep_mac_v6: Mac([2, 0, 0, 0, 0, 2]),
        };
        state.save_identity(&identity).expect("saved");
        let subnets = self.dir.path().join("store/subnets");
        std::fs::create_dir_all(&subnets).expect("made");
        let peer = fixture::lease("10.5.2.0-24", "192.0.2.2", "02:00:00:00:00:03");
        let value = wire::format_attrs(&peer.attrs);
        std::fs::write(subnets.join("10.5.2.0-24.json"), value).expect("written");
        std::fs::write(self.dir.path().join("store/config"), CONFIG).expect("written");
        std::fs::write(&self.options.host.subnet_file, "FLANNEL_MTU=1450\n").expect("written");
    }

    /// What the agent would have programmed.
    fn program(&self) {
        let want = runtime::block_on(offline::wanted(&self.options)).expect("a wanted state");
        let mut reconciler = Reconciler::new(Linux::open().expect("sockets"));
        let outcome = reconciler
            .full(&Arc::new(want), Instant::now())
            .expect("a pass");
        assert!(outcome.is_clean(), "{outcome:?}");
    }
}

fn uplink() {
    ip("link add uplink type veth peer name far");
    ip("link set far up");
    ip("link set uplink up");
    ip("addr add 192.0.2.1/24 dev uplink");
}

fn tables() -> String {
    run("nft list tables")
}

#[test]
fn what_the_agent_left_is_removed_and_the_rest_of_the_host_stays() {
    isolated(|| {
        uplink();
        let host = Stopped::new();
        host.save_state();
        host.program();
        ip("link add cni0 type bridge");
        ip("route add 198.51.100.0/24 via 192.0.2.9");
        assert!(
            ip("route").contains(" via 10.5.2.0 dev flannel.1"),
            "{}",
            ip("route")
        );
        assert!(tables().contains("inet tweed"));

        let planned = clean(&host.options, &args(true, false)).expect("a dry run");
        assert!(ip("link").contains("flannel.1"));
        assert!(host.options.host.subnet_file.exists());

        let report = clean(&host.options, &args(false, false)).expect("cleaned");
        assert_eq!(report.changes, planned.changes);
        assert_eq!(report.failed, [""; 0]);
        assert_eq!(report.files, [host.options.host.subnet_file.as_path()]);
        assert!(!ip("link").contains("flannel.1"));
        assert!(!ip("route").contains("10.5."), "{}", ip("route"));
        assert!(!tables().contains("tweed"));
        assert!(ip("link").contains("cni0") && ip("route").contains("198.51.100.0/24"));
        assert!(host.options.host.state_dir.join("identity.json").exists());

        let again = clean(&host.options, &args(false, true)).expect("cleaned");
        assert_eq!(again.changes, [""; 0]);
        assert_eq!(again.files, [host.options.host.state_dir.as_path()]);
        assert!(!host.options.host.state_dir.exists());
    });
}

#[test]
fn without_saved_state_what_carries_our_name_is_removed_with_a_warning() {
    isolated(|| {
        uplink();
        let host = Stopped::new();
        host.save_state();
        host.program();
        std::fs::remove_dir_all(&host.options.host.state_dir).expect("removed");
        let report = clean(&host.options, &args(false, false)).expect("cleaned");
        assert!(
            report.warnings[0].contains("is not known"),
            "{:?}",
            report.warnings
        );
        assert!(!ip("link").contains("flannel.1"));
        assert!(!tables().contains("tweed"));
    });
}

#[test]
fn nothing_is_removed_while_an_agent_runs() {
    isolated(|| {
        uplink();
        let host = Stopped::new();
        host.save_state();
        host.program();
        let names = &host.options.host;
        let _agent = Lock::acquire(&names.run_dir, &names.instance).expect("held");
        let error = clean(&host.options, &args(false, false))
            .expect_err("refused")
            .to_string();
        assert!(
            error.contains(&format!("pid {}", std::process::id())),
            "{error}"
        );
        assert!(ip("link").contains("flannel.1"));
        clean(&host.options, &args(true, false)).expect("a dry run disturbs nobody");
    });
}

#[test]
fn a_host_that_never_had_an_agent_has_nothing_to_clean() {
    isolated(|| {
        let host = Stopped::new();
        let report = clean(&host.options, &args(false, true)).expect("cleaned");
        assert_eq!((report.changes.len(), report.files.len()), (0, 0));
        assert_eq!(words(&report), "nothing to do\n");
    });
}

#[test]
fn the_command_takes_the_flags_of_the_agent() {
    let words = ["tweedd", "cleanup", "--dry-run", "-etcd-prefix=/x"];
    let invocation = cli::read(words.map(Into::into)).expect("understood");
    let cli::Command::Cleanup { args, flags } = invocation.command else {
        panic!("another command");
    };
    assert!(args.dry_run && !args.purge);
    assert_eq!(flags.0.0["etcd-prefix"], ["/x"]);
}

/// A host whose agent has placed a list and a plugin, with a pod attached to the bridge.
fn with_plugins() -> (TempDir, Options) {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let plugins = [
        ("install-cni", "true".to_owned()),
        ("cni-bin-dir", path("bin")),
        ("cni-conf-dir", path("net.d")),
    ];
    let options = fixture::options_in(dir.path(), &plugins);
    let list = r#"{"name":"cbr0","plugins":[{"type":"tweed"}]}"#;
    let (bin, conf) = (dir.path().join("bin"), dir.path().join("net.d"));
    let mut folder =
        crate::files::cni::Folder::open(&bin, crate::files::cni::Replace::Ours).expect("opened");
    folder.file("tweed", b"plugin", 0o755).expect("placed");
    folder.link("bridge").expect("linked");
    std::fs::write(bin.join("portmap"), "somebody's").expect("written");
    let mut folder =
        crate::files::cni::Folder::open(&conf, crate::files::cni::Replace::Ours).expect("opened");
    let name = crate::config::cni_names::CONF_NAME;
    folder.file(name, list.as_bytes(), 0o644).expect("placed");
    ip("link add cni0 type bridge");
    ip("link add veth1 master cni0 type veth peer name pod");
    (dir, options)
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).expect("readable").flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn what_was_placed_for_the_runtime_goes_and_the_bridge_when_its_last_pod_has_gone() {
    isolated(|| {
        let (dir, options) = with_plugins();
        let cni = options.cni.as_ref().expect("asked for");
        let path = |name: &str| dir.path().join(name);
        let folders = Folders {
            records: path("records"),
            data: path("data"),
        };
        let clean = |dry_run| {
            let mut report = CleanupReport::default();
            plugins::clean(cni, &folders, dry_run, &mut report).expect("cleaned");
            report
        };
        std::fs::create_dir_all(path("data/networks/cbr0")).expect("made");
        std::fs::create_dir_all(path("data/networks/others")).expect("made");
        std::fs::create_dir_all(path("data/flannel")).expect("made");
        assert_eq!(clean(true).files.len(), 5, "{:?}", clean(true).files);
        assert_eq!(names(&path("bin")).len(), 4);

        let report = clean(false);
        assert_eq!(names(&path("net.d")), [""; 0]);
        assert_eq!(names(&path("bin")), ["portmap"]);
        let [warning] = &report.warnings[..] else {
            panic!("{:?}", report.warnings);
        };
        assert!(warning.contains("1 pods are attached to cni0"), "{warning}");
        assert!(ip("link show cni0").contains("cni0"));
        assert_eq!(names(&path("data")), ["flannel", "networks"]);

        ip("link del veth1");
        assert_eq!(clean(false).changes, ["delete link cni0"]);
        assert!(!ip("link show").contains("cni0"));
        assert_eq!(names(&path("data")), ["networks"]);
        assert_eq!(names(&path("data/networks")), ["others"]);
    });
}
