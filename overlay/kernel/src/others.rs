//! Agents of other networks on this host. What belongs to one that runs is left alone; what one that is gone has left in
//! the packet filter is swept, or it would go on dropping what ours accepts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

use tweed_model::LinkName;
use tweed_state::{Link, Scope, instance_of};

/// An agent that was seen counts as running for this long: a device must not change hands while its agent restarts.
const RESTART: Duration = Duration::from_secs(20);

/// An agent that runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Running {
    /// Its process, where that can be told.
    pub pid: Option<u32>,
}

/// Tells whether the agent of an instance runs on this host.
pub type Ask = Box<dyn FnMut(&str) -> Option<Running> + Send>;

/// Agents of other networks, and when they were last seen.
#[derive(Default)]
pub(super) struct Others {
    ask: Option<Ask>,
    seen: BTreeMap<String, Instant>,
    /// Interfaces of agents that run.
    pub(super) links: BTreeSet<LinkName>,
    /// Instances that have a device which is not to become ours.
    pub(super) standing: BTreeSet<String>,
}

impl Others {
    pub(super) fn ask_by(&mut self, ask: Ask) {
        self.ask = Some(ask);
    }

    /// Whether anybody can tell who runs. Without that nothing is refused and nothing swept.
    pub(super) fn can_tell(&self) -> bool {
        self.ask.is_some()
    }

    /// How to call the agent of an instance, if it runs.
    pub(super) fn running(&mut self, instance: &str) -> Option<String> {
        let running = self.ask.as_mut()?(instance)?;
        self.seen.insert(instance.to_owned(), Instant::now());
        Some(call(instance, running))
    }

    /// The name of an instance's agent, if it runs or did a moment ago.
    fn running_lately(&mut self, instance: &str) -> Option<String> {
        let running = self.running(instance);
        let lately = |seen: &Instant| seen.elapsed() < RESTART;
        running.or_else(|| {
            let seen = self.seen.get(instance).is_some_and(lately);
            seen.then(|| format!("the tweedd of instance {instance} (it ran a moment ago)"))
        })
    }

    /// Looks at a device. Says who has it if that is another agent that runs: then it is not ours, whatever its name.
    pub(super) fn holder(&mut self, scope: &Scope, name: &str, link: &Link) -> Option<String> {
        let instance = instance_of(&link.alias).filter(|other| *other != scope.table)?;
        let holder = self.running_lately(instance);
        if holder.is_some() {
            self.links.insert(name.into());
        }
        if holder.is_some() || !scope.link_names.contains(name) {
            self.standing.insert(instance.to_owned());
        }
        holder
    }
}

fn call(instance: &str, running: Running) -> String {
    match running.pid {
        Some(pid) => format!("the tweedd of instance {instance} (pid {pid})"),
        None => format!("the tweedd of instance {instance}"),
    }
}

impl fmt::Debug for Others {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Others")
            .field("seen", &self.seen)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tweed_model::Mac;
    use tweed_state::{LinkKind, alias_of};

    fn scope() -> Scope {
        Scope {
            link_names: BTreeSet::from(["flannel.1".to_owned()]),
            table: "tweed".to_owned(),
            ..Scope::default()
        }
    }

    fn link(instance: &str) -> Link {
        Link {
            kind: LinkKind::Tun { queues: false },
            mtu: 1450,
            mac: Mac([0; 6]),
            up: true,
            alias: alias_of(instance),
        }
    }

    /// Knows of one that runs.
    fn others(running: &'static str) -> Others {
        let mut others = Others::default();
        let pid = Some(7);
        others.ask_by(Box::new(move |name| {
            (name == running).then_some(Running { pid })
        }));
        others
    }

    #[test]
    fn a_device_of_an_agent_that_runs_is_not_ours_and_one_of_a_dead_agent_is() {
        let mut others = others("tweed-a");
        let holder = others.holder(&scope(), "flannel.1", &link("tweed-a"));
        let holder = holder.expect("it runs");
        assert_eq!(holder, "the tweedd of instance tweed-a (pid 7)");
        assert_eq!(others.holder(&scope(), "flannel.1", &link("tweed-b")), None);
        assert_eq!(others.holder(&scope(), "flannel.1", &link("tweed")), None);
        assert_eq!(others.standing, BTreeSet::from(["tweed-a".to_owned()]));
    }

    #[test]
    fn a_dead_agent_whose_device_has_another_name_than_ours_still_stands() {
        let mut others = others("tweed-a");
        assert_eq!(others.holder(&scope(), "flannel.2", &link("tweed-b")), None);
        assert_eq!(others.standing, BTreeSet::from(["tweed-b".to_owned()]));
    }

    #[test]
    fn a_device_does_not_change_hands_while_its_agent_restarts() {
        let mut others = others("tweed-a");
        assert!(others.running("tweed-a").is_some());
        others.ask_by(Box::new(|_| None));
        assert_eq!(others.running("tweed-a"), None);
        let holder = others.holder(&scope(), "flannel.1", &link("tweed-a"));
        assert!(holder.expect("a moment ago").contains("a moment ago"));
        others.seen.clear();
        assert_eq!(others.holder(&scope(), "flannel.1", &link("tweed-a")), None);
    }
}
