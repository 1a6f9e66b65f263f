//! Addresses of containers that died without DEL.

use std::fs;
use std::io::Read;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::lab::{Call, Host, Pod, on_host};

fn call(host: &Host, pod: &Pod) -> Call {
    let conf = json!({"cniVersion": "1.0.0", "name": "net", "type": "ipvlan", "ipam": host.ipam(&["10.1.2.0/29"])});
    host.call("host-local", conf, pod)
}

fn address(result: &Value) -> &str {
    result["ips"][0]["address"].as_str().unwrap()
}

#[test]
fn five_dead_sandboxes_do_not_exhaust_a_small_subnet() {
    on_host(|host| {
        let pods: Vec<Pod> = (0..5).map(|_| Pod::new()).collect();
        pods.iter().for_each(|pod| drop(call(host, pod).add()));
        let next = Pod::new();
        let status = call(host, &next).set("cniVersion", "1.1.0");
        assert_eq!(call(host, &next).fails("ADD").0, 102, "all of them live");
        assert_eq!(status.fails("STATUS").0, 50);

        let ids: Vec<String> = pods.iter().map(|pod| pod.name().to_owned()).collect();
        let alive = pods.into_iter().nth(1).unwrap();
        status.ok("STATUS");
        assert_eq!(address(&call(host, &next).add()), "10.1.2.2/29");
        assert_eq!(host.reservations("net"), ["10.1.2.2", "10.1.2.3"]);
        call(host, &alive).ok("CHECK");
        // Their DELs come late, and take nothing from the new holder.
        for id in ids.iter().filter(|id| **id != alive.name()) {
            call(host, &next).container_id(id).netns("").ok("DEL");
        }
        call(host, &next).ok("CHECK");
        call(host, &next).ok("DEL");
        let dir = host.path("data/net/.netns");
        assert_eq!(
            fs::read_dir(dir).unwrap().count(),
            1,
            "the note of the one that lives"
        );
    });
}

#[test]
fn a_requested_address_of_a_dead_sandbox_is_given_and_garbage_collection_frees_it() {
    on_host(|host| {
        let add = |pod: &Pod| call(host, pod).args("IP=10.1.2.4").add();
        let (dead, live) = (Pod::new(), Pod::new());
        add(&dead);
        assert_eq!(call(host, &live).args("IP=10.1.2.4").fails("ADD").0, 104);
        drop(dead);
        assert_eq!(address(&add(&live)), "10.1.2.4/29");
        let gc = call(host, &live)
            .set("cniVersion", "1.1.0")
            .valid(&[(live.name(), "eth0")]);
        gc.ok("GC");
        assert_eq!(host.reservations("net"), ["10.1.2.4"]);
        drop(live);
        gc.ok("GC");
        assert!(host.reservations("net").is_empty());
    });
}

#[test]
fn a_namespace_that_lives_on_without_its_path_keeps_its_address() {
    on_host(|host| {
        let conf = host.bridge_conf("1.0.0", &["10.1.2.0/30"]);
        let bridge = |pod: &Pod| host.call("bridge", conf.clone(), pod);
        let (pod, next) = (Pod::new(), Pod::new());
        bridge(&pod).add();
        let mut inside = std::process::Command::new("ip")
            .args([
                "netns",
                "exec",
                pod.name(),
                "sh",
                "-c",
                "echo in; exec sleep 100",
            ])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = [0; 2];
        inside.stdout.take().unwrap().read_exact(&mut said).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        drop(pod);
        assert_eq!(bridge(&next).fails("ADD").0, 102);
        inside.kill().unwrap();
        inside.wait().unwrap();
        while !host.veths().is_empty() {
            assert!(Instant::now() < deadline, "the namespace goes");
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(address(&bridge(&next).add()), "10.1.2.2/30");
    });
}

#[test]
fn the_go_plugin_reads_and_releases_what_has_a_note_and_what_it_reserves_has_none() {
    on_host(|host| {
        let (ours, theirs) = (Pod::new(), Pod::new());
        let result = call(host, &ours).add();
        call(host, &ours).of_go().after(&result).ok("CHECK");
        assert_eq!(address(&call(host, &theirs).of_go().add()), "10.1.2.3/29");
        call(host, &ours).of_go().ok("DEL");
        assert_eq!(host.reservations("net"), ["10.1.2.3"]);
        // The note of the released address is not its next holder's.
        call(host, &theirs)
            .of_go()
            .container_id("go")
            .ifname("net1")
            .args("IP=10.1.2.2")
            .add();
        drop(ours);
        drop(theirs);
        let pods: Vec<Pod> = (0..3).map(|_| Pod::new()).collect();
        pods.iter().for_each(|pod| drop(call(host, pod).add()));
        assert_eq!(
            call(host, &Pod::new()).fails("ADD").0,
            102,
            "nothing says that Go's are gone"
        );
        call(host, &pods[0])
            .of_go()
            .container_id("go")
            .ifname("net1")
            .ok("DEL");
        assert!(!host.reservations("net").contains(&"10.1.2.2".to_owned()));
    });
}
