mod documentation;

use std::cell::RefCell;
use std::collections::BTreeSet;

use super::flag::Origin;
use super::*;
use crate::config::options::Options;
use crate::config::settings::Settings;

/// flannel.md §1.1, but for `version`, which is clap's.
const FLANNELS: &str = "etcd-endpoints etcd-prefix etcd-keyfile etcd-certfile etcd-cafile etcd-username etcd-password \
    iface iface-regex iface-can-reach subnet-file public-ip public-ipv6 subnet-lease-renew-margin ip-masq \
    ip-masq-fully-random-disable kube-subnet-mgr kube-api-url kube-annotation-prefix kubeconfig-file healthz-ip \
    healthz-port iptables-resync iptables-forward-rules ip-blackhole-route net-config-path \
    set-node-network-unavailable v vmodule log_backtrace_at";

#[test]
fn every_flag_of_flanneld_is_there_and_marked_as_flannels() {
    let table: BTreeSet<&str> = all()
        .filter(|flag| flag.origin == Origin::Flannel)
        .map(|flag| flag.name)
        .collect();
    assert_eq!(table, FLANNELS.split_whitespace().collect());
}

#[test]
fn no_flag_stands_twice_and_each_has_help() {
    let names: Vec<&str> = all().map(|flag| flag.name).collect();
    let distinct: BTreeSet<&str> = names.iter().copied().collect();
    assert_eq!(distinct.len(), names.len());
    for flag in all() {
        assert!(flag.help.len() > 10, "--{} needs help", flag.name);
        assert!(!flag.help.ends_with('.'), "--{}: {}", flag.name, flag.help);
    }
}

#[test]
fn a_flag_is_set_by_our_variable_and_flannels_by_theirs_too() {
    assert_eq!(
        ETCD_ENDPOINTS.variables(),
        ["TWEED_ETCD_ENDPOINTS", "FLANNELD_ETCD_ENDPOINTS"]
    );
    assert_eq!(LOG_BACKTRACE_AT.variables()[1], "FLANNELD_LOG_BACKTRACE_AT");
    assert_eq!(LEASE_TTL.variables(), ["TWEED_LEASE_TTL"]);
}

/// The variables that reading the options asks for, with this store.
fn asked(store: &str) -> BTreeSet<String> {
    let flags = Flags(std::iter::once(("store", vec![store.to_owned()])).collect());
    let asked = RefCell::new(BTreeSet::new());
    let environment = |name: &str| {
        asked.borrow_mut().insert(name.to_owned());
        None
    };
    Options::read(&Settings::new(&flags, &environment)).expect("options");
    asked.into_inner()
}

#[test]
fn every_flag_of_the_table_is_read() {
    let asked: BTreeSet<String> = asked("etcd").union(&asked("file")).cloned().collect();
    for flag in all().filter(|flag| flag.name != "store") {
        for variable in flag.variables() {
            assert!(asked.contains(&variable), "nothing reads {variable}");
        }
    }
}
