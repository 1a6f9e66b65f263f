//! `portmap` behind plugins that give no address, or one that makes no sense.

use std::fs::File;

use serde_json::{Value, json};

use super::lab::{Pod, on_host};
use super::traffic::mapping;

#[test]
fn a_result_without_an_address_is_passed_on_and_one_with_nonsense_refused() {
    on_host(|host| {
        let pod = Pod::new();
        let conf = json!({
            "cniVersion": "1.0.0", "name": "net", "type": "portmap", "stateDir": host.path("run"),
            "runtimeConfig": {"portMappings": [mapping("tcp", "", 8080, 80)]},
            "prevResult": {"cniVersion": "1.0.0", "interfaces": [{"name": "eth0", "sandbox": pod.path()}]},
        });
        let call = host.call("portmap", conf, &pod);
        let answer = call.run("ADD");
        let result: Value = serde_json::from_str(&answer.stdout).unwrap();
        assert_eq!(result, call.conf()["prevResult"]);
        assert!(answer.stderr.contains("eth0 has no address"), "{answer:?}");
        // Nor does it matter whether anybody can read that.
        let conf = host.path("conf");
        std::fs::write(&conf, call.conf().to_string()).unwrap();
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut command = call.command("ADD");
        command.stdin(File::open(conf).unwrap()).stderr(full);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        call.ok("CHECK");
        call.ok("DEL");
        assert!(!host.path("run").exists());

        for address in [
            "0.0.0.0/0",
            "255.255.255.255/32",
            "224.0.0.1/4",
            "127.0.0.1/8",
            "::/0",
            "ff02::1/64",
        ] {
            let since = std::time::Instant::now();
            let ips = json!({"cniVersion": "1.0.0", "ips": [{"address": address}]});
            let (code, text) = call.set("prevResult", ips).fails("ADD");
            assert!(
                text.contains(&format!("the address {address}, which no host can have")),
                "{text}"
            );
            assert_eq!(code, 7);
            assert!(
                since.elapsed().as_secs() < 5,
                "it is not tried again and again"
            );
            assert!(!host.path("run").exists());
        }
    });
}
