//! What the documents say to type is typed, word for word, on the lab: with a real systemd and a real etcd, at the
//! addresses that the documents use.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tweed_lab::cluster::Cluster;
use tweed_lab::cni::{OUR_PLUGINS, Runtime};
use tweed_lab::docker::Docker;
use tweed_lab::document::{self, blocks, with};
use tweed_lab::etcd::Etcd;
use tweed_lab::flannel::Node;
use tweed_lab::launch::{config, vxlan};
use tweed_lab::systemd::Systemd;
use tweed_lab::topology::{Host, Lab, Topology};
use tweed_lab::traffic;
use tweed_lab::wait::eventually;
use tweed_model::Family;

const README: &str = "README.md";
pub(crate) const BARE_METAL: &str = "docs/BARE-METAL.md";

#[test]
fn the_readme_sets_up_a_host_with_systemd_and_etcd() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let _etcd = Etcd::start(lab)?;
        move_to_documented_addresses(lab)?;
        let host = &lab.hosts[0];
        let systemd = Systemd::bare(lab, host)?;
        let blocks = blocks(README, "the_readme_sets_up_a_host_with_systemd_and_etcd")?;
        let printed = with(&blocks, "systemctl")?.run(host.place(), &checkout(lab)?)?;
        ensure!(printed.contains("ready    yes"), "{printed}");
        let state = systemd.ctl(&["is-active", "tweedd"])?;
        ensure!(state.trim() == "active", "{state}");
        systemd.ctl(&["stop", "tweedd"]).map(drop)
    })
}

#[test]
fn the_blocks_of_bare_metal_do_what_they_say() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let _etcd = Etcd::start(lab)?;
        move_to_documented_addresses(lab)?;
        let folder = checkout(lab)?;
        let all = blocks(BARE_METAL, "the_blocks_of_bare_metal_do_what_they_say")?;
        let first = lab.hosts[0].place();
        let run = |words: &str, place| with(&all, words)?.run(place, &folder);

        let store = lab.switch.place();
        store.cmd(["mkdir", "-p", "/etc/tweed"])?;
        fs::write(lab.switch.path("/etc/tweed/etcd-password"), "secret\n")?;
        run("etcdctl role add", store)?;
        run("etcdctl put", store)?;
        let summary = run("config set", first)?;
        ensure!(
            document::read(BARE_METAL)?.contains(summary.trim()),
            "not what the document says: {summary}"
        );
        run("networkd.conf", first)?;
        let managers = lab
            .hosts
            .iter()
            .map(|host| Systemd::bare(lab, host))
            .collect::<Result<Vec<_>>>()?;
        for host in &lab.hosts {
            run("systemctl enable --now tweedd", host.place())?;
        }
        let known = run("tweedd leases list", first)?;
        for words in ["ready    yes", "10.244.7.0/24", "192.0.2.10", "192.0.2.11"] {
            ensure!(known.contains(words), "{words} is not in {known}");
        }
        // The bridge of the other host is there with its first pod.
        let _pod = Runtime::tweed().pod(&lab.hosts[1])?;
        run("ip netns add try", first)?;
        eventually("each layer answers", || {
            run("ping -c 1 -I flannel.1", first).map(drop)
        })?;
        for manager in &managers {
            manager.ctl(&["stop", "tweedd"])?;
        }
        Ok(())
    })
}

/// A stand-in for flanneld, which is not installed: it reports that it is ready, and does nothing.
const FLANNELD: &str = "#!/bin/sh\nsystemd-notify --ready\nexec sleep infinity\n";

