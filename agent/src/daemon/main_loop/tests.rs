//! Against a store whose answers each test chooses, and without a kernel thread: the test reads what it would get.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::{pending, ready};
use std::sync::mpsc::Receiver;

use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tweed_model::{ClusterSnapshot, Dual, Identity, Lease, Mac, SubnetKey};
use tweed_netlink::lab::ip;
use tweed_netlink::netns::isolated;
use tweed_state::Desired;
use tweed_store::{Ended, Held, Holding, NodeReport, Request, StoreError};

use super::*;
use crate::config::options::Options;
use crate::daemon::choices::choices;
use crate::daemon::data_plane::DataPlane;
use crate::daemon::facts::Facts;
use crate::daemon::keepers::data_plane::DataPlaneKeeper;
use crate::daemon::keepers::events::EventsKeeper;
use crate::daemon::keepers::file_look::Files;
use crate::daemon::keepers::flanneld::FlanneldKeeper;
use crate::daemon::keepers::hindrances::Hindrances;
use crate::daemon::keepers::lock::KeptLock;
use crate::daemon::keepers::node_report::NodeReports;
use crate::daemon::keepers::socket::Socket;
use crate::daemon::keepers::subnet_file::SubnetFile;
use crate::daemon::readings::Reader;
use crate::daemon::readings::tests::reading_thread;
use crate::daemon::status::Standing;
use crate::files::state_dir::StateDir;
use crate::files::watch::Folders;
use crate::fixture;
use crate::host::flanneld::beside::Beside;
use crate::host::lock::Lock;

const CONFIG: &str = r#"{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}"#;

/// How the store answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answers {
    Never,
    Refuses,
    /// It has no network configuration.
    Nothing,
    Another,
    Well,
}

struct Double {
    answers: Cell<Answers>,
    follows: Cell<usize>,
}

struct DoubleHeld(Lease);

impl Held for DoubleHeld {
    fn lease(&self) -> &Lease {
        &self.0
    }

    fn keep(self, _standing: watch::Sender<Holding>) -> impl Future<Output = Ended> {
        pending()
    }
}

impl LeaseStore for Double {
    type Held = DoubleHeld;
    type Remote = Infallible;
    type Cluster = Infallible;

    async fn config(&self) -> Result<String, StoreError> {
        match self.answers.get() {
            Answers::Never => pending().await,
            Answers::Refuses => Err(StoreError::Unavailable("refused".to_owned())),
            Answers::Nothing => Err(StoreError::NoConfig {
                at: "here".to_owned(),
                fix: "write it".to_owned(),
            }),
            Answers::Another | Answers::Well => Ok(CONFIG.to_owned()),
        }
    }

    async fn put_config(&self, _text: &str) -> Result<(), StoreError> {
        Ok(())
    }

    fn acquire(&self, request: &Request) -> impl Future<Output = Result<DoubleHeld, StoreError>> {
        let key = match self.answers.get() {
            Answers::Another => "10.5.9.0-24",
            _ => "10.5.1.0-24",
        };
        ready(Ok(DoubleHeld(Lease {
            attrs: request.attrs.clone(),
            ..lease(key)
        })))
    }

    fn release(&self, _key: &SubnetKey) -> impl Future<Output = Result<(), StoreError>> {
        ready(Ok(()))
    }

    fn list(&self) -> impl Future<Output = Result<ClusterSnapshot, StoreError>> {
        pending()
    }

    fn follow(
        &self,
        out: watch::Sender<Arc<ClusterSnapshot>>,
        _relist: Arc<Notify>,
    ) -> impl Future<Output = ()> {
        self.follows.set(self.follows.get() + 1);
        async move {
            out.closed().await;
            pending().await
        }
    }
}

fn lease(key: &str) -> Lease {
    fixture::lease(key, "192.0.2.1", "02:00:00:00:00:01")
}

fn save(options: &Options) {
    let state = StateDir::open(&options.host.state_dir).expect("a state folder");
    let lease = SavedLease::new(&lease("10.5.1.0-24"), CONFIG, Dual::default());
    state.save_lease(&lease).expect("saved");
    let identity = Identity {
        vtep_mac: Mac([2, 0, 0, 0, 0, 1]),
        vtep_mac_v6: Mac([2, 0, 0, 0, 0, 2]),
    };
    state.save_identity(&identity).expect("saved");
}

/// A daemon without threads.
struct Scene {
    _dir: TempDir,
    facts: SharedFacts,
    kernel: Receiver<Wake>,
}

