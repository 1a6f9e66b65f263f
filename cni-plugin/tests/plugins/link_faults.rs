//! Plugins that make an interface, when things go wrong: an ADD that fails leaves nothing, a DEL removes whatever is left.

use std::time::Duration;

use serde_json::json;

use super::lab::{Call, Host, Pod, on_host, sh};
use super::mishaps::{LOSSES, Loss, injected};
use super::subjects::{Subject, add_device, prepare, state, subjects};

fn with_route(host: &Host, call: &Call) -> Call {
    let mut ipam = host.ipam(&["10.1.2.0/24"]);
    ipam["routes"] = json!([{"dst": "10.9.0.0/16", "gw": "192.0.2.1"}]);
    call.set("ipam", ipam)
}

/// Calls that fail, each at another step.
fn failures(host: &Host, subject: &Subject, base: &Call) -> Vec<(&'static str, Call)> {
    let mut calls = vec![
        (
            "failed to open netns \"/run/netns/none\"",
            base.netns("/run/netns/none"),
        ),
        ("too small", base.set("ipam", host.ipam(&["10.1.2.0/31"]))),
        (
            "failed to find plugin \"nowhere\"",
            base.set("ipam", json!({"type": "nowhere"})),
        ),
        ("subnet's gateway", base.args("IP=10.1.2.1")),
        ("failed to add route", with_route(host, base)),
    ];
    if matches!(subject.plugin, "macvlan" | "ipvlan") {
        calls.push(("failed to create", base.set("mtu", 40)));
    }
    calls.extend(match subject.plugin {
        "ptp" => vec![("failed to make veth pair", base.set("mtu", 40))],
        "tap" => vec![
            ("failed to set up tap", base.set("mtu", 40)),
            ("failed to get bridge none", base.set("bridge", "none")),
        ],
        "host-device" => vec![("no interface is called none", base.set("device", "none"))],
        _ => vec![
            (
                "invalid MTU 9000, must be [0, master MTU(1500)]",
                base.set("mtu", 9000),
            ),
            ("failed to lookup master", base.set("master", "none")),
        ],
    });
    calls
}

pub(crate) fn fails_and_leaves_nothing(host: &Host, subject: &Subject) {
    let pod = Pod::new();
    let base = subject.call(host, &pod);
    let before = state(host);
    for (text, call) in failures(host, subject, &base) {
        let plugin = subject.plugin;
        let (_, error) = call.fails("ADD");
        assert!(error.contains(text), "{plugin}, {text}: {error}");
        assert_eq!(state(host), before, "{plugin}, {text}");
        assert!(pod.links().is_empty(), "{plugin}, {text}");
    }
    pod.sh("ip link add eth0 type bridge");
    let (code, error) = base.fails("ADD");
    assert!(
        error.contains("\"eth0\") already exists") || error.contains("\"eth0\" already exists")
    );
    assert_eq!(code, 100, "{error}");
    assert_eq!(pod.links(), ["eth0"], "another's stays");
    assert_eq!(state(host), before, "{}", subject.plugin);
    pod.sh("ip link del eth0");
    base.add();
    base.ok("DEL");
    assert_eq!(state(host), before, "{}", subject.plugin);
    assert!(pod.links().is_empty(), "{}", subject.plugin);
}

pub(crate) fn is_killed_and_done_again(host: &Host, subject: &Subject, step: Duration) {
    let before = state(host);
    for n in 0..24_u32 {
        let pod = Pod::new();
        let call = subject.call(host, &pod);
        call.kill_after("ADD", step * n);
        if n % 2 == 0 {
            let result = call.add();
            call.after(&result).ok("CHECK");
            assert_eq!(pod.links(), ["eth0"], "{} {n}", subject.plugin);
            assert_eq!(host.reservations("net").len(), 1, "{} {n}", subject.plugin);
        }
        call.ok("DEL");
        assert_eq!(state(host), before, "{} {n}", subject.plugin);
        assert!(pod.links().is_empty(), "{} {n}", subject.plugin);
    }
}

pub(crate) fn is_called_twice(host: &Host, subject: &Subject) {
    let before = state(host);
    let pod = Pod::new();
    let call = subject.call(host, &pod);
    call.ok("DEL");
    call.add();
    let result = call.add();
    call.after(&result).ok("CHECK");
    assert_eq!(host.reservations("net").len(), 1, "{}", subject.plugin);
    call.ok("DEL");
    call.ok("DEL");
    assert_eq!(state(host), before, "{}", subject.plugin);
    assert!(pod.links().is_empty(), "{}", subject.plugin);
}