#[test]
fn a_unit_of_flannels_is_moved_to_tweedd_and_back_as_the_document_says() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let etcd = Etcd::start(lab)?;
        etcd.put_config(&vxlan())?;
        let (host, endpoint) = (&lab.hosts[0], Etcd::endpoint());
        let node = Node::of(host)?;
        node.announce(&etcd)?;
        node.lay_out(host, &[])?;
        let systemd = Systemd::bare(lab, host)?;
        let place = |path: &str, text: &str, mode: u32| -> Result<()> {
            let path = host.path(path);
            fs::create_dir_all(path.parent().context("a folder")?)?;
            fs::write(&path, text)?;
            Ok(fs::set_permissions(&path, PermissionsExt::from_mode(mode))?)
        };
        place("/usr/local/bin/flanneld", FLANNELD, 0o755)?;
        fs::copy(&lab.binaries.tweedd, host.path("/usr/local/bin/tweedd"))?;
        let unit = format!(
            "[Service]\nType=notify\nNotifyAccess=all\n\
             ExecStart=/usr/local/bin/flanneld -etcd-endpoints={endpoint} -iface=eth0 -ip-masq\n"
        );
        let flannels = "/etc/systemd/system/flanneld.service";
        place(flannels, &unit, 0o644)?;
        systemd.ctl(&["start", "flanneld"])?;

        let test = "a_unit_of_flannels_is_moved_to_tweedd_and_back_as_the_document_says";
        let all = blocks(BARE_METAL, test)?;
        let moved = with(&all, "sed")?.run(host.place(), Path::new("/"))?;
        ensure!(moved.contains("ready    yes"), "{moved}");
        ensure!(moved.contains(&node.subnet.to_string()), "{moved}");
        systemd.ctl(&["stop", "flanneld"])?;

        // The way back begins with our own unit.
        place(flannels, &unit, 0o644)?;
        let ours = fs::read_to_string(document::root().join("manifests/systemd/tweedd.service"))?;
        place("/etc/systemd/system/tweedd.service", &ours, 0o644)?;
        place(
            "/etc/tweed/tweedd.env",
            &format!("TWEED_ETCD_ENDPOINTS={endpoint}\n"),
            0o600,
        )?;
        systemd.ctl(&["daemon-reload"])?;
        systemd.ctl(&["start", "tweedd"])?;
        with(&all, "cleanup --hand-back")?.run(host.place(), Path::new("/"))?;
        let tables = host.sh("nft list tables")?;
        ensure!(!tables.contains("inet tweed\n"), "{tables}");
        host.sh("ip link show flannel.1")?;
        let state = systemd.ctl(&["is-active", "flanneld"])?;
        ensure!(state.trim() == "active", "{state}");
        systemd.ctl(&["stop", "flanneld"]).map(drop)
    })
}

#[test]
fn what_flannel_leaves_in_the_packet_filter_is_removed_as_documented() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let host = &lab.hosts[0];
        let script = "for t in iptables ip6tables; do\n\
             ln -sfn /usr/sbin/$t-nft /etc/alternatives/$t\n\
             $t -t nat -N FLANNEL-POSTRTG\n\
             $t -t nat -A FLANNEL-POSTRTG -m comment --comment 'flanneld masq' -j RETURN\n\
             $t -t nat -A POSTROUTING -m comment --comment 'flanneld masq' -j FLANNEL-POSTRTG\n\
             $t -N FLANNEL-FWD\n\
             $t -A FORWARD -m comment --comment 'flanneld forward' -j FLANNEL-FWD\n\
             done\nnft add table ip flannel-ipv4; nft add table ip6 flannel-ipv6";
        host.place().cmd(["sh", "-euc", script])?;
        let before = host.sh("nft list ruleset")?;
        ensure!(before.to_lowercase().contains("flannel"), "{before}");
        let test = "what_flannel_leaves_in_the_packet_filter_is_removed_as_documented";
        with(&blocks("docs/OWNERSHIP.md", test)?, "FLANNEL-FWD")?
            .run(host.place(), Path::new("/"))?;
        let after = host.sh("nft list ruleset")?;
        ensure!(!after.to_lowercase().contains("flannel"), "{after}");
        Ok(())
    })
}

#[test]
fn the_commands_that_look_at_the_data_plane_work_as_documented() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let udp = config(&[Family::V4], &json!({ "Type": "udp" }));
        let cluster = Cluster::on_etcd(lab, &udp)?;
        let host = &lab.hosts[0];
        host.sh("mount -t tmpfs -o mode=755 lab /usr/local/bin")?;
        symlink(&lab.binaries.tweedd, host.path("/usr/local/bin/tweedd"))?;
        // No node leases the first subnet of the network.
        let mut flood = std::process::Command::new("ping");
        flood.args(["-q", "-f", "-c", "100000", "10.244.0.7"]);
        let mut flood = cluster.pods[0].place().spawn(&mut flood)?;
        let test = "the_commands_that_look_at_the_data_plane_work_as_documented";
        let block = with(&blocks("docs/DATA-PLANE.md", test)?, "trace")?.clone();
        let printed = block.run(host.place(), Path::new("/"));
        flood.kill()?;
        flood.wait()?;
        let printed = printed?;
        for words in ["carried", "\"endpoint\"", "no peer has the destination"] {
            ensure!(printed.contains(words), "{words} is not in {printed}");
        }
        Ok(())
    })
}