fn parts(saved: bool) -> (Scene, Common, Keepers) {
    let dir = tempfile::tempdir().expect("a folder");
    let options = fixture::options_in(dir.path(), &[("iface", "uplink".to_owned())]);
    if saved {
        save(&options);
    }
    let now = Instant::now();
    let (wake, kernel) = reading_thread();
    let reader = Reader::by_kernel(wake.clone());
    let files = Files {
        reader: reader.beside(|work| work()),
        folders: Folders::unwatched(),
    };
    let (socket, _listeners) = Socket::make(&options.host.socket, &files, now).expect("a socket");
    let lock = Lock::acquire(&options.host.run_dir, &options.host.instance).expect("a lock");
    let (tell, _) = watch::channel(NodeReport::default());
    let state = StateDir::at(&options.host.state_dir);
    let facts = SharedFacts::new(Facts::of(&options, Vec::new()));
    let events = facts.lock().events.clone();
    let keepers = Keepers {
        state: state.clone(),
        events: EventsKeeper::new(events, state.clone(), now),
        hindrances: Hindrances::new("tweed", (false, true), state.clone(), reader.clone()),
        subnet_file: SubnetFile::new(&options.host.subnet_file, files.clone(), now),
        data_plane: DataPlaneKeeper::new(DataPlane::default(), reader.clone()),
        cni: None,
        collection: None,
        socket,
        flanneld: FlanneldKeeper::new(options.clone(), Beside::default(), &files, now),
        lock: KeptLock::new(lock, &files, now),
        reports: NodeReports::new(tell, now),
    };
    let (choices, plane) = (choices(&options), DataPlane::default());
    let common = Common::new(
        options,
        choices,
        (state, plane),
        wake,
        (reader, files.reader),
    );
    let scene = Scene {
        _dir: dir,
        facts,
        kernel,
    };
    (scene, common, keepers)
}

/// Runs a daemon on a store that answers like this, and `then` beside it.
fn play<F: Future<Output = ()>>(
    answers: Answers,
    saved: bool,
    then: impl FnOnce(Rc<Double>, Rc<Scene>) -> F + Send,
) {
    isolated(|| {
        ip("link add uplink type veth peer name far
            addr add 192.0.2.1/24 dev uplink
            link set uplink up
            link set far up");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.expect("a runtime");
        runtime.block_on(async {
            let (scene, common, keepers) = parts(saved);
            let store = Rc::new(Double {
                answers: Cell::new(answers),
                follows: Cell::new(0),
            });
            let scene = Rc::new(scene);
            let (_reports, reports) = mpsc::unbounded_channel();
            let outside = Outside {
                reports,
                uplink_changed: Arc::new(Notify::new()),
                host_changed: Arc::new(Notify::new()),
                files_changed: Watch::new(),
                hang_up: signal(SignalKind::hangup()).expect("signals"),
                stop: then(Rc::clone(&store), Rc::clone(&scene)),
                attend: pending(),
            };
            let mut daemon = Loop::new(&*store, common, scene.facts.clone(), keepers);
            daemon.run(outside).await;
        });
    });
}

/// What the kernel thread has been told since the last question; waits for it.
async fn told(scene: &Scene, within: Duration) -> Option<Arc<Desired>> {
    let asked = Instant::now();
    while asked.elapsed() < within {
        if let Ok(Wake::Desired(desired)) = scene.kernel.try_recv() {
            return Some(desired);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    None
}

async fn standing(scene: &Scene, wanted: &Standing) {
    let asked = Instant::now();
    loop {
        let found = scene.facts.lock().lease.standing.clone();
        if found == *wanted {
            return;
        }
        assert!(asked.elapsed() < Duration::from_secs(20), "it is {found:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn the_kernel_is_told_the_saved_state_while_the_store_is_silent() {
    play(Answers::Never, true, async |store, scene| {
        assert!(told(&scene, Duration::from_secs(4)).await.is_some());
        standing(&scene, &Standing::Saved).await;
        assert_eq!(scene.facts.lock().waiting, None);
        assert!(told(&scene, Duration::from_millis(300)).await.is_none());
        assert_eq!(store.follows.get(), 1, "it is followed meanwhile");
    });
}

#[test]
fn a_store_that_refuses_is_asked_until_it_confirms_the_lease_and_the_session_goes_on() {
    play(Answers::Refuses, true, async |store, scene| {
        assert!(told(&scene, Duration::from_secs(4)).await.is_some());
        standing(&scene, &Standing::Saved).await;
        store.answers.set(Answers::Well);
        standing(&scene, &Standing::Held).await;
        assert!(told(&scene, Duration::from_millis(300)).await.is_none());
        assert_eq!(store.follows.get(), 1, "the session was begun anew");
    });
}

#[test]
fn another_lease_than_the_saved_one_begins_another_session() {
    play(Answers::Refuses, true, async |store, scene| {
        assert!(told(&scene, Duration::from_secs(4)).await.is_some());
        store.answers.set(Answers::Another);
        standing(&scene, &Standing::Held).await;
        let subnets = scene.facts.lock().session.subnets;
        assert_eq!(subnets.v4, "10.5.9.0/24".parse().ok());
        assert_eq!(store.follows.get(), 2);
    });
}

#[test]
fn a_store_that_says_there_is_no_network_is_waited_for() {
    play(Answers::Nothing, true, async |store, scene| {
        assert!(told(&scene, Duration::from_millis(700)).await.is_none());
        let waiting = scene.facts.lock().waiting.clone().unwrap_or_default();
        assert!(waiting.contains("no network configuration"), "{waiting}");
        store.answers.set(Answers::Well);
        standing(&scene, &Standing::Held).await;
    });
}

#[test]
fn a_node_without_a_past_waits_for_its_store() {
    play(Answers::Refuses, false, async |store, scene| {
        assert!(told(&scene, Duration::from_millis(700)).await.is_none());
        assert_eq!(scene.facts.lock().waiting.as_deref(), Some("refused"));
        store.answers.set(Answers::Well);
        standing(&scene, &Standing::Held).await;
    });
}
