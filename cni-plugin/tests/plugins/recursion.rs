//! Plugins that would call themselves, in one process or by way of others.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use super::lab::{Host, Pod, on_host};

const ENV: &str = "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\n\
    FLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";

fn flannel(host: &Host) -> Value {
    fs::write(host.path("subnet.env"), ENV).unwrap();
    json!({
        "cniVersion": "1.1.0", "name": "cbr0", "type": "flannel", "subnetFile": host.path("subnet.env"),
        "dataDir": host.path("flannel"), "ipam": {"dataDir": host.path("data")},
    })
}

#[test]
fn what_hands_out_no_addresses_is_refused_as_ipam_and_del_goes_on() {
    on_host(|host| {
        let pod = Pod::new();
        let conf = host.bridge_conf("1.1.0", &["10.1.2.0/24"]);
        let call = host
            .call("bridge", conf, &pod)
            .path(&host.path("bin").to_string_lossy());
        for name in [
            "bridge", "tweed", "flannel", "portmap", "loopback", "macvlan", "tuning",
        ] {
            for exec in [false, true] {
                let call = call.set("ipam", json!({"type": name, "exec": exec}));
                for verb in ["ADD", "STATUS"] {
                    let (code, text) = call.fails(verb);
                    let expected = format!(
                        "ipam.type is {name:?}, which hands out no addresses; want host-local, static, dhcp"
                    );
                    assert!(text.starts_with(&expected), "{text}");
                    assert_eq!(code, 7);
                }
                call.ok("DEL");
                call.valid(&[]).ok("GC");
            }
        }
        assert!(host.links().is_empty() && pod.links().is_empty());
    });
}

#[test]
fn what_attaches_nobody_is_refused_as_delegate_and_del_goes_on() {
    on_host(|host| {
        let pod = Pod::new();
        for plugin in ["tweed", "flannel"] {
            for name in ["tweed", "flannel", "host-local", "portmap", "static"] {
                let conf = flannel(host);
                let call = host
                    .call(plugin, conf, &pod)
                    .path(&host.path("bin").to_string_lossy())
                    .set("delegate", json!({"type": name}));
                let (code, text) = call.fails("ADD");
                let expected = format!("delegate.type is {name:?}, which makes no interface");
                assert!(text.starts_with(&expected), "{text}");
                assert_eq!(code, 7);
                // An earlier version has saved such a delegate.
                let file = host.path("flannel").join(pod.name());
                fs::create_dir_all(host.path("flannel")).unwrap();
                fs::write(&file, json!({"type": name, "name": "cbr0"}).to_string()).unwrap();
                call.ok("DEL");
                assert!(!file.exists());
                call.ok("DEL");
                call.valid(&[]).ok("GC");
            }
        }
        assert!(pod.links().is_empty());
    });
}

#[test]
fn a_link_to_us_under_anothers_name_does_not_start_us_without_end() {
    on_host(|host| {
        let pod = Pod::new();
        symlink(env!("CARGO_BIN_EXE_tweed"), host.path("bin/whereabouts")).unwrap();
        let call = host
            .call("bridge", host.bridge_conf("1.0.0", &[]), &pod)
            .path(&host.path("bin").to_string_lossy())
            .set("ipam", json!({"type": "whereabouts"}));
        let (code, text) = call.fails("ADD");
        assert!(
            text.contains("\"whereabouts\" is not a plugin of this binary"),
            "{text}"
        );
        assert_eq!(code, 7);
    });
}

#[test]
fn a_circle_by_way_of_somebody_elses_program_ends() {
    on_host(|host| {
        let pod = Pod::new();
        let bridge = host.path("bin/bridge");
        let script = format!("echo x >> $0.calls; exec {}", bridge.display());
        let dir = host.program("pool", &script);
        let call = host
            .call("bridge", host.bridge_conf("1.0.0", &[]), &pod)
            .path(dir.to_str().unwrap())
            .set("ipam", json!({"type": "pool"}));
        let (code, text) = call.fails("ADD");
        assert!(
            text.contains("plugins call each other in a circle"),
            "{text}"
        );
        assert_eq!(code, 7);
        assert!(call.fails("DEL").1.contains("in a circle"));
        let calls = fs::read_to_string(dir.join("pool.calls")).unwrap();
        assert!(calls.lines().count() < 50, "{}", calls.lines().count());
        assert!(host.veths().is_empty() && pod.links().is_empty());
    });
}

#[test]
fn a_configuration_with_a_wrong_type_attaches_nobody_and_del_goes_on() {
    on_host(|host| {
        let pod = Pod::new();
        let bridge = host.call("bridge", host.bridge_conf("1.0.0", &["10.1.2.0/24"]), &pod);
        let flannel = host.call("flannel", flannel(host), &pod);
        for (call, key, value, words) in [
            (
                &bridge,
                "ipam",
                json!("host-local"),
                "ipam: invalid type: string \"host-local\"",
            ),
            (
                &bridge,
                "bridge",
                json!(3),
                "bridge: invalid type: integer `3`, expected a string",
            ),
            (
                &bridge,
                "ipam",
                json!({"type": "host-local", "dataDir": 3}),
                "ipam: dataDir: invalid type",
            ),
            (
                &bridge,
                "args",
                json!({"cni": {"mac": 3}}),
                "args: cni: mac: invalid type",
            ),
            (
                &flannel,
                "delegate",
                json!(3),
                "delegate: invalid type: integer `3`, expected",
            ),
            (&flannel, "dataDir", json!(3), "dataDir: invalid type"),
            (
                &flannel,
                "delegate",
                json!({"bridge": 3}),
                "bridge: invalid type: integer `3`",
            ),
        ] {
            let call = call.set(key, value);
            let (code, text) = call.fails("ADD");
            assert!(text.contains(words), "{text}");
            assert_eq!(code, 6, "{text}");
            assert!(host.links().is_empty() && pod.links().is_empty());
            call.ok("DEL");
        }
    });
}
