use std::collections::BTreeMap;
use std::path::Path;

use super::store::TlsOptions;
use tweed_overlay::store::kube::NodeName;

use super::*;
use crate::cli::{self, Command};
use crate::telemetry::LogFormat;

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

fn kube(line: &str, environment: &[(&str, &str)]) -> tweed_overlay::store::kube::Options {
    let options = read_with(line, environment).expect("options");
    match options.store {
        StoreOptions::Kube(kube) => kube,
        other => panic!("{other}"),
    }
}

#[test]
fn flannel_s_switch_chooses_kubernetes_with_flannel_s_defaults() {
    let options = kube("--ip-masq --kube-subnet-mgr", &[("NODE_NAME", "n1")]);
    assert_eq!(options, kube("--store=kube --node-name=n1", &[]));
    assert_eq!(options.prefix.to_string(), "flannel.alpha.coreos.com/");
    assert_eq!(
        options.config_file,
        Path::new("/etc/kube-flannel/net-conf.json")
    );
    assert!(options.set_condition && options.servers.is_empty());
    assert_eq!(options.node, NodeName::Known("n1".to_owned()));
    let pod = [("POD_NAME", "p"), ("POD_NAMESPACE", "ns")];
    let of_pod = NodeName::OfPod {
        namespace: "ns".to_owned(),
        pod: "p".to_owned(),
    };
    assert_eq!(kube("--kube-subnet-mgr", &pod).node, of_pod);
    assert_eq!(kube("--kube-subnet-mgr", &[]).node, NodeName::Unknown);
    assert!(read_with("--kube-subnet-mgr=false", &[]).is_ok());
}

#[test]
fn api_servers_are_listed_and_ours_wins_over_flannel_s_flag() {
    let both = "--store=kube --kube-api=10.0.0.1:6443,http://b:8080/ --kube-api-url=https://c";
    assert_eq!(
        kube(both, &[]).servers,
        ["https://10.0.0.1:6443", "http://b:8080"]
    );
    assert_eq!(
        notes(both),
        ["--kube-api-url has no effect beside --kube-api"]
    );
    let flannels = "--kube-subnet-mgr --kube-api-url=https://c:6443/k8s/clusters/x";
    assert_eq!(
        kube(flannels, &[]).servers,
        ["https://c:6443/k8s/clusters/x"]
    );
    assert!(refused("--store=kube --kube-api=ftp://a").contains("--kube-api"));
}

#[test]
fn what_kubernetes_can_t_use_is_refused_with_what_is_allowed() {
    assert_eq!(
        refused("--kube-subnet-mgr --store=etcd"),
        "--store and --kube-subnet-mgr name two stores; leave one of them out"
    );
    assert!(refused("--kube-subnet-mgr --kube-annotation-prefix=org").contains("DNS name"));
    assert_eq!(
        refused("--store=consul"),
        "--store: \"consul\" is not a store; there are: etcd, kube, file"
    );
}

#[test]
fn another_annotation_prefix_is_another_network_on_this_host() {
    let name = |line| read(line).host.instance.to_string();
    assert_eq!(name("--kube-subnet-mgr"), "tweed");
    let other = name("--kube-subnet-mgr --kube-annotation-prefix=example.com/two");
    assert!(other.starts_with("tweed-"), "{other}");
}

#[test]
fn the_first_endpoints_scheme_holds_for_all() {
    for (line, endpoints, encrypted) in [
        (
            "--etcd-endpoints=http://a:1,b:2",
            vec!["http://a:1", "http://b:2"],
            false,
        ),
        (
            "--etcd-endpoints=https://a:1,http://b:2/",
            vec!["https://a:1", "https://b:2"],
            true,
        ),
        ("--etcd-endpoints=a:1", vec!["http://a:1"], false),
        (
            "--etcd-endpoints=a:1 --etcd-cafile=/ca",
            vec!["https://a:1"],
            true,
        ),
        (
            "--etcd-endpoints=http://a:1 --etcd-cafile=/ca",
            vec!["http://a:1"],
            false,
        ),
        (
            "--etcd-endpoints=HTTPS://[::1]:2379,",
            vec!["https://[::1]:2379"],
            true,
        ),
    ] {
        let etcd = etcd(line);
        assert_eq!(etcd.endpoints, endpoints, "{line}");
        assert_eq!(etcd.tls.is_some(), encrypted, "{line}");
    }
    let text = notes("--etcd-endpoints=https://a:1,http://b:2").join("\n");
    assert_eq!(
        text,
        "--etcd-endpoints the first endpoint is https://, which holds for http://b:2 too"
    );
    let text = notes("--etcd-endpoints=http://a:1 --etcd-cafile=/ca").join("\n");
    assert!(text.contains("in plain text"), "{text}");
}

