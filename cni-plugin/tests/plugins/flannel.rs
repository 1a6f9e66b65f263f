//! `flannel` and `tweed`: from `subnet.env` to pods.

use std::fs;

use serde_json::{Value, json};

use super::lab::{Call, Host, Pod, VERSIONS, addrs, on_host, sh};

const V4: &str = "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\n\
    FLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";
const V6: &str = "FLANNEL_IPV6_NETWORK=fc00::/48\nFLANNEL_IPV6_SUBNET=fc00:0:0:1::1/64\n\
    FLANNEL_MTU=1430\nFLANNEL_IPMASQ=true\n";
const DUAL: &str = "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\n\
    FLANNEL_IPV6_NETWORK=fc00::/48\nFLANNEL_IPV6_SUBNET=fc00:0:0:1::1/64\n\
    FLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";

fn write_env(host: &Host, text: &str) {
    fs::write(host.path("subnet.env"), text).unwrap();
}

fn conf(host: &Host, version: &str) -> Value {
    json!({
        "cniVersion": version, "name": "cbr0", "type": "tweed",
        "subnetFile": host.path("subnet.env"), "dataDir": host.path("flannel"),
        "ipam": {"dataDir": host.path("data")},
        "delegate": {"isDefaultGateway": true, "hairpinMode": true},
    })
}

fn call(host: &Host, pod: &Pod) -> Call {
    host.call("tweed", conf(host, "1.0.0"), pod)
}

