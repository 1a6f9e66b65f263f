//! What others read of ours, word for word as flannel has it: store, `subnet.env`, and the kernel as `ip` shows it.

use anyhow::{Result, ensure};
use tweed_lab::cluster::Cluster;
use tweed_lab::etcd::PREFIX;
use tweed_lab::fault::Vtep;
use tweed_lab::launch::{vxlan, vxlan_dual};
use tweed_lab::topology::Topology;
use tweed_model::Family;

#[test]
fn the_value_in_etcd_has_flannels_bytes_and_a_lease_of_a_day() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &vxlan())?;
        let host = &lab.hosts[0];
        let mac = Vtep::of(host, Family::V4)?.mac;
        let wanted = format!(
            r#"{{"PublicIP":"{}","PublicIPv6":null,"BackendType":"vxlan","BackendData":{{"VNI":1,"VtepMAC":"{mac}"}}}}"#,
            host.v4()
        );
        let etcd = cluster.etcd()?;
        let (key, _) = etcd.lease_of(host.v4())?;
        let path = format!("{PREFIX}/subnets/{key}");
        let found = etcd.ctl(&["get", "--print-value-only", "--", &path])?;
        ensure!(found.trim_end_matches('\n') == wanted, "{found} is not {wanted}");
        let lease = etcd.meta(&path)?["lease"].as_i64().unwrap_or(0);
        let ttl = etcd.ctl(&["lease", "timetolive", &format!("{lease:x}")])?;
        ensure!(ttl.contains("granted with TTL(86400s)"), "{ttl}");
        Ok(())
    })
}

#[test]
fn both_families_are_one_key_and_one_value() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &vxlan_dual())?;
        let host = &lab.hosts[0];
        let [v4, v6] = Family::BOTH.map(|family| Vtep::of(host, family));
        let (v4, v6) = (v4?.mac, v6?.mac);
        let subnets = Family::BOTH
            .map(|family| cluster.agents[0].subnet(family))
            .into_iter()
            .collect::<Result<Vec<_>>>()?;
        let etcd = cluster.etcd()?;
        let (key, _) = etcd.lease_of(host.v4())?;
        let wanted = format!("{}&{}", subnets[0], subnets[1]).replace('/', "-");
        ensure!(key == wanted, "{key} is not {wanted}");
        let found = etcd.ctl(&["get", "--print-value-only", "--", &format!("{PREFIX}/subnets/{key}")])?;
        let wanted = format!(
            r#"{{"PublicIP":"{}","PublicIPv6":"{}","BackendType":"vxlan","BackendData":{{"VNI":1,"VtepMAC":"{v4}"}},"BackendV6Data":{{"VNI":1,"VtepMAC":"{v6}"}}}}"#,
            host.v4(),
            host.v6()
        );
        ensure!(found.trim_end_matches('\n') == wanted, "{found} is not {wanted}");
        Ok(())
    })
}

#[test]
fn subnet_env_has_flannels_lines_in_flannels_order() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let cluster =
            Cluster::on_etcd_with(lab, &vxlan_dual(), |launch| launch.arg("-ip-masq=true"))?;
        let env = cluster.agents[0].subnet_env()?;
        let [v4, v6] = Family::BOTH.map(|family| env.subnets.get(family).copied());
        let (v4, v6) = (v4.expect("IPv4"), v6.expect("IPv6"));
        let wanted = format!(
            "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET={v4}\nFLANNEL_IPV6_NETWORK=fd00:10:244::/56\n\
             FLANNEL_IPV6_SUBNET={v6}\nFLANNEL_MTU=1430\nFLANNEL_IPMASQ=true\n"
        );
        ensure!(env.text == wanted, "{:?} is not {wanted:?}", env.text);
        ensure!(v4.addr() != v4.network(), "SUBNET carries the first address");
        Ok(())
    })
}

#[test]
fn the_kernel_shows_the_device_and_entries_that_flannel_would_make() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let cluster = Cluster::on_etcd(lab, &vxlan())?;
        let host = &lab.hosts[0];
        let device = host.sh("ip -d link show dev flannel.1")?;
        for words in [
            "mtu 1450 qdisc noqueue",
            &format!("vxlan id 1 local {} dev eth0 srcport 0 0 dstport 8472 nolearning ttl auto ageing 300 udpcsum noudp6zerocsumtx noudp6zerocsumrx", host.v4()),
        ] {
            ensure!(device.contains(words), "{words:?} is not in {device}");
        }
        ensure!(!device.contains("qlen"), "it has a queue: {device}");
        let subnet = cluster.agents[0].subnet(Family::V4)?;
        let addrs = host.sh("ip -o -4 addr show dev flannel.1")?;
        ensure!(addrs.contains(&format!("inet {}/32 scope global flannel.1", subnet.network())), "{addrs}");
        cluster.peer(1, Family::V4)?.is_programmed(host)?;
        Ok(())
    })
}
