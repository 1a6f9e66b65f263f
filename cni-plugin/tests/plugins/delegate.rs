//! Plugins that call others: in process where we have them, from `CNI_PATH` where we don't or where it is asked for.

use std::fs;

use serde_json::json;

use super::lab::{Host, Pod, on_host};

/// A program that writes down how it was called, answers ADD with a result, and everything else with success.
const RECORDER: &str = r#"
echo "$CNI_COMMAND $CNI_IFNAME $CNI_ARGS" >> "$(dirname $0)/calls"
cat > "$(dirname $0)/conf"
[ "$CNI_COMMAND" = ADD ] && echo '{"cniVersion":"1.0.0","ips":[{"address":"10.5.0.9/24","gateway":"10.5.0.1"}]}'
exit 0"#;

fn calls(host: &Host) -> Vec<String> {
    let text = fs::read_to_string(host.path("programs/calls")).unwrap_or_default();
    text.lines().map(|line| line.trim().to_owned()).collect()
}

#[test]
fn ours_runs_in_process_whatever_lies_in_the_path() {
    on_host(|host| {
        let dir = host.program("host-local", RECORDER);
        let pod = Pod::new();
        let call = host
            .call("bridge", host.bridge_conf("1.0.0", &["10.1.2.0/24"]), &pod)
            .path(dir.to_str().unwrap());
        assert_eq!(call.add()["ips"][0]["address"], "10.1.2.2/24");
        call.ok("DEL");
        assert!(calls(host).is_empty());
    });
}

#[test]
fn the_program_runs_if_the_configuration_asks_for_it() {
    on_host(|host| {
        let dir = host.program("host-local", RECORDER);
        let pod = Pod::new();
        let mut ipam = host.ipam(&["10.1.2.0/24"]);
        ipam["exec"] = json!(true);
        let call = host
            .call("bridge", host.bridge_conf("1.0.0", &[]), &pod)
            .set("ipam", ipam)
            .path(dir.to_str().unwrap())
            .args("K8S_POD_NAME=x");
        let result = call.add();
        assert_eq!(result["ips"][0]["address"], "10.5.0.9/24");
        assert!(pod.reaches("10.5.0.1"));
        call.after(&result).ok("CHECK");
        call.ok("DEL");
        assert_eq!(
            calls(host),
            ["ADD", "CHECK", "DEL"].map(|verb| format!("{verb} eth0 K8S_POD_NAME=x"))
        );
        let conf = fs::read_to_string(host.path("programs/conf")).unwrap();
        assert!(
            conf.contains("\"bridge\":\"cni0\""),
            "the whole configuration: {conf}"
        );
    });
}

#[test]
fn a_foreign_delegate_gets_what_flannel_would_give_it() {
    on_host(|host| {
        fs::write(
            host.path("subnet.env"),
            "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.0.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n",
        )
        .unwrap();
        let dir = host.program("sriov", RECORDER);
        let pod = Pod::new();
        let conf = json!({
            "cniVersion": "1.0.0", "name": "cbr0", "type": "flannel", "subnetFile": host.path("subnet.env"),
            "dataDir": host.path("flannel"), "delegate": {"type": "sriov", "master": "up0"},
        });
        let call = host.call("flannel", conf, &pod).path(dir.to_str().unwrap());
        assert_eq!(call.add()["ips"][0]["address"], "10.5.0.9/24");
        assert_eq!(
            fs::read_to_string(host.path("programs/conf")).unwrap(),
            r#"{"cniVersion":"1.0.0","ipMasq":false,"ipam":{"ranges":[[{"subnet":"10.5.0.0/24"}]],"routes":[{"dst":"10.5.0.0/16"}],"type":"host-local"},"master":"up0","mtu":1450,"name":"cbr0","type":"sriov"}"#
        );
        call.ok("DEL");
        assert_eq!(calls(host), ["ADD eth0", "DEL eth0"]);
    });
}

#[test]
fn a_foreign_delegate_is_undone_when_a_plugin_behind_it_fails() {
    on_host(|host| {
        fs::write(
            host.path("subnet.env"),
            "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.0.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n",
        )
        .unwrap();
        let dir = host.program("sriov", RECORDER);
        let conf = json!({
            "cniVersion": "1.0.0", "name": "cbr0", "type": "flannel", "subnetFile": host.path("subnet.env"),
            "dataDir": host.path("flannel"), "delegate": {"type": "sriov"},
            "runtimeConfig": {"portMappings": [{"hostPort": 0, "containerPort": 80}]},
        });
        let pod = Pod::new();
        let call = host.call("flannel", conf, &pod).path(dir.to_str().unwrap());
        let (code, text) = call.fails("ADD");
        assert_eq!(
            (code, text.contains("Invalid host port number: 0")),
            (7, true),
            "{text}"
        );
        assert_eq!(calls(host), ["ADD eth0", "DEL eth0"]);
        assert_eq!(fs::read_dir(host.path("flannel")).unwrap().count(), 0);
    });
}

#[test]
fn a_foreign_ipam_plugin_that_fails_gets_a_del_and_its_error_is_passed_on() {
    on_host(|host| {
        let pod = Pod::new();
        for (script, code, text) in [
            (
                "echo '{\"code\":42,\"msg\":\"no pool\",\"details\":\"ask Bob\"}'; exit 1",
                42,
                "no pool; ask Bob",
            ),
            (
                "echo 'segfault' >&2; exit 139",
                999,
                "plugin pool failed (exit status: 139) saying \"segfault\"",
            ),
            (
                "exit 1",
                999,
                "plugin pool failed (exit status: 1) with no error message",
            ),
            (
                "echo 'not json'",
                6,
                "plugin pool answered ADD with no result",
            ),
            (
                "echo '{\"cniVersion\":\"1.0.0\"}'",
                999,
                "IPAM plugin returned missing IP config; ipam.type is pool",
            ),
            (
                "echo '{\"cniVersion\":\"7.0.0\"}'",
                1,
                "unsupported CNI result version \"7.0.0\"",
            ),
        ] {
            let script = format!(
                "echo $CNI_COMMAND >> $(dirname $0)/calls; cat >/dev/null; [ $CNI_COMMAND = DEL ] && exit 0; {script}"
            );
            let dir = host.program("pool", &script);
            let call = host
                .call("bridge", host.bridge_conf("1.0.0", &[]), &pod)
                .set("ipam", json!({"type": "pool"}))
                .path(dir.to_str().unwrap());
            let (is, error) = call.fails("ADD");
            assert!(error.contains(text), "{error}");
            assert_eq!(is, code, "{error}");
            assert_eq!(calls(host), ["ADD", "DEL"]);
            fs::remove_file(host.path("programs/calls")).unwrap();
            assert!(host.veths().is_empty() && pod.links().is_empty());
        }
    });
}

#[test]
fn an_ipam_plugin_that_refuses_del_does_not_keep_the_link() {
    on_host(|host| {
        let script = RECORDER.replace("exit 0", "[ $CNI_COMMAND != DEL ]");
        let dir = host.program("pool", &script);
        let pod = Pod::new();
        let call = host
            .call("bridge", host.bridge_conf("1.0.0", &[]), &pod)
            .set("ipam", json!({"type": "pool"}))
            .path(dir.to_str().unwrap());
        call.add();
        assert!(call.fails("DEL").1.contains("plugin pool failed"));
        assert!(pod.links().is_empty() && host.veths().is_empty());
    });
}
