use std::collections::BTreeMap;
use std::path::Path;

use super::store::TlsOptions;
use tweed_store::kube::NodeName;

use super::*;
use crate::config::cli::{self, Command};
use crate::config::options::LogFormat;

mod etcd;
mod kube;
mod unit_file;

fn read_with(line: &str, variables: &[(&str, &str)]) -> Result<Options, UsageError> {
    let words = ["tweedd"].into_iter().chain(line.split_whitespace());
    let invocation = cli::read(words.map(Into::into)).expect("a command line");
    let Command::Run(flags) = invocation.command else {
        panic!("{line} is not for the daemon");
    };
    let map: BTreeMap<&str, &str> = variables.iter().copied().collect();
    let environment = |name: &str| map.get(name).map(|value| (*value).to_owned());
    Options::read(&Settings::new(&flags, &environment))
}

fn read(line: &str) -> Options {
    read_with(line, &[]).expect("options")
}

fn refused(line: &str) -> String {
    read_with(line, &[]).expect_err("refused").to_string()
}

fn etcd(line: &str) -> EtcdOptions {
    match read(line).store {
        StoreOptions::Etcd(etcd) => etcd,
        other => panic!("{other:?}"),
    }
}

fn notes(line: &str) -> Vec<String> {
    let notes = read(line).notes.into_iter();
    notes
        .map(|note| format!("{} {}", note.source, note.text))
        .collect()
}

#[test]
fn the_defaults_are_flannels() {
    let options = read("");
    let expected = EtcdOptions {
        endpoints: vec![
            "http://127.0.0.1:4001".into(),
            "http://127.0.0.1:2379".into(),
        ],
        prefix: "/coreos.com/network".into(),
        tls: None,
        user: None,
    };
    assert_eq!(options.store, StoreOptions::Etcd(expected));
    assert_eq!(options.lease_ttl, Duration::from_secs(86400));
    let firewall = FirewallOptions {
        ip_masq: false,
        random_fully: true,
        forward_rules: true,
        peer_allow_list: true,
        check_sources: false,
    };
    assert_eq!(options.firewall, firewall);
    assert_eq!(options.http, None);
    assert!(!options.blackhole_route);
    assert_eq!(
        options.host.subnet_file,
        Path::new("/run/flannel/subnet.env")
    );
    assert_eq!(options.notes, []);
}

#[test]
fn switches_take_every_spelling_of_go() {
    for (line, masq) in [
        ("-ip-masq", true),
        ("--ip-masq=t", true),
        ("--ip-masq=F", false),
        ("--ip-masq=0", false),
    ] {
        assert_eq!(read(line).firewall.ip_masq, masq, "{line}");
    }
    let off = read(
        "--iptables-forward-rules=false --peer-allow-list=false --ip-masq-fully-random-disable",
    );
    assert!(
        !off.firewall.forward_rules && !off.firewall.peer_allow_list && !off.firewall.random_fully
    );
}

#[test]
fn sources_of_peers_are_checked_where_pods_are_masqueraded_unless_told_otherwise() {
    for (line, checked) in [
        ("", false),
        ("--ip-masq", true),
        ("--ip-masq --peer-source-check=off", false),
        ("--peer-source-check=on", true),
        ("--peer-source-check=on --peer-allow-list=false", false),
    ] {
        assert_eq!(read(line).firewall.check_sources, checked, "{line}");
    }
}

#[test]
fn a_flag_without_effect_says_so_once_with_the_reason_and_only_when_given() {
    assert_eq!(
        notes("--subnet-lease-renew-margin=30 --vmodule=a=1"),
        [
            "--subnet-lease-renew-margin has no effect: the lease is kept alive from the first moment on and renewed long before its end",
            "--vmodule has no effect: it names flannel's source files; --log-level takes directives by module",
        ]
    );
    let noted = read_with(
        "",
        &[("EVENT_QUEUE_DEPTH", "5000"), ("FLANNELD_VMODULE", "a=1")],
    );
    let sources: Vec<String> = noted
        .expect("options")
        .notes
        .into_iter()
        .map(|n| n.source)
        .collect();
    assert_eq!(
        sources,
        [
            "environment variable FLANNELD_VMODULE",
            "environment variable EVENT_QUEUE_DEPTH"
        ]
    );
}

#[test]
fn the_renew_margin_keeps_flannels_limits_though_it_has_no_effect() {
    for value in ["0", "1440", "-1", "x", ""] {
        let text = refused(&format!("--subnet-lease-renew-margin={value}"));
        assert!(
            text.ends_with("is not a number of minutes from 1 to 1439"),
            "{text}"
        );
    }
    assert!(read_with("--subnet-lease-renew-margin=0x10", &[]).is_ok());
}

