use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use tweed_forward::peers::PeerTraffic;
use tweed_probe::health::{Health, State};
use tweed_reconcile::Outcome;

use super::*;
use crate::daemon::data_plane::status::{DataPlaneStatus, PeerStatus};
use crate::daemon::http::exposition::{Form, Texts};
use crate::daemon::probing::Probed;
use crate::daemon::status::{HostWarning, RefusedLease};

fn render(facts: SharedFacts) -> String {
    let mut text = String::new();
    let process = Process::default();
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let looked = process.look(Some(1_709_175_127));
    runtime.expect("a runtime").block_on(looked);
    let beside = (Collected::default(), process, Addresses::default());
    let registry = registry(facts, beside, Turns::of_this_thread(), 100);
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("encoded");
    text
}

#[test]
fn every_metric_has_a_help_line_and_the_prefix() {
    let text = render(SharedFacts::default());
    for line in text.lines().filter(|line| *line != "# EOF") {
        let told = line.strip_prefix("# HELP ");
        let name = told
            .or_else(|| line.strip_prefix("# TYPE "))
            .unwrap_or(line);
        let known = ["tweed_", "process_"];
        assert!(
            known.iter().any(|prefix| name.starts_with(prefix)),
            "{line}"
        );
    }
    let helps = text
        .lines()
        .filter(|line| line.starts_with("# HELP"))
        .count();
    let types = text
        .lines()
        .filter(|line| line.starts_with("# TYPE"))
        .count();
    assert_eq!(helps, types);
    assert!(text.ends_with("# EOF\n"));
}

/// Metrics of peers that are asked.
#[derive(Debug)]
struct Each(Vec<Probed>);

impl Collector for Each {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        probes::each(&mut encoder, &self.0)
    }
}

fn of_two_peers() -> String {
    let probed = |state, rtt| Probed {
        public: "192.0.2.12 fd00::12".to_owned(),
        subnets: "10.244.86.0/24".to_owned(),
        health: Health {
            state,
            since: Duration::ZERO,
            last_seen: None,
            rtt,
            mtu: None,
            tunnel: true,
        },
    };
    let answer = Some(Duration::from_micros(200));
    let peers = vec![probed(State::Ok, answer), probed(State::NoAnswer, None)];
    let mut registry = Registry::with_prefix("tweed");
    registry.register_collector(Box::new(Each(peers)));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("encoded");
    text
}

#[test]
fn each_peer_that_is_asked_has_its_state_and_time() {
    let text = of_two_peers();
    for line in [
        r#"tweed_peer_probe{peer="192.0.2.12 fd00::12",subnet="10.244.86.0/24",state="ok"} 1"#,
        r#"tweed_peer_probe{peer="192.0.2.12 fd00::12",subnet="10.244.86.0/24",state="no_answer"} 1"#,
        r#"tweed_peer_rtt_seconds{peer="192.0.2.12 fd00::12",subnet="10.244.86.0/24"} 0.0002"#,
    ] {
        assert!(text.contains(line), "{text}");
    }
    assert_eq!(text.matches("tweed_peer_rtt_seconds{").count(), 1, "{text}");
}

