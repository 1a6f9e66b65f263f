//! The daemon of `dhcp` where something goes wrong.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

use super::dhcp_lab::{Link, Process, alone, daemon, eventually, given, kept, macvlan};
use super::lab::{Pod, on_host};

#[test]
fn without_a_daemon_add_and_status_say_how_to_start_it_and_del_and_gc_succeed() {
    on_host(|host| {
        let (_link, pod) = (Link::new(), Pod::new());
        let call = alone(host, &pod);
        let (code, text) = call.fails("ADD");
        assert_eq!(code, 11);
        assert!(text.contains("error dialing DHCP daemon"), "{text}");
        assert!(text.contains("tweed-dhcp.socket"), "{text}");
        assert_eq!(call.fails("STATUS").0, 50);
        call.ok("DEL");
        call.valid(&[]).ok("GC");
    });
}

#[test]
fn where_no_server_answers_add_fails_in_time_and_leaves_nothing() {
    on_host(|host| {
        let (_link, pod) = (Link::new(), Pod::new());
        let daemon = daemon(host, "-resendtimeout 2s -timeout=500ms");
        let begin = Instant::now();
        let (_, text) = alone(host, &pod).fails("ADD");
        assert!(
            text.contains("no lease within 2 s: no server answered"),
            "{text}"
        );
        assert!(begin.elapsed() < Duration::from_secs(20));
        assert_eq!(kept(host), 0, "{}", daemon.log());
    });
}

#[test]
fn a_runtime_that_gives_up_ends_the_search() {
    on_host(|host| {
        let (_link, pod) = (Link::new(), Pod::new());
        let daemon = daemon(host, "");
        alone(host, &pod).kill_after("ADD", Duration::from_millis(300));
        daemon.wait_for("the caller is gone");
    });
}

#[test]
fn the_lease_of_a_namespace_that_disappears_is_forgotten_also_after_a_restart() {
    on_host(|host| {
        let link = Link::new();
        let _server = link.dnsmasq(host, "");
        let first = daemon(host, "");
        let pods = [Pod::new(), Pod::new()];
        pods.iter().for_each(|pod| drop(alone(host, pod).add()));
        assert_eq!(kept(host), 2);
        let [one, two] = pods;
        drop_netns(&one);
        eventually("the first lease is forgotten", || kept(host) == 1);
        first.wait_for("gone");
        drop(first);
        drop_netns(&two);
        let _second = daemon(host, "");
        eventually("the second lease is forgotten", || kept(host) == 0);
    });
}

fn drop_netns(pod: &Pod) {
    super::lab::sh(&format!("ip netns del {}", pod.name()));
    super::lab::sh(&format!("ip netns add {}", pod.name()));
}

#[test]
fn gc_gives_back_what_no_valid_attachment_has_and_nothing_of_another_network() {
    on_host(|host| {
        let link = Link::new();
        let _server = link.dnsmasq(host, "");
        let _daemon = daemon(host, "");
        let pods = [Pod::new(), Pod::new(), Pod::new()];
        let calls = [&pods[0], &pods[1], &pods[2]].map(|pod| alone(host, pod));
        calls[0].add();
        let kept_address = calls[1].add()["ips"][0]["address"].clone();
        let other = calls[2].set("name", "other").add()["ips"][0]["address"].clone();
        calls[0].valid(&[(pods[1].name(), "eth0")]).ok("GC");
        let mut left = [kept_address, other].map(|it| it.as_str().unwrap().replace("/16", ""));
        left.sort();
        eventually("one is given back", || given(host) == left);
        assert_eq!(kept(host), 2);
    });
}

#[test]
fn a_lease_that_can_not_be_saved_is_given_back_and_add_says_why() {
    on_host(|host| {
        let (link, pod) = (Link::new(), Pod::new());
        let _server = link.dnsmasq(host, "");
        let leases = host.path("full");
        std::fs::create_dir(&leases).unwrap();
        // Two files, folder and lock.
        let script = format!(
            "mount -t tmpfs -o size=64k,nr_inodes=2 tmpfs {0} && exec {1} daemon -socketpath {2} -leasedir {0}",
            leases.display(),
            host.path("bin/dhcp").display(),
            host.path("dhcp.sock").display()
        );
        let mut command = Command::new("unshare");
        command.args(["-m", "--propagation", "slave", "sh", "-c", &script]);
        let daemon = Process::start(host, "daemon", command);
        eventually("the daemon listens", || host.path("dhcp.sock").exists());
        let (_, text) = alone(host, &pod).fails("ADD");
        assert!(text.contains("save the lease of 10.9."), "{text}");
        assert!(text.contains("No space left"), "{text}");
        eventually("the address is given back", || given(host).is_empty());
        drop(daemon);
    });
}

