//! With agents that only tell who they are, and folders of the test's own.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::thread;

use tempfile::TempDir;
use tweed_model::Dual;

use super::*;
use crate::config::settings::Given;
use crate::files::state_dir::SavedRun;

struct Host(TempDir);

impl Host {
    fn new() -> Self {
        let host = Self(tempfile::tempdir().expect("a folder"));
        std::fs::create_dir(host.path("run")).expect("made");
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// An agent that answers as often as it is asked.
    fn agent(&self, instance: &str, given: &[(&str, &str)]) -> PathBuf {
        let socket = self.path("run").join(format!("{instance}.sock"));
        let listener = UnixListener::bind(&socket).expect("bound");
        let told = PublishedSettings {
            instance: instance.to_owned(),
            store: "somewhere".to_owned(),
            given: values(given),
        };
        let body = serde_json::to_string(&told).expect("JSON");
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut lines = BufReader::new(stream.try_clone().expect("cloned")).lines();
                // A connection that only shows that the agent listens asks nothing.
                let asked = lines.next().and_then(Result::ok).unwrap_or_default();
                if asked.starts_with("GET /v1/settings") {
                    while lines
                        .next()
                        .and_then(Result::ok)
                        .is_some_and(|line| !line.is_empty())
                    {}
                    let _ = write!(stream, "HTTP/1.0 200 OK\r\n\r\n{body}");
                }
            }
        });
        socket
    }

    fn has_run(&self, instance: &str, given: &[(&str, &str)]) {
        let state = StateDir::open(&self.path("state").join(instance)).expect("a folder");
        let run = SavedRun {
            instance: instance.to_owned(),
            given: values(given),
            uplink: "eth0".to_owned(),
            addrs: Dual::default(),
            public: Dual::default(),
        };
        state.save_run(&run).expect("saved");
    }

    fn find(&self, given: &[(&'static str, &str)], about: About) -> Result<Elsewhere> {
        let folder = |name: &str| vec![self.path(name).to_string_lossy().into_owned()];
        let mut flags = Flags([("run-dir", folder("run")), ("state-dir", folder("state"))].into());
        let more = given
            .iter()
            .map(|(name, value)| (*name, vec![(*value).to_owned()]));
        flags.0.extend(more);
        agent(&flags, &|_| None, about)
    }

    fn value(&self, given: &[(&'static str, &str)], name: &str) -> Option<String> {
        let found = self.find(given, About::Host).expect("found");
        found
            .values
            .get(name)
            .and_then(|values| values.first().cloned())
    }
}

fn values(given: &[(&str, &str)]) -> Given {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), vec![(*value).to_owned()]);
    given.iter().map(owned).collect()
}

#[test]
fn the_one_agent_that_runs_is_found_whatever_its_name() {
    let host = Host::new();
    assert_eq!(
        host.find(&[], About::Host).expect("nothing"),
        Elsewhere::default()
    );
    let socket = host.agent("other", &[("etcd-prefix", "/other"), ("iface", "eth7")]);
    // A socket that nobody listens on, as a killed agent leaves it.
    drop(UnixListener::bind(host.path("run/dead.sock")).expect("bound"));
    assert_eq!(host.value(&[], "iface").as_deref(), Some("eth7"));
    assert_eq!(host.value(&[], "socket").as_deref(), socket.to_str());
    let about_store = host.find(&[], About::Store).expect("found");
    assert_eq!(about_store.values["etcd-prefix"], ["/other"]);
}

#[test]
fn an_agent_that_hangs_is_told_and_its_files_say_what_it_was_given() {
    let host = Host::new();
    let endpoint = "http://192.0.2.1:2379";
    host.has_run("one", &[("iface", "eth1"), ("etcd-endpoints", endpoint)]);
    host.has_run("two", &[("iface", "eth2")]);
    let socket = host.path("run/one.sock");
    let _hangs = UnixListener::bind(&socket).expect("bound");
    for about in [About::Host, About::Store] {
        let found = host.find(&[], about).expect("found");
        let silent = found.silent.expect("said");
        assert!(silent.contains("does not answer"), "{silent}");
        assert_eq!(found.values["etcd-endpoints"], [endpoint]);
        assert_eq!(found.values["iface"], ["eth1"]);
        assert_eq!(found.values["socket"], [socket.to_str().expect("a path")]);
    }
    // A socket that isn't called after its agent, which was given another path.
    let host = Host::new();
    let socket = host.path("run/tweedd.sock");
    let path = socket.to_str().expect("a path");
    host.has_run("one", &[("iface", "eth1"), ("socket", path)]);
    host.has_run("two", &[("iface", "eth2")]);
    let _hangs = UnixListener::bind(&socket).expect("bound");
    assert_eq!(host.value(&[], "iface").as_deref(), Some("eth1"));
}

#[test]
fn of_several_agents_the_named_one_is_taken_and_without_a_name_all_are_listed() {
    let host = Host::new();
    host.agent("one", &[("iface", "eth1")]);
    host.agent("two", &[("iface", "eth2")]);
    let error = host.find(&[], About::Host).expect_err("which?");
    assert!(error.is::<UsageError>());
    for words in ["--instance=one", "--instance=two", "one.sock"] {
        assert!(error.to_string().contains(words), "{error}");
    }
    assert_eq!(
        host.value(&[("instance", "two")], "iface").as_deref(),
        Some("eth2")
    );
    let socket = host.path("run/one.sock");
    let socket = socket.to_str().expect("a path");
    assert_eq!(
        host.value(&[("socket", socket)], "iface").as_deref(),
        Some("eth1")
    );
    assert_eq!(host.value(&[("instance", "three")], "iface"), None);
}

#[test]
fn without_an_agent_the_one_that_has_run_is_meant() {
    let host = Host::new();
    host.has_run("one", &[("iface", "eth1")]);
    assert_eq!(host.value(&[], "iface").as_deref(), Some("eth1"));
    assert_eq!(host.value(&[], "instance").as_deref(), Some("one"));
    host.has_run("two", &[("iface", "eth2")]);
    let error = host.find(&[], About::Host).expect_err("which?");
    assert!(error.to_string().contains("--instance=two"), "{error}");
    assert_eq!(
        host.value(&[("instance", "two")], "iface").as_deref(),
        Some("eth2")
    );
}

#[test]
fn a_store_that_is_named_gets_no_credentials_of_another() {
    let host = Host::new();
    host.agent("one", &[("etcd-cafile", "/ca.pem"), ("iface", "eth1")]);
    let named = [("etcd-endpoints", "http://192.0.2.1:2379")];
    let found = host.find(&named, About::Host).expect("found");
    assert!(!found.values.contains_key("etcd-cafile") && found.values.contains_key("iface"));
    let found = host.find(&named, About::Store).expect("nothing");
    assert_eq!(found, Elsewhere::default());
}
