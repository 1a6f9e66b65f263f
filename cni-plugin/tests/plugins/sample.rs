//! `sample`.

use serde_json::{Value, json};

use super::chained::behind_bridge;
use super::lab::{Pod, on_host};

#[test]
fn what_a_plugin_is_given_is_shown_and_the_result_passed_on() {
    on_host(|host| {
        let keys = json!({"anything": 7, "runtimeConfig": {"mac": "02:00:00:00:00:01"}});
        let chained = behind_bridge(host, "sample", &keys);
        let call = chained.call.args("K8S_POD_NAME=web-0");
        let answer = call.run("ADD");
        let result: Value = serde_json::from_str(&answer.stdout).unwrap();
        assert_eq!(result, call.conf()["prevResult"]);
        let shown = answer.stderr.strip_prefix("sample: ").unwrap();
        let shown: Value = serde_json::from_str(shown).unwrap();
        assert_eq!(shown["command"], "ADD");
        assert_eq!(shown["containerID"], chained.pod.name());
        assert_eq!(shown["netns"], chained.pod.path());
        assert_eq!(&shown["config"], call.conf());
        assert!(shown["args"].as_str().unwrap().contains("web-0"), "{shown}");
        call.ok("CHECK");
        call.netns("").ok("DEL");
    });
}

#[test]
fn alone_it_has_an_empty_result() {
    on_host(|host| {
        let pod = Pod::new();
        let conf = json!({"cniVersion": "1.1.0", "name": "net", "type": "sample"});
        let call = host.call("sample", conf, &pod);
        assert_eq!(call.add(), json!({"cniVersion": "1.1.0"}));
        call.ok("STATUS");
        call.valid(&[]).ok("GC");
        assert_eq!(call.fails("CHECK").1, "Required prevResult missing; ");
    });
}