fn saved(host: &Host) -> Vec<String> {
    let Ok(entries) = fs::read_dir(host.path("flannel")) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_pod_lives_through_all_verbs_in_every_version() {
    on_host(|host| {
        for (env, addresses) in [
            (V4, &["10.244.1."][..]),
            (V6, &["fc00:0:0:1::"][..]),
            (DUAL, &["10.244.1.", "fc00:0:0:1::"][..]),
        ] {
            write_env(host, env);
            for version in VERSIONS {
                for name in ["tweed", "flannel"] {
                    let pod = Pod::new();
                    let call = host.call(name, conf(host, version), &pod);
                    let result = call.add();
                    assert_eq!(result["cniVersion"], version);
                    let found = pod.addrs("eth0");
                    assert_eq!(found.len(), addresses.len());
                    for (is, start) in found.iter().zip(addresses) {
                        assert!(is.starts_with(start), "{is} {start}");
                    }
                    assert_eq!(saved(host), [pod.name()]);
                    if version >= "0.4.0" {
                        call.after(&result).ok("CHECK");
                    }
                    call.ok("DEL");
                    assert!(saved(host).is_empty());
                    assert!(host.veths().is_empty() && host.reservations("cbr0").is_empty());
                    call.ok("DEL");
                }
            }
        }
    });
}

#[test]
fn the_delegate_is_saved_as_flannel_saves_it() {
    on_host(|host| {
        write_env(host, V4);
        let pod = Pod::new();
        let call = call(host, &pod).set("cniVersion", "0.3.1");
        call.add();
        let dir = host.path("data");
        let expected = format!(
            r#"{{"cniVersion":"0.3.1","hairpinMode":true,"ipMasq":false,"ipam":{{"dataDir":"{}","ranges":[[{{"subnet":"10.244.1.0/24"}}]],"routes":[{{"dst":"10.244.0.0/16"}}],"type":"host-local"}},"isDefaultGateway":true,"isGateway":true,"mtu":1450,"name":"cbr0","type":"bridge"}}"#,
            dir.display()
        );
        let file = host.path("flannel").join(pod.name());
        assert_eq!(fs::read_to_string(&file).unwrap(), expected);
        let shown = sh(&format!(
            "stat -c '%a' {} {}",
            host.path("flannel").display(),
            file.display()
        ));
        assert_eq!(shown, "700\n600\n");
        assert!(pod.sh("ip link show eth0").contains("mtu 1450"));
        assert!(pod.sh("ip route").contains("10.244.0.0/16 via 10.244.1.1"));
    });
}

#[test]
fn two_interfaces_of_one_container_have_a_delegate_each() {
    on_host(|host| {
        write_env(host, V4);
        let pod = Pod::new();
        let eth0 = call(host, &pod);
        let net1 = eth0
            .ifname("net1")
            .set("delegate", json!({"isGateway": true}));
        eth0.add();
        let result = net1
            .set("ipam", json!({"dataDir": host.path("data"), "routes": []}))
            .run("ADD");
        // Both interfaces lead to the whole network; only one route may.
        assert_eq!(result.code, 0, "{result:?}");
        assert_eq!(
            saved(host),
            [pod.name().to_owned(), format!("{}@net1", pod.name())]
        );
        eth0.ok("DEL");
        assert_eq!(
            (pod.links(), saved(host)),
            (
                vec!["net1".to_owned()],
                vec![format!("{}@net1", pod.name())]
            )
        );
        net1.ok("DEL");
        assert!(pod.links().is_empty() && saved(host).is_empty());
        assert!(host.reservations("cbr0").is_empty());
    });
}

#[test]
fn an_add_that_is_repeated_leaves_no_file() {
    on_host(|host| {
        write_env(host, V4);
        let pod = Pod::new();
        let eth0 = call(host, &pod);
        eth0.add();
        eth0.add();
        eth0.ok("DEL");
        assert!(saved(host).is_empty(), "{:?}", saved(host));
        // Of two interfaces, the one that is left keeps its file, under whichever name it is.
        let net1 = eth0.ifname("net1").set("delegate", json!({}));
        net1.add();
        eth0.add();
        eth0.ok("DEL");
        assert_eq!(saved(host), [pod.name()]);
        net1.ok("DEL");
        assert!(saved(host).is_empty() && host.reservations("cbr0").is_empty());
    });
}

#[test]
fn a_pod_without_the_agents_file_is_refused_in_the_words_that_operators_search_for() {
    on_host(|host| {
        let pod = Pod::new();
        let path = host.path("subnet.env");
        let path = path.display();
        for (text, cause) in [
            (None, format!("open {path}: no such file or directory")),
            (
                Some("FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\n"),
                format!("{path} is missing FLANNEL_MTU, FLANNEL_IPMASQ"),
            ),
            (
                Some("FLANNEL_SUBNET"),
                format!(
                    "{path} is missing FLANNEL_NETWORK, FLANNEL_IPV6_NETWORK, FLANNEL_SUBNET, FLANNEL_IPV6_SUBNET, FLANNEL_MTU, FLANNEL_IPMASQ"
                ),
            ),
            (
                Some("FLANNEL_MTU=x"),
                format!("{path} has FLANNEL_MTU=x, which is not a number of bytes such as 1450"),
            ),
        ] {
            if let Some(text) = text {
                write_env(host, text);
            }
            let expected = format!(
                "failed to load flannel 'subnet.env' file: {cause}. Check the flannel pod log for this node."
            );
            let (code, error) = call(host, &pod).fails("ADD");
            assert!(error.starts_with(&expected), "{error}");
            assert_eq!(code, 999);
            let (code, error) = call(host, &pod).set("cniVersion", "1.1.0").fails("STATUS");
            assert!(
                error.starts_with(&expected) && error.contains("start tweedd"),
                "{error}"
            );
            assert_eq!(code, 50);
            assert!(saved(host).is_empty());
        }
        write_env(host, V4);
        call(host, &pod).set("cniVersion", "1.1.0").ok("STATUS");
    });
}

#[test]
fn status_distinguishes_an_agent_that_is_gone_from_a_node_that_never_had_one() {
    on_host(|host| {
        write_env(host, V4);
        let pod = Pod::new();
        let call = call(host, &pod)
            .set("cniVersion", "1.1.0")
            .set("runDir", json!(host.path("run")));
        call.ok("STATUS");
        let (env, socket) = (host.path("subnet.env"), host.path("run/tweed.sock"));
        fs::create_dir(host.path("run")).unwrap();
        let text = format!(
            "subnet-file={}\nsocket={}\n",
            env.display(),
            socket.display()
        );
        fs::write(host.path("run/tweed.agent"), text).unwrap();
        let (code, text) = call.fails("STATUS");
        let expected = format!(
            "the agent of {} does not run: nothing answers at {}",
            env.display(),
            socket.display()
        );
        assert!(text.starts_with(&expected), "{text}");
        assert_eq!(code, 51);
        call.add();
        call.ok("DEL");
        let _agent = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        call.ok("STATUS");
        // Without the file no pod can be attached, with an agent or without.
        fs::remove_file(&env).unwrap();
        assert_eq!(call.fails("STATUS").0, 50);
    });
}

#[test]
fn del_goes_by_the_current_configuration_when_the_saved_one_is_gone_or_broken() {
    on_host(|host| {
        for env_is_there in [true, false] {
            for broken in [None, Some(""), Some("{\"type\":"), Some("[]")] {
                write_env(host, V4);
                let pod = Pod::new();
                call(host, &pod).add();
                let file = host.path("flannel").join(pod.name());
                match broken {
                    None => fs::remove_file(&file).unwrap(),
                    Some(text) => fs::write(&file, text).unwrap(),
                }
                if !env_is_there {
                    fs::remove_file(host.path("subnet.env")).unwrap();
                }
                call(host, &pod).ok("DEL");
                assert!(pod.links().is_empty() && host.veths().is_empty());
                assert!(host.reservations("cbr0").is_empty());
                assert!(saved(host).is_empty());
            }
        }
    });
}

#[test]
fn a_saved_delegate_is_kept_until_its_del_has_succeeded() {
    on_host(|host| {
        write_env(host, V4);
        let dir = host.program("stubborn", "cat >/dev/null; [ $CNI_COMMAND = ADD ] && echo '{\"cniVersion\":\"1.0.0\"}' && exit 0; [ -e $0.willing ] || { echo '{\"code\":11,\"msg\":\"not yet\"}'; exit 1; }");
        let pod = Pod::new();
        let call = call(host, &pod)
            .path(dir.to_str().unwrap())
            .set("delegate", json!({"type": "stubborn"}));
        call.add();
        assert_eq!(
            call.fails("DEL"),
            (11, "failed to delegate delete: not yet; ".to_owned())
        );
        assert_eq!(saved(host), [pod.name()]);
        fs::write(dir.join("stubborn.willing"), "").unwrap();
        call.ok("DEL");
        assert!(saved(host).is_empty());
    });
}

#[test]
fn an_add_that_fails_leaves_nothing() {
    on_host(|host| {
        write_env(host, V4);
        let pod = Pod::new();
        pod.sh("ip link add eth0 type bridge");
        let (code, text) = call(host, &pod).fails("ADD");
        assert_eq!(code, 100);
        assert!(
            text.starts_with("failed to delegate add: container veth name"),
            "{text}"
        );
        assert!(saved(host).is_empty() && host.reservations("cbr0").is_empty());
        assert!(host.veths().is_empty());
    });
}

#[test]
fn a_new_lease_moves_the_bridge() {
    on_host(|host| {
        write_env(host, V4);
        let (old, new) = (Pod::new(), Pod::new());
        call(host, &old).add();
        write_env(host, &V4.replace("10.244.1.1", "10.244.9.1"));
        assert_eq!(call(host, &new).fails("ADD").0, 104);
        call(host, &old).ok("DEL");
        call(host, &new).add();
        assert_eq!(addrs("cni0"), ["10.244.9.1/24"]);
        assert!(new.reaches("10.244.9.1"));
    });
}

#[test]
fn garbage_collection_reaches_the_delegate_and_the_saved_files() {
    on_host(|host| {
        write_env(host, V4);
        let pods = [Pod::new(), Pod::new()];
        let gc = |pod: &Pod| host.call("tweed", conf(host, "1.1.0"), pod);
        pods.iter().for_each(|pod| drop(gc(pod).add()));
        assert_eq!(gc(&pods[0]).fails("GC").0, 7);
        gc(&pods[0]).valid(&[(pods[0].name(), "eth0")]).ok("GC");
        assert_eq!(pods[0].links(), ["eth0"]);
        assert!(pods[1].links().is_empty());
        assert_eq!(host.reservations("cbr0"), ["10.244.1.2"]);
        assert_eq!(saved(host), [pods[0].name()]);
    });
}

#[test]
fn the_agents_masquerading_decides_about_the_plugins() {
    on_host(|host| {
        write_env(host, &V4.replace("IPMASQ=true", "IPMASQ=false"));
        let pod = Pod::new();
        let call = call(host, &pod).set("delegate", json!({"stateDir": host.path("run")}));
        call.add();
        assert!(sh("nft list table inet tweed-cni").contains("10.244.1.2 comment"));
        call.ok("DEL");
        assert!(!sh("nft list table inet tweed-cni").contains("10.244.1.2"));
    });
}

#[test]
fn a_plugin_killed_at_any_moment_leaves_nothing_that_del_does_not_remove() {
    on_host(|host| {
        write_env(host, V4);
        for n in 0..40_u64 {
            let pod = Pod::new();
            let call = call(host, &pod);
            call.kill_after("ADD", std::time::Duration::from_micros(n * 200));
            call.ok("DEL");
            assert!(saved(host).is_empty(), "{:?}", saved(host));
            assert!(pod.links().is_empty() && host.veths().is_empty());
            assert!(host.reservations("cbr0").is_empty());
        }
    });
}
