//! A container, what is done to it, and what must come of that.

use std::time::{Duration, Instant};

use serde_json::Value;
use tweed_fuzz::Source;

use super::super::lab::{Answer, Pod, sh};
use super::held::Held;
use super::network::Network;

/// Several containers want the same port.
const PORTS: usize = 60;

pub(super) struct Container<'a> {
    pub(super) number: usize,
    pub(super) network_index: usize,
    pub(super) network: &'a Network,
    pub(super) pod: Pod,
    pub(super) host_port: Option<u16>,
    pub(super) stage: Stage,
}

/// What a runtime knows of a container.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Stage {
    Absent,
    /// With what ADD resulted in.
    Attached(Value),
    /// A plugin was killed. Anything may be there.
    Unknown,
    /// Its namespace has gone without DEL.
    Dead,
}

impl<'a> Container<'a> {
    pub(super) fn new(networks: &'a [Network], number: usize) -> Self {
        // Half of them are in the first.
        let network_index = match number % 2 {
            0 => 0,
            _ => (number / 2) % networks.len(),
        };
        Self {
            number,
            network_index,
            network: &networks[network_index],
            pod: Pod::new(),
            host_port: (!number.is_multiple_of(3)).then_some((8000 + number % PORTS) as u16),
            stage: Stage::Absent,
        }
    }

    pub(super) fn is_attached(&self) -> bool {
        matches!(self.stage, Stage::Attached(_))
    }

    /// Does one thing.
    pub(super) fn step(&mut self, source: &mut Source, held: &Held) {
        let kill = Duration::from_micros(source.below(20_000) as u64);
        let plugin = source.below(self.network.length());
        match (self.stage.clone(), source.below(8)) {
            (Stage::Attached(result), 0 | 1) => {
                self.network.check(&self.pod, self.host_port, &result);
            }
            (Stage::Attached(_), 2) => self.vanish(held),
            (Stage::Attached(_), 3 | 4) => self.del_killed(held, plugin, kill),
            (Stage::Attached(_) | Stage::Dead, _) => self.del(held),
            (Stage::Unknown, 0..3) => self.del(held),
            (_, 0..3) => self.add_killed(held, plugin, kill),
            _ => self.add(held),
        }
    }

    fn add(&mut self, held: &Held) {
        held.set_present(self.number, true);
        let begin = Instant::now();
        let all = self.network.length();
        match self.network.add(&self.pod, self.host_port, all) {
            Ok(result) => {
                held.take(self.number, self.things(&result));
                self.stage = Stage::Attached(result);
            }
            Err(failed) => self.failed(held, begin, &failed),
        }
    }

    /// The only reason is a port that another has or had, and that other is named. The runtime then removes everything.
    fn failed(&mut self, held: &Held, begin: Instant, (index, answer): &(usize, Answer)) {
        let (code, text) = answer.error();
        let network = self.network.name;
        assert!(
            code == 104 && text.contains("host port"),
            "{network} {index}: {answer:?}"
        );
        let holder = text.split('/').find_map(|part| held.number_of(part));
        let was_there = holder.is_some_and(|holder| held.was_present(holder, begin));
        assert!(was_there, "no holder: {text}");
        self.del(held);
    }

    fn add_killed(&mut self, held: &Held, plugin: usize, time: Duration) {
        held.set_present(self.number, true);
        let begin = Instant::now();
        match self.network.add(&self.pod, self.host_port, plugin) {
            Ok(result) => {
                let call = self.network.call(plugin, &self.pod, self.host_port);
                call.after(&result).kill_after("ADD", time);
                self.stage = Stage::Unknown;
            }
            Err(failed) => self.failed(held, begin, &failed),
        }
    }

    fn del_killed(&mut self, held: &Held, plugin: usize, time: Duration) {
        held.release(self.number);
        let result = self.result();
        self.network
            .del(&self.pod, self.host_port, &result, plugin + 1);
        let call = self.network.call(plugin, &self.pod, self.host_port);
        call.after(&result).kill_after("DEL", time);
        self.stage = Stage::Unknown;
    }

    fn vanish(&mut self, held: &Held) {
        held.release(self.number);
        sh(&format!("ip netns del {}", self.pod.name()));
        self.stage = Stage::Dead;
    }

    pub(super) fn del(&mut self, held: &Held) {
        held.release(self.number);
        let result = self.result();
        self.network.del(&self.pod, self.host_port, &result, 0);
        held.set_present(self.number, false);
        if self.stage == Stage::Dead {
            sh(&format!("ip netns add {}", self.pod.name()));
        }
        self.stage = Stage::Absent;
    }

    fn result(&self) -> Value {
        match &self.stage {
            Stage::Attached(result) => result.clone(),
            _ => Value::Null,
        }
    }

    /// The addresses of a result.
    pub(super) fn addresses(result: &Value) -> Vec<String> {
        let ips = result["ips"].as_array().unwrap().iter();
        let address = |ip: &Value| {
            ip["address"]
                .as_str()
                .unwrap()
                .split('/')
                .next()
                .unwrap()
                .to_owned()
        };
        ips.map(address).collect()
    }

    /// What nobody else may have: addresses, and the port.
    fn things(&self, result: &Value) -> Vec<String> {
        let mut things = Self::addresses(result);
        things.extend(self.host_port.map(|port| format!("port {port}")));
        things
    }
}