#[test]
fn two_hundred_pods_at_once_have_an_address_each_and_keep_them_through_a_kill() {
    on_host(|host| {
        let link = Link::new();
        let _server = link.dnsmasq(host, "--dhcp-lease-max=1000");
        let first = daemon(host, "");
        let pods: Vec<Pod> = (0..200).map(|_| Pod::new()).collect();
        let calls: Vec<_> = pods.iter().map(|pod| alone(host, pod)).collect();
        let children: Vec<_> = calls.iter().map(|call| call.start("ADD")).collect();
        let mut results = Vec::new();
        for child in children {
            let output = child.wait_with_output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            assert!(output.status.success(), "{text} {}", first.log());
            let result: serde_json::Value = serde_json::from_str(&text).unwrap();
            results.push(result);
        }
        let mut addresses: Vec<String> = results
            .iter()
            .map(|result| result["ips"][0]["address"].to_string())
            .collect();
        addresses.sort();
        addresses.dedup();
        assert_eq!((addresses.len(), kept(host)), (200, 200));
        drop(first);
        let second = daemon(host, "");
        eventually("all are verified", || second.count("for 120 s") >= 400);
        for (call, result) in calls.iter().zip(&results) {
            call.after(result).ok("CHECK");
        }
        let children: Vec<_> = calls.iter().map(|call| call.start("DEL")).collect();
        for mut child in children {
            assert!(child.wait().unwrap().success());
        }
        eventually("all are given back", || given(host).is_empty());
        assert_eq!(kept(host), 0);
    });
}

#[test]
fn a_server_that_forgets_a_lease_and_refuses_it_is_asked_for_the_same_address_again() {
    on_host(|host| {
        let (link, pod) = (Link::new(), Pod::new());
        let server = link.dnsmasq(host, "");
        let first = daemon(host, "");
        let call = macvlan(host, &pod);
        let result = call.add();
        let address = pod.addrs("eth0");
        drop((server, first));
        std::fs::remove_file(host.path("leases")).unwrap();
        let _server = link.dnsmasq(host, "");
        let second = daemon(host, "");
        eventually("it has it again", || second.count("for 120 s") > 1);
        assert_eq!(pod.addrs("eth0"), address);
        call.after(&result).ok("CHECK");
    });
}

#[test]
fn only_root_can_use_the_socket_and_a_clean_end_removes_it_and_keeps_the_leases() {
    on_host(|host| {
        let (link, pod) = (Link::new(), Pod::new());
        let _server = link.dnsmasq(host, "");
        let pidfile = host.path("pid");
        let mut daemon = daemon(host, &format!("-pidfile {}", pidfile.display()));
        let mode = |name: &str| host.path(name).metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("dhcp.sock"), mode("dhcp.leases")), (0o600, 0o700));
        assert!(pidfile.exists());
        alone(host, &pod).add();
        daemon.stop();
        assert!(!host.path("dhcp.sock").exists() && !pidfile.exists());
        assert_eq!(kept(host), 1);
    });
}

#[test]
fn systemd_passes_the_socket() {
    on_host(|host| {
        let (link, pod) = (Link::new(), Pod::new());
        let _server = link.dnsmasq(host, "");
        let mut command = Command::new("systemd-socket-activate");
        command.arg("-l").arg(host.path("dhcp.sock"));
        command.arg(host.path("bin/dhcp")).arg("daemon");
        command.arg("-leasedir").arg(host.path("dhcp.leases"));
        let _daemon = Process::start(host, "activated", command);
        eventually("systemd listens", || host.path("dhcp.sock").exists());
        alone(host, &pod).add();
        assert_eq!(kept(host), 1);
    });
}

#[test]
fn a_pod_for_which_the_server_has_no_address_fails_in_time_and_the_first_keeps_its() {
    on_host(|host| {
        let link = Link::new();
        let _server = link.udhcpd_with(host, 60, 1);
        let daemon = daemon(host, "-resendtimeout 8s -timeout=1s");
        let (one, two) = (Pod::new(), Pod::new());
        let first = alone(host, &one);
        let result = first.add();
        assert_eq!(result["ips"][0]["address"], "10.9.1.1/16");
        let begin = Instant::now();
        let (_, text) = alone(host, &two).fails("ADD");
        assert!(text.contains("no lease within 8 s"), "{text}");
        assert!(begin.elapsed() < Duration::from_secs(40));
        assert_eq!(kept(host), 1, "{}", daemon.log());
        first.after(&result).ok("CHECK");
    });
}
