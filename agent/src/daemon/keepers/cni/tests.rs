use std::fs;
use std::path::Path;

use super::*;

const FLANNELS: &str =
    r#"{"name":"cbr0","cniVersion":"0.3.1","plugins":[{"type":"flannel"},{"type":"portmap"}]}"#;
const OURS: &str = r#"{"name":"cbr0","plugins":[{"type":"tweed"}]}"#;

/// A host with a given list, and a plugin that is in place already: there is none beside a test binary.
struct Host {
    dir: tempfile::TempDir,
    now: Instant,
}

impl Host {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        for folder in ["bin", "net.d"] {
            fs::create_dir(dir.path().join(folder)).expect("made");
        }
        fs::write(dir.path().join("bin/tweed"), "plugin").expect("written");
        fs::write(dir.path().join("cni-conf.json"), OURS).expect("written");
        Self {
            dir,
            now: Instant::now(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn list(&self) -> Option<String> {
        fs::read_to_string(self.path("net.d/10-flannel.conflist")).ok()
    }

    fn files(&self, withdraw: bool) -> CniFiles {
        let mut files = CniFiles::new(
            CniOptions {
                bin_dir: self.path("bin"),
                conf_dir: self.path("net.d"),
                plugins: true,
                conf_name: cni_names::CONF_NAME.to_owned(),
                conf: Some(self.path("cni-conf.json")),
                withdraw,
                ..CniOptions::standard()
            },
            self.path("subnet.env"),
        );
        files.plugin_due = Some(self.now + Duration::from_secs(86400));
        files
    }

    /// An agent that has placed the list.
    fn placed(&self, withdraw: bool) -> CniFiles {
        let mut files = self.files(withdraw);
        let status = files.place(true, self.now).expect("news");
        assert_eq!(status.error, None);
        files
    }
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("written");
}

#[test]
fn the_list_comes_when_pods_can_start_and_not_before() {
    let host = Host::new();
    let mut files = host.files(false);
    files.place(false, host.now);
    assert_eq!(host.list(), None);
    let status = files.place(true, host.now).expect("news");
    assert_eq!(host.list().as_deref(), Some(OURS));
    assert_eq!(
        status.list,
        Some(host.path("net.d/10-flannel.conflist").display().to_string())
    );
    assert_eq!(status.warnings, [""; 0]);
}

#[test]
fn a_list_that_outlived_a_reboot_goes_until_the_network_works() {
    let host = Host::new();
    host.placed(false);
    let mut files = host.files(false);
    files.plugin_due = None;
    files.place(false, host.now);
    assert_eq!(host.list(), None);

    host.placed(false);
    let mut restarted = host.files(false);
    restarted.plugin_due = None;
    write(&host.path("subnet.env"), "");
    restarted.place(false, host.now);
    assert_eq!(
        host.list().as_deref(),
        Some(OURS),
        "only the agent restarted"
    );
}

#[test]
fn a_list_that_is_removed_or_whose_source_changes_is_placed_again() {
    let host = Host::new();
    let mut files = host.placed(false);
    fs::remove_file(host.path("net.d/10-flannel.conflist")).expect("removed");
    files.place(true, host.now);
    assert_eq!(host.list().as_deref(), Some(OURS));

    let edited = OURS.replace("cbr0", "edited");
    write(&host.path("cni-conf.json"), &edited);
    files.place(false, host.now);
    assert_eq!(host.list(), Some(edited.clone()));

    write(&host.path("cni-conf.json"), "{");
    let status = files.place(true, host.now).expect("news");
    assert_eq!(host.list(), Some(edited), "a broken one changes nothing");
    assert!(status.error.is_some_and(|error| error.contains("cni-conf")));
}

#[test]
fn flannels_list_is_taken_over_and_anybody_elses_stays() {
    let host = Host::new();
    let list = host.path("net.d/10-flannel.conflist");
    write(&list, FLANNELS);
    host.placed(false);
    assert_eq!(host.list().as_deref(), Some(OURS));

    let theirs = r#"{"name":"k8s-pod-network","plugins":[{"type":"calico"}]}"#;
    write(&list, theirs);
    let status = host.files(false).place(true, host.now).expect("news");
    assert_eq!(host.list().as_deref(), Some(theirs));
    assert!(
        status
            .error
            .is_some_and(|error| error.contains("somebody else's list"))
    );
    assert_eq!(status.list, None);
}

#[test]
fn what_keeps_pods_from_our_network_is_named() {
    let host = Host::new();
    write(&host.path("net.d/05-cilium.conflist"), "{}");
    write(&host.path("cni-conf.json"), FLANNELS);
    fs::remove_file(host.path("bin/tweed")).expect("removed");
    let mut files = host.files(false);
    let status = files.place(true, host.now).expect("news");
    assert_eq!(status.warnings.len(), 2, "{:?}", status.warnings);
    assert!(status.warnings[0].contains("05-cilium.conflist sorts before"));
    assert!(status.warnings[1].contains("flannel, portmap"));
    assert_eq!(files.place(true, host.now), None, "no news");
}

#[test]
fn the_list_is_withdrawn_at_the_end_only_if_asked_for() {
    let host = Host::new();
    host.placed(false).stop();
    assert!(host.list().is_some());
    let mut files = host.placed(true);
    files.stop();
    assert_eq!(host.list(), None);
    assert_eq!(files.place(true, host.now), None);
    assert_eq!(host.list(), None, "a look that comes late places nothing");
}

#[test]
fn where_something_else_places_the_plugin_the_agent_only_looks_for_it() {
    let host = Host::new();
    let look = |due| {
        let mut files = host.files(false);
        files.options.plugins = false;
        files.plugin_due = due;
        files.place(true, host.now).expect("news")
    };
    write(&host.path("bin/tweed"), "the init container's");
    let status = look(None);
    assert_eq!(status.error, None);
    assert_eq!(host.list().as_deref(), Some(OURS));
    let plugin = fs::read_to_string(host.path("bin/tweed")).expect("there");
    assert_eq!(plugin, "the init container's");
    fs::remove_file(host.path("bin/tweed")).expect("removed");
    let status = look(None);
    assert!(
        status
            .error
            .is_some_and(|error| error.contains("install-cni"))
    );
    assert!(!host.path("bin/tweed").exists());
}

#[test]
fn without_a_plugin_there_is_no_list() {
    let host = Host::new();
    let mut files = host.files(false);
    files.plugin_due = None;
    let status = files.place(true, host.now).expect("news");
    assert!(status.error.is_some_and(|error| error.contains("tweed")));
    assert_eq!(host.list(), None);
}
