use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver as Outcomes, channel};
use std::sync::{Mutex, PoisonError};

use super::*;
use tweed_host::KernelError;
use tweed_kernel::fake::FakeKernel;
use tweed_state::{KernelState, NextHop, Op, ROUTE_PROTOCOL, Route, RouteKey, Scope};

/// A fake kernel that the test can look into and damage while the thread has it.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<FakeKernel>>);

impl Shared {
    fn with<T>(&self, visit: impl FnOnce(&mut FakeKernel) -> T) -> T {
        visit(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Kernel for Shared {
    fn observe(&mut self, scope: &Scope) -> Result<KernelState, KernelError> {
        self.with(|kernel| kernel.observe(scope))
    }

    fn differs(&mut self, sysctl: &str, value: &str) -> Option<String> {
        self.with(|kernel| kernel.differs(sysctl, value))
    }

    fn apply(&mut self, op: &Op) -> Result<(), KernelError> {
        self.with(|kernel| kernel.apply(op))
    }
}

struct Running {
    kernel: Shared,
    worker: Worker,
    outcomes: Outcomes<Outcome>,
}

fn start(kernel: FakeKernel, period: Duration) -> Running {
    let kernel = Shared(Arc::new(Mutex::new(kernel)));
    let (tell, outcomes) = channel();
    let report = move |told| {
        if let KernelReport::Pass(report) = told {
            drop(tell.send(report.outcome));
        }
    };
    let worker = Worker::start(kernel.clone(), channel(), period, || 0.5, report).unwrap();
    Running {
        kernel,
        worker,
        outcomes,
    }
}

impl Running {
    fn wake(&self, wake: Wake) {
        self.worker.waker().send(wake).unwrap();
    }

    fn next(&self) -> Outcome {
        self.outcomes
            .recv_timeout(Duration::from_secs(5))
            .expect("a pass")
    }
}

fn with_uplink() -> FakeKernel {
    FakeKernel {
        others: BTreeSet::from(["eth0".to_owned()]),
        ..FakeKernel::default()
    }
}

/// Wants direct routes to these networks.
fn routes(numbers: &[u8]) -> Arc<Desired> {
    let mut desired = Desired {
        prune: true,
        ..Desired::default()
    };
    for number in numbers {
        let gateway = format!("198.18.0.{number}").parse().unwrap();
        let next_hop = NextHop::via(Some(gateway), "eth0".into(), false);
        let key = RouteKey::of(format!("10.244.{number}.0/24").parse().unwrap());
        desired.state.routes.insert(
            key,
            Route {
                next_hop,
                protocol: ROUTE_PROTOCOL,
            },
        );
    }
    Arc::new(desired)
}

const NEVER: Duration = Duration::from_secs(3600);

#[test]
fn the_first_pass_is_full_and_the_next_change_a_fast_one_with_a_full_one_behind() {
    let running = start(with_uplink(), NEVER);
    running.wake(Wake::Desired(routes(&[2])));
    assert!(running.next().full);
    running.wake(Wake::Desired(routes(&[2, 3])));
    let fast = running.next();
    assert!(!fast.full);
    assert_eq!(fast.done.len(), 1);
    let behind = running.next();
    assert!(behind.full && behind.done.is_empty(), "{behind:?}");
}

#[test]
fn damage_that_the_kernel_reports_is_repaired() {
    let running = start(with_uplink(), NEVER);
    running.wake(Wake::Desired(routes(&[2])));
    running.next();
    running.kernel.with(|kernel| kernel.state.routes.clear());
    running.wake(Wake::Dirty);
    assert_eq!(running.next().done.len(), 1);
    assert_eq!(running.kernel.with(|kernel| kernel.state.routes.len()), 1);
}

#[test]
fn a_burst_of_events_costs_one_pass() {
    let running = start(with_uplink(), NEVER);
    running.wake(Wake::Desired(routes(&[2])));
    running.next();
    for _ in 0..100 {
        running.wake(Wake::Dirty);
    }
    assert!(running.next().full);
    assert!(
        running
            .outcomes
            .recv_timeout(Duration::from_millis(200))
            .is_err(),
        "one pass was enough"
    );
}

#[test]
fn damage_that_nobody_reports_is_repaired_within_the_period() {
    let running = start(with_uplink(), Duration::from_millis(100));
    running.wake(Wake::Desired(routes(&[2])));
    running.next();
    running.kernel.with(|kernel| kernel.state.routes.clear());
    assert_eq!(running.next().done.len(), 1);
}

#[test]
fn a_sysctl_that_changes_without_an_event_is_set_again_soon_and_one_with_an_event_is_not_looked_at()
{
    let running = start(with_uplink(), NEVER);
    let set = |key: &str, value: &str| {
        let (key, value) = (key.to_owned(), value.to_owned());
        running
            .kernel
            .with(|kernel| kernel.state.sysctls.insert(key, value));
    };
    let (reported, silent) = ("net/ipv4/ip_forward", "net/ipv4/conf/eth0/rp_filter");
    let want = |keys: &[&str]| {
        let mut desired = Desired::clone(&routes(&[2]));
        let keys = keys.iter();
        desired.state.sysctls = keys
            .map(|key| ((*key).to_owned(), "2".to_owned()))
            .collect();
        running.wake(Wake::Desired(Arc::new(desired)));
        running.next();
    };
    want(&[reported, silent]);
    set(silent, "1");
    let begin = Instant::now();
    assert_eq!(running.next().done, [format!("set sysctl {silent} = 2")]);
    assert!(begin.elapsed() < Duration::from_secs(2));
    want(&[reported]);
    // The full pass behind the fast one.
    running.next();
    set(reported, "1");
    let looked = running.outcomes.recv_timeout(Duration::from_millis(1500));
    assert!(looked.is_err(), "it is looked at: {looked:?}");
}

#[test]
fn what_failed_is_tried_again_soon() {
    let kernel = FakeKernel {
        faults: BTreeSet::from([0]),
        ..with_uplink()
    };
    let running = start(kernel, NEVER);
    running.wake(Wake::Desired(routes(&[2])));
    assert_eq!(running.next().failed.len(), 1);
    let again = running.next();
    assert!(again.is_clean() && again.done.len() == 1, "{again:?}");
}

#[test]
fn a_preview_changes_nothing_but_what_it_finds_is_repaired_soon() {
    let running = start(with_uplink(), NEVER);
    let preview = || {
        let (answer, answered) = channel();
        running.wake(Wake::Preview(Box::new(move |plan| drop(answer.send(plan)))));
        answered.recv().unwrap()
    };
    assert!(preview().is_none());
    running.wake(Wake::Desired(routes(&[2])));
    running.next();
    running.kernel.with(|kernel| kernel.state.routes.clear());
    assert_eq!(preview().unwrap().unwrap().len(), 1);
    // By a pass of its own: its look may have taken the news out of the notification that was to come.
    assert_eq!(running.next().done.len(), 1);
    assert_eq!(preview().unwrap().unwrap().len(), 0);
}

#[test]
fn stopping_returns_at_once_and_leaves_the_kernel_as_it_is() {
    let running = start(with_uplink(), NEVER);
    running.wake(Wake::Desired(routes(&[2])));
    running.next();
    let begin = Instant::now();
    running.worker.stop();
    assert!(begin.elapsed() < Duration::from_secs(1));
    assert_eq!(running.kernel.with(|kernel| kernel.state.routes.len()), 1);
}

#[test]
fn another_program_that_never_stops_does_not_keep_the_thread_busy() {
    let kernel = FakeKernel {
        slow: Duration::from_millis(50),
        ..with_uplink()
    };
    let running = start(kernel, NEVER);
    running.wake(Wake::Desired(routes(&[2])));
    running.next();
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(2) {
        running.wake(Wake::Dirty);
        thread::sleep(Duration::from_millis(5));
    }
    let passes = running.outcomes.try_iter().count();
    assert!(
        (5..=11).contains(&passes),
        "{passes} passes of 50 ms in 2 s"
    );
}