pub(crate) fn is_removed_whatever_has_gone_before(host: &Host, subject: &Subject) {
    let more: [Loss; 2] = [
        ("the name", |pod, call| {
            pod.sh("ip link set eth0 down && ip link set eth0 name other");
            call.clone()
        }),
        ("the configuration", |_, call| {
            call.set("mtu", "many")
                .set("master", "none")
                .set("device", "none")
                .set("mode", 1)
                .set("vlanId", 5000)
                .set("prevResult", json!({"cniVersion": "0.1.0", "ips": 3}))
        }),
    ];
    let before = state(host);
    for (what, lose) in LOSSES.into_iter().chain(more) {
        let pod = Pod::new();
        let call = subject.call(host, &pod);
        call.add();
        let call = lose(&pod, &call);
        call.ok("DEL");
        if subject.plugin == "host-device" && sh("ip -o link").matches(" nic0").count() == 0 {
            // The kernel removes the pair in the background.
            sh("while ip link show nic1 2>/dev/null; do sleep 0.01; done");
            add_device();
        }
        assert_eq!(state(host), before, "{} {what}", subject.plugin);
        call.ok("DEL");
    }
}

pub(crate) fn is_collected_unless_valid(host: &Host, subject: &Subject) {
    let before = state(host);
    let (kept, lost) = (Pod::new(), Pod::new());
    if subject.plugin == "host-device" {
        // One device: there is no other to keep.
        subject.call(host, &lost).add();
    } else {
        subject.call(host, &lost).add();
        subject.call(host, &kept).set("vlanId", 101).add();
    }
    let call = subject.call(host, &kept);
    call.fails("GC");
    call.valid(&[(kept.name(), "eth0"), (lost.name(), "eth0")])
        .ok("GC");
    assert_eq!(lost.links(), ["eth0"], "{}", subject.plugin);
    call.set("name", "another").valid(&[]).ok("GC");
    assert_eq!(lost.links(), ["eth0"], "{}", subject.plugin);
    call.valid(&[(kept.name(), "eth0")]).ok("GC");
    assert!(lost.links().is_empty(), "{}", subject.plugin);
    call.ok("DEL");
    assert_eq!(state(host), before, "{}", subject.plugin);
}

/// The kernel refuses the first request, then the second, and so on, until ADD has no more.
fn is_refused_at_each_request(host: &Host, subject: &Subject) {
    let before = state(host);
    let mut refused = 0;
    for nth in 1.. {
        let pod = Pod::new();
        let call = subject.call(host, &pod);
        let added = injected(host, &call, "sendto", "error=ENOBUFS", nth);
        if added.as_ref().is_none_or(|added| added.code == 0) {
            call.ok("DEL");
        } else {
            refused += 1;
        }
        assert_eq!(state(host), before, "{} {nth}: {added:?}", subject.plugin);
        assert!(
            pod.links().is_empty(),
            "{} {nth}: {added:?}",
            subject.plugin
        );
        if added.is_none() {
            break;
        }
    }
    assert!(refused > 4, "{}: {refused}", subject.plugin);
}

fn each(test: fn(&Host, &Subject)) {
    on_host(|host| {
        prepare();
        for subject in subjects() {
            test(host, &subject);
        }
    });
}

#[test]
fn an_add_of_an_interface_that_fails_at_any_step_leaves_nothing() {
    each(fails_and_leaves_nothing);
}

#[test]
fn an_add_of_an_interface_that_was_killed_leaves_nothing_that_the_next_call_does_not_clear() {
    each(|host, subject| is_killed_and_done_again(host, subject, Duration::from_micros(350)));
}

#[test]
fn an_add_of_which_the_kernel_refuses_any_request_leaves_nothing() {
    each(is_refused_at_each_request);
}

#[test]
fn an_interface_is_added_twice_and_deleted_twice() {
    each(is_called_twice);
}

#[test]
fn an_interface_is_deleted_whatever_has_gone_before() {
    each(is_removed_whatever_has_gone_before);
}

#[test]
fn interfaces_that_no_valid_attachment_has_are_collected() {
    each(is_collected_unless_valid);
}

#[test]
fn status_of_a_plugin_is_that_of_its_addresses_and_of_what_it_stands_on() {
    on_host(|host| {
        prepare();
        let pod = Pod::new();
        for subject in subjects() {
            let call = subject.call(host, &pod);
            call.ok("STATUS");
            let (_, error) = call
                .set("ipam", host.ipam(&["10.1.2.0/31"]))
                .fails("STATUS");
            assert!(error.contains("too small"), "{error}");
            if subject.plugin == "macvlan" {
                let (code, error) = call.set("master", "none").fails("STATUS");
                assert!(error.contains("failed to lookup master"), "{error}");
                assert_eq!(code, 50);
                let (code, _) = call.set("master", "").fails("STATUS");
                assert_eq!(code, 50, "no default route");
            }
        }
    });
}
