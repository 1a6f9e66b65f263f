//! The matrix: Go's plugins and ours get the same input, each key at each value, and what they answer, what the kernel
//! has then, what each checks and removes of the other's are compared. `data/matrix.json` says what is tried,
//! `data/differences.json` which differences are known, and why they stay.
//!
//! Go's plugins are Debian's, or those of the folder that `TWEED_GO_PLUGINS` names.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use self::cases::{Case, Plan, Release, plans, release};
use self::judge::{Judge, Side};
use self::seen::{Facts, members, of_host, of_pod, plain};
use super::lab::{Answer, Call, Host, Pod, go_folder, on_host, sh};
use super::subjects::prepare;

mod cases;
mod judge;
mod seen;

/// The release of Debian's plugins, which don't say it.
const DEBIANS: Release = [1, 1, 1];

/// The first release of Go's plugins that speaks version 1.1.0.
const SPEAKS_1_1: Release = [1, 6, 0];

/// Runs both with all inputs of a plan. Its name begins with that of the plugin.
fn compare(name: &str) {
    let plan = &plans()[name];
    let plugin = name.split(' ').next().unwrap();
    let go = release_of(plugin);
    let mut judge = Judge::new(name, go);
    for case in plan.cases(plugin, go.unwrap_or(DEBIANS)) {
        let ours = World::of(plugin, plan, &case, Side::Ours, go).facts;
        let facts = match go {
            Some(_) => World::of(plugin, plan, &case, Side::Go, go).facts,
            // Debian lacks it: at least nothing fails, and no more than a cursor is left.
            None => ours
                .iter()
                .filter(|fact| !fact.starts_with("left") || fact.contains("last_reserved_ip"))
                .cloned()
                .collect(),
        };
        judge.compare(&case.label, &ours, &facts);
    }
    judge.finish();
}

/// A file of tables.
fn data(name: &str) -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data");
    fs::read_to_string(Path::new(folder).join(name)).unwrap()
}

/// The release of Go's plugin of that name, if there is one.
fn release_of(plugin: &str) -> Option<Release> {
    let program = Path::new(&go_folder()).join(plugin);
    let output = program
        .exists()
        .then(|| Command::new(program).output().unwrap())?;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    // "CNI bridge plugin v1.9.1"
    match text.split_whitespace().nth(3) {
        Some("version") if !text.contains("1.1.0") => Some(DEBIANS),
        said => Some(release(said.unwrap_or_default())),
    }
}

/// What one input has led to.
struct World {
    facts: Facts,
    container: String,
}

impl World {
    /// Has one side add, both check, and the other side remove.
    fn of(plugin: &str, plan: &Plan, case: &Case, side: Side, go: Option<Release>) -> Self {
        let mut world = Self {
            facts: Facts::new(),
            container: String::new(),
        };
        on_host(|host| {
            prepare();
            sh(
                "ip addr add 192.0.2.1/24 dev up0 && ip route add default via 192.0.2.254
                ip addr add fd00:9::1/64 dev up0 nodad",
            );
            sh(&case.host);
            let pod = Pod::new();
            world.container = pod.name().to_owned();
            let version = if go.is_some_and(|go| go < SPEAKS_1_1) {
                "1.0.0"
            } else {
                "1.1.0"
            };
            let call = call(plugin, plan, case, version, host, &pod);
            pod.sh(&case.pod);
            let (adds, other) = match (side, go) {
                (Side::Ours, Some(_)) => (call.clone(), call.of_go()),
                (Side::Ours, None) => (call.clone(), call),
                (Side::Go, _) => (call.of_go(), call),
            };
            world.play(host, &pod, &adds, &other);
        });
        world
    }

    fn play(&mut self, host: &Host, pod: &Pod, adds: &Call, other: &Call) {
        if adds.conf()["cniVersion"] == "1.1.0" {
            let answer = adds.run("STATUS");
            self.say("STATUS", &answer);
        }
        let before = self.look(host, pod);
        let added = adds.run("ADD");
        self.say("ADD", &added);
        if added.code != 0 {
            eprintln!("{} {:?}", adds.conf(), added.stdout);
            self.changes("left by ADD", &before, &self.look(host, pod));
            return;
        }
        let result: Value = serde_json::from_str(&added.stdout).unwrap();
        let container = self.container.clone();
        members(&result, "", &mut |key, value| {
            self.facts
                .insert(plain(&format!("result {key}={value}"), &container));
        });
        self.changes("", &before, &self.look(host, pod));
        self.must("CHECK by its own side", &adds.after(&result), "CHECK");
        self.must("CHECK by the other", &other.after(&result), "CHECK");
        self.must("DEL by the other", &other.after(&result), "DEL");
        self.changes("left", &before, &self.look(host, pod));
        adds.run("DEL");
    }

