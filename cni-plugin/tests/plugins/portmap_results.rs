//! `portmap` behind plugins that give no address, or one that makes no sense.

use std::fs::File;

use serde_json::{Value, json};

use super::lab::{Pod, on_host, sh};
use super::traffic::{At, Server, mapped, mapping};

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

/// CVE-2025-67499: Go's plugin led every forwarded packet with the port to the container.
#[test]
fn a_packet_that_the_host_forwards_to_another_machine_goes_there_whatever_its_port() {
    on_host(|host| {
        let pod = mapped(
            host,
            &json!([mapping("tcp", "", 8080, 80), mapping("udp", "", 8080, 80)]),
        );
        sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
        let machines = [1, 2].map(|number| {
            let machine = Pod::new();
            let (link, name) = (format!("wire{number}"), machine.name());
            sh(&format!(
                "ip link add {link} type veth peer name eth0 netns {name}"
            ));
            for (end, last) in [(&link, 1), (&"eth0".to_owned(), 2)] {
                let run = |command: String| match last {
                    1 => sh(&command),
                    _ => machine.sh(&command),
                };
                run(format!(
                    "ip link set {end} up; ip addr add 198.51.10{number}.{last}/24 dev {end}"
                ));
                run(format!(
                    "ip addr add 2001:db8:{number}::{last}/64 dev {end} nodad"
                ));
            }
            machine.sh(&format!("ip route add default via 198.51.10{number}.1"));
            machine.sh(&format!("ip route add default via 2001:db8:{number}::1"));
            machine
        });
        let [one, two] = &machines;
        let (there, inside) = (
            Server::at(At::Pod(two), 8080),
            Server::at(At::Pod(&pod.pod), 80),
        );
        for (from, to) in [
            ("198.51.101.2", "198.51.102.2:8080"),
            ("2001:db8:1::2", "[2001:db8:2::2]:8080"),
        ] {
            let from = Some(from.parse().unwrap());
            assert_eq!(there.tcp_from(At::Pod(one), to), from, "{to}");
            assert_eq!(there.udp_from(At::Pod(one), to), from, "{to}");
        }
        assert!(
            inside.tcp_from(At::Pod(one), "198.51.101.1:8080").is_some(),
            "the host's own"
        );
    });
}