#[test]
fn promtool_has_nothing_to_say_against_any_metric() {
    let all = [
        render(SharedFacts::default()),
        rendered(DataPlaneStatus::default()),
        of_two_peers(),
    ];
    let text: String = all.map(|text| text.replace("# EOF\n", "")).concat();
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool: `.ci/setup test` installs it with Debian's prometheus");
    let stdin = promtool.stdin.take();
    let mut stdin = stdin.expect("a pipe");
    let plain = Texts::of(text).get(Form::Plain);
    stdin.write_all(&plain).expect("it reads");
    drop(stdin);
    let output = promtool.wait_with_output().expect("it ends");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

/// The metrics of a text by the names under which they are asked for.
fn names(text: &str) -> BTreeSet<String> {
    let kinds = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let kinds = kinds.filter_map(|line| line.split_once(' '));
    kinds
        .map(|(name, kind)| match kind {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => name.to_owned(),
        })
        .collect()
}

fn document(name: &str) -> String {
    let path = format!("{}/../docs/{name}.md", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn the_documents_name_every_metric_and_no_other() {
    let mut there = names(&render(SharedFacts::default()));
    there.extend(names(&of_two_peers()));
    let own = document("CONFIGURATION");
    for name in &there {
        assert!(own.contains(&format!("`{name}`")), "{name} is missing");
    }
    let of_data_plane = names(&rendered(DataPlaneStatus::default()));
    let page = document("DATA-PLANE");
    for name in &of_data_plane {
        let short = name.strip_prefix("tweed_").expect("the prefix");
        assert!(page.contains(&format!("`{short}`")), "{name} is missing");
    }
    there.extend(of_data_plane);
    for name in ["BARE-METAL", "CONFIGURATION", "DATA-PLANE", "KUBERNETES"] {
        let text = document(name);
        let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        let metrics = words.filter(|word| word.starts_with("tweed_") && word.len() > 6);
        // A module, in a directive for the log.
        for metric in metrics.filter(|word| *word != "tweed_store") {
            assert!(there.contains(metric), "{name} names {metric}");
        }
    }
}

#[test]
fn the_metrics_say_what_the_status_says() {
    let facts = SharedFacts::default();
    {
        let mut facts = facts.lock();
        facts.cluster.peers = 7;
        facts.kernel.add(&Outcome {
            full: true,
            done: vec!["put route".to_owned()],
            changes: 1,
            ..Outcome::default()
        });
        let refused = |lease: &str| RefusedLease {
            lease: lease.to_owned(),
            reason: "why".to_owned(),
            kind: "overlaps_own".to_owned(),
        };
        facts.cluster.refused = vec![refused("10.0.1.0-24"), refused("10.0.2.0-24")];
        let key = r#"/coreos.com/network/subnets/"x""#.to_owned();
        facts.cluster.broken.insert(key, "why".to_owned());
        facts.warnings.push(HostWarning::new("forward", "why"));
        facts.host = vec![
            "a route is missing".to_owned(),
            "and another one".to_owned(),
        ];
    }
    let text = render(facts);
    for line in [
        "tweed_ready 0",
        "tweed_peers 7",
        "tweed_kernel_programmed 1",
        "tweed_full_passes_total 1",
        "tweed_kernel_changes_total 1",
        "tweed_host_warnings{kind=\"forward\"} 1",
        "tweed_host_warnings{kind=\"host_network\"} 2",
        "tweed_refused_leases{reason=\"overlaps_own\"} 2",
        "tweed_bad_entry{lease=\"10.0.2.0-24\",reason=\"overlaps_own\"} 1",
        r#"tweed_bad_entry{lease="/coreos.com/network/subnets/\"x\"",reason="unreadable"} 1"#,
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "{line} is not in\n{text}"
        );
    }
}

#[test]
fn a_flood_of_bad_entries_is_counted_whole_and_named_in_part() {
    let facts = SharedFacts::default();
    for n in 0..1000 {
        let mut facts = facts.lock();
        facts
            .cluster
            .broken
            .insert(format!("key{n}"), "why".to_owned());
    }
    let text = render(facts);
    assert!(text.contains("tweed_broken_entries 1000\n"), "{text}");
    assert_eq!(text.matches("tweed_bad_entry{").count(), NAMED);
}

struct Only(DataPlaneStatus);

impl std::fmt::Debug for Only {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Only")
    }
}

impl Collector for Only {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        data_plane::encode(&mut encoder, &self.0, 100)
    }
}

fn rendered(plane: DataPlaneStatus) -> String {
    let mut registry = Registry::with_prefix("tweed");
    registry.register_collector(Box::new(Only(plane)));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("encoded");
    text
}

#[test]
fn peers_have_metrics_of_their_own_where_they_are_not_too_many() {
    let peer = |number: u8| PeerStatus {
        endpoint: ([192, 0, 2, number], 8285).into(),
        subnet: format!("10.244.{number}.0/24").parse().unwrap(),
        mtu: 1472,
        traffic: PeerTraffic::default(),
        singly: None,
    };
    for (peers, series) in [(100, 900), (101, 0)] {
        let text = rendered(DataPlaneStatus {
            peers: (0..peers).map(peer).collect(),
            ..DataPlaneStatus::default()
        });
        assert_eq!(text.matches("\ntweed_peer_").count(), series, "{text}");
        assert!(text.contains("\ntweed_data_plane_workers 0"), "{text}");
    }
}