#[test]
fn the_blocks_of_run_do_what_they_say() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let _cluster = Cluster::on_etcd(lab, &vxlan())?;
        let host = &lab.hosts[0];
        let _docker = Docker::start(host, &[])?;
        host.sh("mount -t tmpfs -o mode=755 lab /usr/local/bin")?;
        for binary in [&lab.binaries.tweedd, &lab.binaries.plugin] {
            let name = binary.file_name().context("a binary has a name")?;
            symlink(binary, host.path("/usr/local/bin").join(name))?;
        }
        host.sh(&format!("rm {OUR_PLUGINS}/tweed"))?;
        host.sh("/usr/local/bin/tweedd install-cni --plugin /usr/local/bin/tweed")?;
        let folder = lab.folder.path();
        let all = blocks("docs/RUN.md", "the_blocks_of_run_do_what_they_say")?;
        let printed = with(&all, "tweed run check tweed try")?.run(host.place(), folder)?;
        ensure!(printed.contains("10.244."), "{printed}");
        let printed = with(&all, "docker exec")?.run(host.place(), folder)?;
        ensure!(printed.contains("inet 10.244."), "{printed}");
        let printed = with(&all, "CAP_ARGS")?.run(host.place(), folder)?;
        ensure!(printed.contains("10.99.0.2/24"), "{printed}");
        let printed = with(&all, "./cnitool")?.run(host.place(), folder)?;
        ensure!(printed.contains("10.244."), "{printed}");
        let kept = fs::read_dir(host.path("/var/lib/cni/results"))?.count();
        ensure!(kept == 1, "more than the lab's own pod is attached: {kept}");
        Ok(())
    })
}

#[test]
fn pods_start_with_every_list_of_the_documents() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let cluster = Cluster::on_etcd(lab, &vxlan())?;
        let host = &lab.hosts[0];
        host.sh(&format!("rm {OUR_PLUGINS}/tweed"))?;
        host.sh(&format!(
            "{} install-cni --plugin {}",
            lab.binaries.tweedd.display(),
            lab.binaries.plugin.display()
        ))?;
        for block in document::everywhere("pods_start_with_every_list_of_the_documents")? {
            let list: Value = serde_json::from_str(&block.text)
                .with_context(|| format!("{}: {}", block.document, block.text))?;
            let mut runtime = match list["plugins"].as_array() {
                Some(plugins) => Runtime {
                    plugins: plugins.clone(),
                    ..Runtime::single(Value::Null)
                },
                None => Runtime::single(list.clone()),
            };
            runtime.path = vec![OUR_PLUGINS.to_owned()];
            let pod = runtime.pod(host)?;
            traffic::ping(pod.place(), cluster.pods[1].v4()?)
                .with_context(|| format!("{}: {}", block.document, block.text))?;
            runtime.del(&pod, "eth0")?;
        }
        Ok(())
    })
}

/// Gives the hosts 192.0.2.10 and up, and etcd 192.0.2.1, which is also their gateway.
pub(crate) fn move_to_documented_addresses(lab: &Lab) -> Result<()> {
    lab.switch.place().sh("ip addr add 192.0.2.1/24 dev seg0")?;
    for host in &lab.hosts {
        readdress(host)?;
    }
    Ok(())
}

fn readdress(host: &Host) -> Result<()> {
    host.sh("ip addr flush dev eth0")?;
    let last = 10 + host.index;
    host.sh(&format!("ip addr add 192.0.2.{last}/24 dev eth0"))?;
    host.sh("ip route add default via 192.0.2.1")?;
    // The lab's; the documents place it.
    host.sh(&format!("rm {OUR_PLUGINS}/tweed")).map(drop)
}

/// A folder that looks like a checkout after `make build`.
fn checkout(lab: &Lab) -> Result<PathBuf> {
    let folder = lab.folder.path().join("checkout");
    let built = folder.join("target/lab/release");
    fs::create_dir_all(&built)?;
    symlink(&lab.binaries.tweedd, built.join("tweedd"))?;
    symlink(&lab.binaries.plugin, built.join("tweed"))?;
    symlink(
        document::root().canonicalize()?.join("manifests"),
        folder.join("manifests"),
    )?;
    Ok(folder)
}
