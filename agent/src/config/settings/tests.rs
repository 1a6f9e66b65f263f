use std::collections::BTreeMap;

use super::*;
use crate::config::flags;

/// Flags as typed.
fn typed(entries: &[(&'static Flag, &[&str])]) -> Flags {
    let owned = |values: &[&str]| values.iter().map(|v| (*v).to_owned()).collect();
    Flags(
        entries
            .iter()
            .map(|(flag, values)| (flag.name, owned(values)))
            .collect(),
    )
}

/// Checks with these flags and variables.
fn with<T>(
    entries: &[(&'static Flag, &[&str])],
    variables: &[(&str, &str)],
    check: impl FnOnce(&Settings<'_>) -> T,
) -> T {
    let flags = typed(entries);
    let map: BTreeMap<&str, &str> = variables.iter().copied().collect();
    let environment = |name: &str| map.get(name).map(|value| (*value).to_owned());
    check(&Settings::new(&flags, &environment))
}

const PREFIX: &Flag = &flags::ETCD_PREFIX;

fn prefix(typed: &[&str], variables: &[(&str, &str)]) -> String {
    let entry = [(PREFIX, typed)];
    let entries = if typed.is_empty() {
        &entry[..0]
    } else {
        &entry
    };
    with(entries, variables, |settings| {
        let (source, text) = settings.text(PREFIX).expect("a value");
        format!("{text} by {source}")
    })
}

#[test]
fn the_command_line_wins_over_ours_ours_over_flannels_and_that_over_the_default() {
    let (ours, flannels) = (("TWEED_ETCD_PREFIX", "/b"), ("FLANNELD_ETCD_PREFIX", "/c"));
    for (typed, variables, expected) in [
        (&["/a"][..], &[ours, flannels][..], "/a by --etcd-prefix"),
        (
            &[],
            &[ours, flannels],
            "/b by environment variable TWEED_ETCD_PREFIX",
        ),
        (
            &[],
            &[flannels],
            "/c by environment variable FLANNELD_ETCD_PREFIX",
        ),
        (&[], &[], "/coreos.com/network by --etcd-prefix (default)"),
    ] {
        assert_eq!(prefix(typed, variables), expected);
    }
}

#[test]
fn an_empty_variable_counts_as_unset() {
    let variables = [("TWEED_ETCD_PREFIX", ""), ("FLANNELD_ETCD_PREFIX", "/c")];
    assert!(prefix(&[], &variables).starts_with("/c"));
}

#[test]
fn an_empty_value_on_the_command_line_hides_the_environment() {
    let variables = [("FLANNELD_PUBLIC_IP", "192.0.2.1")];
    let flag = &flags::PUBLIC_IP;
    with(&[(flag, &[""])], &variables, |settings| {
        assert_eq!(settings.text(flag), None)
    });
}

#[test]
fn a_flag_given_twice_counts_as_given_last_and_a_repeatable_one_adds_up() {
    assert!(prefix(&["/a", "/b"], &[]).starts_with("/b"));
    let flag = &flags::IFACE;
    with(
        &[(flag, &["a", "", "b"])],
        &[("FLANNELD_IFACE", "c")],
        |settings| {
            let values: Vec<String> = settings.list(flag).into_iter().map(|(_, v)| v).collect();
            assert_eq!(values, ["a", "b"]);
        },
    );
}

#[test]
fn a_repeatable_flag_gets_exactly_one_value_from_its_variable() {
    let flag = &flags::IFACE;
    with(&[], &[("FLANNELD_IFACE", "eth0,eth1")], |settings| {
        let values: Vec<String> = settings.list(flag).into_iter().map(|(_, v)| v).collect();
        assert_eq!(values, ["eth0,eth1"]);
    });
}

#[test]
fn flannels_prefix_sets_only_flannels_flags() {
    let flag = &flags::PEER_ALLOW_LIST;
    let variables = [("FLANNELD_PEER_ALLOW_LIST", "false")];
    with(&[], &variables, |settings| {
        assert_eq!(settings.switch(flag), Ok(true))
    });
    let variables = [("TWEED_PEER_ALLOW_LIST", "false")];
    with(&[], &variables, |settings| {
        assert_eq!(settings.switch(flag), Ok(false))
    });
}

#[test]
fn a_value_that_does_not_parse_is_named_with_its_place_and_what_is_allowed() {
    let flag = &flags::IP_MASQ;
    let refused = |entries: &[(&'static Flag, &[&str])], variables: &[(&str, &str)]| {
        with(entries, variables, |settings| {
            settings.switch(flag).expect_err("refused").to_string()
        })
    };
    let allowed = "true or false (also 1, t, T, TRUE, True, 0, f, F, FALSE, False)";
    assert_eq!(
        refused(&[], &[("FLANNELD_IP_MASQ", "yes")]),
        format!("environment variable FLANNELD_IP_MASQ: \"yes\" is not {allowed}")
    );
    assert_eq!(
        refused(&[(flag, &["on"])], &[]),
        format!("--ip-masq: \"on\" is not {allowed}")
    );
    assert_eq!(
        refused(&[(flag, &[""])], &[]),
        format!("--ip-masq: \"\" is not {allowed}")
    );
}