#[test]
fn flannels_resync_becomes_the_period_of_the_full_pass_unless_ours_is_given() {
    assert_eq!(read("").resync, Duration::from_secs(60));
    assert_eq!(read("--iptables-resync=7").resync, Duration::from_secs(7));
    assert!(notes("--iptables-resync=7")[0].starts_with("--iptables-resync sets the period"));
    let both = "--iptables-resync=7 --resync-interval=2m";
    assert_eq!(read(both).resync, Duration::from_secs(120));
    assert_eq!(
        notes(both),
        ["--iptables-resync has no effect beside --resync-interval"]
    );
    assert!(refused("--iptables-resync=0").contains("at least 1"));
    assert!(refused("--resync-interval=0").contains("at least 1s"));
}

#[test]
fn health_is_served_where_a_port_is_given() {
    let http = |line| read(line).http.map(|addr| addr.to_string());
    assert_eq!(
        http("--healthz-port=8081").as_deref(),
        Some("127.0.0.1:8081")
    );
    assert_eq!(
        http("--healthz-port=0x1F91 --healthz-ip=::1").as_deref(),
        Some("[::1]:8081")
    );
    let empty = http("--healthz-port=8081 --healthz-ip=");
    assert_eq!(empty.as_deref(), Some("0.0.0.0:8081"), "as in Go");
    assert_eq!(http("--healthz-port=0"), None);
    assert_eq!(http("--healthz-port=-1"), None);
    assert!(refused("--healthz-port=65536").contains("to 65535"));
    assert!(refused("--healthz-ip=localhost").contains("an IP address"));
}

#[test]
fn so_many_peers_have_metrics_of_their_own() {
    let most = |line| read(line).metrics_peers;
    assert_eq!(most(""), 100);
    assert_eq!(most("--metrics-peers=0"), 0);
    assert!(refused("--metrics-peers=-1").contains("at least 0"));
}

#[test]
fn public_addresses_must_be_of_their_family() {
    let public = read("--public-ip=192.0.2.1 --public-ipv6=2001:db8::1")
        .uplink
        .public;
    assert_eq!(public.v4, "192.0.2.1".parse().ok());
    assert_eq!(public.v6, "2001:db8::1".parse().ok());
    assert_eq!(
        refused("--public-ip=::1"),
        "--public-ip: \"::1\" is not an IPv4 address"
    );
    assert!(refused("--public-ipv6=1.2.3.4").contains("an IPv6 address"));
    assert!(refused("--public-ip=0.0.0.0").contains("an IPv4 address"));
}

#[test]
fn a_broken_pattern_is_named_with_its_fault() {
    let text = refused("--iface-regex=eth[");
    assert!(
        text.starts_with("--iface-regex: \"eth[\" is not a regular expression"),
        "{text}"
    );
}

#[test]
fn the_lease_time_is_bounded_and_has_units() {
    assert_eq!(
        read("--lease-ttl=24h").lease_ttl,
        Duration::from_secs(86400)
    );
    assert!(refused("--lease-ttl=4").contains("at least 5s"));
    assert!(refused("--lease-ttl=99999999999h").contains("at least 5s"));
}

#[test]
fn each_network_has_its_own_names_on_the_host() {
    let host = |line| read(line).host;
    let plain = host("");
    assert_eq!(plain.instance.table(), "tweed");
    assert_eq!(plain.socket, Path::new("/run/tweed/tweed.sock"));
    assert_eq!(plain.state_dir, Path::new("/var/lib/tweed/tweed"));
    // Other spellings of the default are the default.
    assert_eq!(host("--etcd-prefix=/coreos.com//network/"), plain);
    assert_eq!(host("--store=file"), plain);
    assert_eq!(
        host("--store=file --store-dir=/var/lib/tweed/network/"),
        plain
    );

    let other = host("--etcd-prefix=/hostgw/network --run-dir=/r --state-dir=/s");
    assert_eq!(other.instance.table(), "tweed-d4686d65");
    assert_eq!(other.socket, Path::new("/r/tweed-d4686d65.sock"));
    assert_eq!(other.state_dir, Path::new("/s/tweed-d4686d65"));

    let named = host("--instance=blue --socket=/tmp/x");
    assert_eq!(
        (named.instance.as_str(), named.socket.as_path()),
        ("blue", Path::new("/tmp/x"))
    );
    assert!(refused("--instance=../x").contains("lower-case letters"));
}

#[test]
fn klogs_verbosity_becomes_a_level_and_ours_wins() {
    let filter = |line| read(line).log.filter;
    assert_eq!(filter(""), "info");
    assert_eq!(filter("-v=2"), "info,tweed=debug");
    assert_eq!(filter("-v 10"), "info,tweed=trace");
    assert_eq!(filter("-v=-1"), "info");
    assert_eq!(
        filter("-v=10 --log-level=warn,tweed=debug"),
        "warn,tweed=debug"
    );
    assert_eq!(filter("--log-level=debug"), "info,tweed=debug");
    assert_eq!(filter("--log-level=warn"), "warn");
    assert_eq!(read("--log-format=json").log.format, LogFormat::Json);
    assert!(refused("--log-level=loud").contains("error, warn, info"));
    assert!(refused("--log-format=xml").contains("text or json"));
}
