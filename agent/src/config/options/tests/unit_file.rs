//! A service written for flanneld starts tweedd once its `ExecStart` names that: command line and environment as
//! they are.

use super::*;

const COMMAND_LINE: &str = "-etcd-cafile=/etc/kubernetes/ssl/ca.pem \
    -etcd-certfile=/etc/flanneld/ssl/flanneld.pem -etcd-keyfile=/etc/flanneld/ssl/flanneld-key.pem \
    -etcd-endpoints=https://192.0.2.1:2379,https://192.0.2.2:2379 -etcd-prefix /kubernetes/network \
    -iface=eth0 -ip-masq -subnet-lease-renew-margin=60 -healthz-ip=127.0.0.1 -healthz-port 10600 \
    -iptables-resync=5 -iptables-forward-rules=true -v=2";

fn expected_etcd() -> EtcdOptions {
    let pem = |name: &str| format!("/etc/flanneld/ssl/{name}.pem").into();
    EtcdOptions {
        endpoints: vec![
            "https://192.0.2.1:2379".into(),
            "https://192.0.2.2:2379".into(),
        ],
        prefix: "/kubernetes/network".into(),
        tls: Some(TlsOptions {
            ca: Some("/etc/kubernetes/ssl/ca.pem".into()),
            client: Some((pem("flanneld"), pem("flanneld-key"))),
        }),
        user: None,
    }
}

fn check(options: &Options) {
    assert_eq!(options.store, StoreOptions::Etcd(expected_etcd()));
    assert_eq!(options.uplink.ifaces, ["eth0"]);
    assert!(options.firewall.ip_masq && options.firewall.forward_rules);
    assert_eq!(
        options.http,
        Some("127.0.0.1:10600".parse().expect("an address"))
    );
    assert_eq!(options.log.filter, "info,tweed=debug");
}

#[test]
fn a_command_line_of_flanneld_is_taken_word_for_word() {
    let environment = [
        ("FLANNELD_IP_BLACKHOLE_ROUTE", "true"),
        ("FLANNELD_PUBLIC_IP", ""),
        ("FLANNEL_OPTIONS", "of another program"),
    ];
    let options = read_with(COMMAND_LINE, &environment).expect("options");
    check(&options);
    assert!(options.blackhole_route);
    assert_eq!(options.resync, Duration::from_secs(5));
}

#[test]
fn an_environment_of_flanneld_does_what_its_command_line_does() {
    let environment = [
        ("FLANNELD_ETCD_CAFILE", "/etc/kubernetes/ssl/ca.pem"),
        ("FLANNELD_ETCD_CERTFILE", "/etc/flanneld/ssl/flanneld.pem"),
        (
            "FLANNELD_ETCD_KEYFILE",
            "/etc/flanneld/ssl/flanneld-key.pem",
        ),
        (
            "FLANNELD_ETCD_ENDPOINTS",
            "https://192.0.2.1:2379,https://192.0.2.2:2379",
        ),
        ("FLANNELD_ETCD_PREFIX", "/kubernetes/network"),
        ("FLANNELD_IFACE", "eth0"),
        ("FLANNELD_IP_MASQ", "true"),
        ("FLANNELD_HEALTHZ_IP", "127.0.0.1"),
        ("FLANNELD_HEALTHZ_PORT", "10600"),
        ("FLANNELD_V", "2"),
    ];
    check(&read_with("", &environment).expect("options"));
}