#[test]
fn endpoints_that_are_none_are_refused() {
    for value in [",", "ftp://a:1", "http://", "http://a:1/path", ""] {
        let text = refused(&format!("--etcd-endpoints={value}"));
        assert!(text.starts_with("--etcd-endpoints: "), "{text}");
        assert!(text.contains("such as https://10.0.0.1:2379"), "{text}");
    }
}

#[test]
fn a_password_in_an_endpoint_is_refused_without_being_shown() {
    for value in [
        "http://user:s3cret@a:1",
        "user:s3cret@a:1",
        "http://a:1,https://u:s3cret@b:2,c:3",
        "http://u:s3cret,s3cret@b:2",
    ] {
        let text = refused(&format!("--etcd-endpoints={value}"));
        assert!(text.contains("--etcd-password-file"), "{text}");
        assert!(!text.contains("s3cret"), "{text}");
    }
}

#[test]
fn tls_works_with_a_ca_alone_and_a_certificate_needs_its_key() {
    let ca = etcd("--etcd-endpoints=https://a:1 --etcd-cafile=/ca").tls;
    assert_eq!(
        ca,
        Some(TlsOptions {
            ca: Some("/ca".into()),
            client: None
        })
    );
    let both = etcd("--etcd-endpoints=https://a:1 --etcd-certfile=/c --etcd-keyfile=/k").tls;
    assert_eq!(
        both,
        Some(TlsOptions {
            ca: None,
            client: Some(("/c".into(), "/k".into()))
        })
    );
    assert_eq!(
        refused("--etcd-certfile=/c"),
        "--etcd-certfile needs --etcd-keyfile beside it"
    );
    assert_eq!(
        refused("--etcd-keyfile=/k"),
        "--etcd-keyfile needs --etcd-certfile beside it"
    );
}

#[test]
fn a_password_comes_from_flag_variable_or_file_and_never_shows() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("password");
    std::fs::write(&file, "geheim\n").expect("written");
    let from_file = format!("--etcd-username=u --etcd-password-file={}", file.display());
    let lines = [
        ("--etcd-username=u --etcd-password=geheim", vec![]),
        (
            "--etcd-username=u",
            vec![("FLANNELD_ETCD_PASSWORD", "geheim")],
        ),
        (from_file.as_str(), vec![]),
    ];
    for (line, variables) in lines {
        let options = read_with(line, &variables).expect("options");
        let StoreOptions::Etcd(etcd) = &options.store else {
            panic!("not etcd");
        };
        let (name, password) = etcd.user.as_ref().expect("a user");
        assert_eq!((name.as_str(), password.expose()), ("u", "geheim"));
        assert!(!format!("{options:?}").contains("geheim"));
    }
}

#[test]
fn a_password_file_that_is_missing_or_empty_is_an_error() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("password");
    let line = format!("--etcd-username=u --etcd-password-file={}", file.display());
    assert!(
        refused(&line).contains("No such file"),
        "{}",
        refused(&line)
    );
    std::fs::write(&file, "\n").expect("written");
    assert!(refused(&line).ends_with("is empty"), "{}", refused(&line));
}

#[test]
fn a_user_without_password_is_said_to_have_no_effect() {
    assert_eq!(etcd("--etcd-username=u").user, None);
    let text = notes("--etcd-username=u").join("\n");
    assert!(
        text.starts_with("--etcd-username has no effect without a password"),
        "{text}"
    );
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
    assert_eq!(http("--healthz-port=8081").as_deref(), Some("0.0.0.0:8081"));
    assert_eq!(
        http("--healthz-port=0x1F91 --healthz-ip=::1").as_deref(),
        Some("[::1]:8081")
    );
    assert_eq!(http("--healthz-port=0"), None);
    assert_eq!(http("--healthz-port=-1"), None);
    assert!(refused("--healthz-port=65536").contains("to 65535"));
    assert!(refused("--healthz-ip=localhost").contains("an IP address"));
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
    assert_eq!(filter("-v=2"), "info,tweedd=debug,tweed_overlay=debug");
    assert_eq!(filter("-v 10"), "info,tweedd=trace,tweed_overlay=trace");
    assert_eq!(filter("-v=-1"), "info");
    assert_eq!(
        filter("-v=10 --log-level=warn,tweed_overlay=debug"),
        "warn,tweed_overlay=debug"
    );
    assert_eq!(
        filter("--log-level=debug"),
        "info,tweedd=debug,tweed_overlay=debug"
    );
    assert_eq!(filter("--log-level=warn"), "warn");
    assert_eq!(read("--log-format=json").log.format, LogFormat::Json);
    assert!(refused("--log-level=loud").contains("error, warn, info"));
    assert!(refused("--log-format=xml").contains("text or json"));
}
