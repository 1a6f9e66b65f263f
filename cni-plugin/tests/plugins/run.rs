//! `tweed run`: containers attached by hand, with anybody's plugins.

use std::fs;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::lab::{Host, Pod, on_host, sh};
use super::runner::Runner;

/// Ends with the test.
struct Process(Child);

impl Process {
    /// One in a network namespace of its own.
    fn new() -> Self {
        let mut child = Command::new("unshare")
            .args(["-n", "sh", "-c", "echo ready; exec sleep 600"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).unwrap();
        Self(child)
    }

    fn name(&self) -> String {
        format!("pid:{}", self.0.id())
    }

    fn end(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

#[test]
fn a_list_of_gos_plugins_is_attached_checked_and_detached() {
    on_host(|host| {
        let runner = Runner::new(host);
        let tuning = json!({"type": "tuning", "mac": "02:00:00:00:00:77"});
        runner.configure("1.0.0", json!([runner.bridge(), tuning]));
        let pod = Pod::new();
        let result = runner.add(&["add", "net", &pod.path()]);
        assert_eq!(result["ips"][0]["address"], "10.1.2.2/24");
        assert_eq!(pod.addrs("eth0"), ["10.1.2.2/24"]);
        assert!(pod.sh("ip link show eth0").contains("02:00:00:00:00:77"));
        assert!(pod.reaches("10.1.2.1"));
        runner.ok(&["check", "net", &pod.path()]);
        let (code, why) = runner.fails(&["add", "net", &pod.path()]);
        assert_eq!(code, 1);
        assert!(why.contains("net is attached already, as eth0"), "{why}");
        assert!(pod.reaches("10.1.2.1"), "and stays so");
        runner.add(&["add", "net", &pod.path(), "--ifname", "more"]);
        assert_eq!(runner.kept().len(), 2);
        for _ in 0..2 {
            for ifname in ["eth0", "more"] {
                runner.ok(&["del", "net", &pod.path(), "-i", ifname]);
            }
        }
        assert_eq!(pod.links(), [""; 0]);
        runner.is_clean();
    });
}

#[test]
fn our_plugins_need_no_folder_and_the_runner_no_variable() {
    on_host(|host| {
        let runner = Runner::new(host).with_path("/nowhere");
        let chain = json!([runner.bridge(), {"type": "tuning"}, {"type": "sample"}]);
        runner.configure("1.1.0", chain);
        let pod = Pod::new();
        runner.ok(&["status", "net"]);
        runner.add(&["add", "net", pod.name()]);
        assert!(pod.reaches("10.1.2.1"));
        runner.ok(&["check", "net", pod.name()]);
        let versions: Value = serde_json::from_str(&runner.ok(&["version", "net"])).unwrap();
        assert_eq!(versions["cniVersion"], "1.1.0");
        let spoken = versions["plugins"][0]["supportedVersions"]
            .as_array()
            .unwrap();
        assert_eq!(spoken.len(), 7, "{versions}");
        runner.ok(&["del", "net", pod.name()]);
        runner.is_clean();
    });
}

#[test]
fn a_file_in_place_of_the_name_is_used_and_need_be_in_no_folder() {
    on_host(|host| {
        let runner = Runner::new(host);
        let mut conf = runner.bridge();
        conf["cniVersion"] = "0.4.0".into();
        let file = host.path("any.conf");
        fs::write(&file, conf.to_string()).unwrap();
        let file = file.to_str().unwrap();
        let pod = Pod::new();
        let result = runner.add(&["add", file, &pod.path()]);
        assert_eq!(
            result["ips"][0]["version"], "4",
            "the version that the file has"
        );
        runner.ok(&["check", file, &pod.path()]);
        runner.ok(&["del", file, &pod.path()]);
        runner.is_clean();
    });
}

#[test]
fn values_of_capabilities_reach_the_plugins_that_have_them() {
    on_host(|host| {
        let runner = Runner::new(host);
        let mut bridge = runner.bridge();
        bridge["capabilities"] = json!({"mac": true, "ips": false});
        runner.configure("1.0.0", json!([bridge]));
        let pod = Pod::new();
        let mut command = runner.command(&["add", "net", &pod.path()]);
        command.env(
            "CAP_ARGS",
            r#"{"mac": "02:00:00:00:00:78", "ips": ["10.1.2.200/24"]}"#,
        );
        command.env("CNI_IFNAME", "own");
        let answer = super::lab::answer(command, "");
        assert_eq!(answer.code, 0, "{answer:?}");
        assert!(pod.sh("ip link show own").contains("02:00:00:00:00:78"));
        assert_eq!(pod.addrs("own"), ["10.1.2.2/24"]);
        let kept = fs::read_to_string(host.path("cache/results").join(&runner.kept()[0]));
        assert!(kept.unwrap().contains("02:00:00:00:00:78"));
        runner.ok(&["del", "net", &pod.path(), "-i", "own"]);
        runner.is_clean();
    });
}

#[test]
fn a_process_is_attached_by_its_number_and_detached_when_it_is_gone() {
    on_host(|host| {
        let runner = Runner::new(host);
        runner.configure("1.0.0", json!([runner.bridge()]));
        let mut process = Process::new();
        let name = process.name();
        let result = runner.add(&["add", "net", &name]);
        let found = result["interfaces"].as_array().unwrap();
        let inside = found
            .iter()
            .find(|it| it["sandbox"] != Value::Null)
            .unwrap();
        assert_eq!(inside["name"], "net1", "engines number eth0 and so on");
        assert!(sh(&format!("nsenter -n -t {} ip addr", process.0.id())).contains("10.1.2.2/24"));
        runner.ok(&["check", "net", &name]);
        let (_, why) = runner.fails(&["add", "net", &name]);
        assert!(why.contains("attached already, as net1"), "{why}");
        runner.add(&["add", "net", &name, "-i", "net9"]);
        process.end();
        let (code, why) = runner.fails(&["check", "net", &name]);
        assert_eq!(code, 4);
        assert!(why.contains("there is no process"), "{why}");
        for _ in 0..2 {
            runner.ok(&["del", "net", &name]);
            runner.is_clean();
        }
    });
}

#[test]
fn an_attachment_is_detached_though_its_network_is_configured_no_more() {
    on_host(|host| {
        let runner = Runner::new(host);
        runner.configure("1.0.0", json!([runner.bridge()]));
        let pod = Pod::new();
        runner.add(&["add", "net", &pod.path()]);
        fs::remove_file(host.path("net.d/10-net.conflist")).unwrap();
        let answer = runner.run(&["del", "net", &pod.path()]);
        assert_eq!(answer.code, 0, "{answer:?}");
        assert!(answer.stderr.contains("there is no network net any more"));
        runner.is_clean();
        assert_eq!(runner.fails(&["del", "net", &pod.path()]).0, 3);
    });
}

#[test]
fn gc_removes_what_is_left_of_containers_that_are_gone_and_nothing_else() {
    on_host(|host| {
        let runner = Runner::new(host);
        runner.configure("1.1.0", json!([runner.bridge()]));
        let (runner, keeper) = (runner.with_path("/nowhere"), Pod::new());
        runner.add(&["add", "net", &keeper.path()]);
        let lost = Pod::new();
        runner.add(&["add", "net", &lost.path()]);
        // No cache knows of this one: its ADD was killed.
        let killed = Pod::new();
        host.call("bridge", runner.bridge(), &killed).add();
        drop(lost);
        assert_eq!(host.reservations("net").len(), 3);
        runner.ok(&["gc", "net", "--keep", &format!("{}/eth0", killed.name())]);
        assert_eq!(host.reservations("net"), ["10.1.2.2", "10.1.2.4"]);
        runner.ok(&["gc", "net"]);
        assert_eq!(host.reservations("net"), ["10.1.2.2"]);
        assert!(keeper.reaches("10.1.2.1"));
        runner.ok(&["check", "net", &keeper.path()]);
        runner.ok(&["gc", "net", "--all"]);
        runner.is_clean();
        let (_, why) = runner.fails(&["gc", "net"]);
        assert!(why.contains("if it shall, say --all"), "{why}");
    });
}

#[test]
fn a_list_that_has_check_or_gc_disabled_calls_no_plugin_for_it() {
    on_host(|host| {
        let runner = Runner::new(host);
        runner.configure("1.1.0", json!([runner.bridge()]));
        let runner = runner.with_path("/nowhere");
        let pod = Pod::new();
        runner.add(&["add", "net", &pod.path()]);
        pod.sh("ip addr flush dev eth0");
        assert_eq!(runner.fails(&["check", "net", &pod.path()]).0, 1);
        let path = host.path("net.d/10-net.conflist");
        let mut list: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        list["disableCheck"] = true.into();
        list["disableGC"] = true.into();
        fs::write(&path, list.to_string()).unwrap();
        runner.ok(&["check", "net", &pod.path()]);
        runner.ok(&["gc", "net", "--all"]);
        assert_eq!(runner.kept().len(), 1);
        runner.ok(&["del", "net", &pod.path()]);
        runner.is_clean();
    });
}

/// Held by a second process, as by a second `tweed run`.
#[test]
fn one_at_a_time_attaches() {
    on_host(|host: &Host| {
        let runner = Runner::new(host);
        runner.configure("1.0.0", json!([runner.bridge()]));
        let pod = Pod::new();
        let name = pod.path();
        let children: Vec<_> = (0..4)
            .map(|_| {
                let mut command = runner.command(&["add", "net", &name]);
                command.stdout(Stdio::null()).stderr(Stdio::null());
                command.spawn().unwrap()
            })
            .collect();
        let codes: Vec<_> = children
            .into_iter()
            .map(|mut child| child.wait().unwrap().code())
            .collect();
        let done = codes.iter().filter(|code| **code == Some(0)).count();
        assert_eq!(done, 1, "{codes:?}");
        assert!(
            pod.reaches("10.1.2.1"),
            "the others have taken nothing away"
        );
        runner.ok(&["del", "net", &name]);
        runner.is_clean();
    });
}