    /// Everything there is, in the container, on the host and in files.
    fn look(&self, host: &Host, pod: &Pod) -> Facts {
        let mut facts = Facts::new();
        of_host(&mut facts, &sh);
        of_pod(&mut facts, &|script| pod.sh(script));
        files(&host.path("data"), &mut |name, text| {
            facts.insert(format!("file {name} {}", text.escape_debug()));
        });
        facts
            .iter()
            .map(|fact| plain(fact, &self.container))
            .collect()
    }

    fn changes(&mut self, what: &str, before: &Facts, after: &Facts) {
        let more = after.difference(before).map(|fact| ('+', fact));
        let less = before.difference(after).map(|fact| ('-', fact));
        for (sign, fact) in more.chain(less) {
            self.facts
                .insert(format!("{what} {sign} {fact}").trim_start().to_owned());
        }
    }

    fn say(&mut self, verb: &str, answer: &Answer) {
        let how = if answer.code == 0 {
            "succeeds"
        } else {
            "fails"
        };
        self.facts.insert(format!("{verb} {how}"));
    }

    /// A failure needs a judgement on either side.
    fn must(&mut self, what: &str, call: &Call, verb: &str) {
        let answer = call.run(verb);
        if answer.code != 0 {
            eprintln!("{what}: {} {:?}", call.conf(), answer.stdout);
            self.facts.insert(format!("! {what} fails"));
        }
    }
}

/// The call that a case makes, behind `bridge` for a plugin that is chained.
fn call(plugin: &str, plan: &Plan, case: &Case, version: &str, host: &Host, pod: &Pod) -> Call {
    let folder = host.path("").display().to_string();
    let text = case.conf.to_string().replace("$DIR/", &folder);
    let mut conf: Value = serde_json::from_str(&text).unwrap();
    for (key, value) in [("cniVersion", version), ("name", "net"), ("type", plugin)] {
        conf[key] = value.into();
    }
    conf["stateDir"] = json!(host.path("run"));
    if plan.chained {
        let bridge = host.bridge_conf(version, &["10.1.2.0/24", "fd00:1::/64"]);
        conf["prevResult"] = host.call("bridge", bridge, pod).add();
    }
    host.call(plugin, conf, pod).args(&case.args)
}

/// The files below a folder, with what is in them.
fn files(folder: &Path, add: &mut dyn FnMut(String, String)) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        // What begins with a dot is ours.
        if name.starts_with('.') || name == "lock" {
            continue;
        }
        if path.is_dir() {
            files(&path, add);
        } else {
            let text = fs::read(&path).unwrap();
            add(name, String::from_utf8_lossy(&text).into_owned());
        }
    }
}

#[test]
fn bridge_does_what_gos_does() {
    compare("bridge");
}

#[test]
fn ptp_does_what_gos_does() {
    compare("ptp");
}

#[test]
fn macvlan_does_what_gos_does() {
    compare("macvlan");
}

#[test]
fn host_device_does_what_gos_does() {
    compare("host-device");
}

#[test]
fn tap_does_what_gos_does() {
    compare("tap");
}

#[test]
fn loopback_does_what_gos_does() {
    compare("loopback");
}

#[test]
fn host_local_does_what_gos_does() {
    compare("host-local");
}

#[test]
fn static_does_what_gos_does() {
    compare("static");
}

#[test]
fn portmap_does_what_gos_does() {
    compare("portmap");
}

#[test]
fn bandwidth_does_what_gos_does() {
    compare("bandwidth");
}

#[test]
fn tuning_does_what_gos_does() {
    compare("tuning");
}

#[test]
fn sbr_does_what_gos_does() {
    compare("sbr");
}

#[test]
fn firewall_does_what_gos_does() {
    compare("firewall");
}

#[test]
fn a_case_sets_every_key_that_both_have() {
    let plans = plans();
    let gaps: BTreeSet<String> = plans
        .iter()
        .filter(|(name, _)| !name.contains(' '))
        .flat_map(|(name, plan)| plan.gaps(name))
        .collect();
    assert!(gaps.is_empty(), "{gaps:#?}");
}
