//! The difference between wanted and observed attachments.

use std::collections::BTreeSet;

use super::held::{Attached, Pair, PodBridge, PodPort};
use super::repair::Repair;

/// The repairs, from the ground up: bridges, ports, addresses, switches, packet filter. A bridge without a port of an
/// attachment belongs to none: it is neither made nor changed.
pub fn repairs(want: &Attached, have: &Attached) -> Vec<Repair> {
    let ports: Vec<_> = want
        .ports
        .iter()
        .filter_map(|(name, port)| Some((name, port, have.ports.get(name)?)))
        .collect();
    let used: BTreeSet<&String> = ports
        .iter()
        .filter_map(|(_, port, _)| port.bridge.as_ref())
        .collect();
    let mut repairs = Vec::new();
    for (name, bridge) in &want.bridges {
        match have.bridges.get(name) {
            _ if !used.contains(name) => {}
            None => repairs.push(Repair::AddBridge(name.clone(), bridge.clone())),
            Some(there) if lacks(bridge, there) => {
                repairs.push(Repair::SetBridge(name.clone(), bridge.clone()));
            }
            Some(_) => {}
        }
    }
    for (name, pair) in &want.pairs {
        let port = want.ports.get(&pair.port);
        let of_used =
            port.is_some_and(|port| port.bridge.iter().any(|bridge| used.contains(bridge)));
        if let Some(port) = port.filter(|_| of_used && !stands(pair, have.pairs.get(name))) {
            repairs.push(Repair::PutPair(name.clone(), pair.clone(), port.clone()));
        }
    }
    for (name, port, there) in ports {
        if differs(port, there) {
            let owner = want.owners.get(name).cloned().unwrap_or_default();
            repairs.push(Repair::SetPort(name.clone(), port.clone(), owner));
        }
    }
    let on = |name: &String| used.contains(name) || want.pairs.contains_key(name);
    let addrs = want.addrs.difference(&have.addrs);
    let addrs = addrs.filter(|(name, _)| on(name));
    repairs.extend(addrs.map(|(name, net)| Repair::AddAddr(name.clone(), *net)));
    for (key, value) in &want.sysctls {
        // net/ipv4/conf/<interface>/…
        let of_used = key.split('/').nth(3);
        let of_used = of_used.is_some_and(|bridge| used.contains(&bridge.to_owned()));
        if of_used && have.sysctls.get(key) != Some(value) {
            repairs.push(Repair::SetSysctl(key.clone(), value.clone()));
        }
    }
    repairs.extend(table(want, have));
    repairs.extend(have.gone.iter().cloned().map(Repair::Sweep));
    if !have.discarded.is_empty() {
        repairs.push(Repair::RemoveLinks(have.discarded.clone()));
    }
    repairs
}

/// Ports of attachments that are not there: only the container's runtime can make them.
pub fn missing_ports<'a>(
    want: &'a Attached,
    have: &'a Attached,
) -> impl Iterator<Item = (&'a String, &'a String)> {
    let missing = want.owners.iter();
    missing.filter(|(name, _)| !have.ports.contains_key(*name))
}

fn table(want: &Attached, have: &Attached) -> Vec<Repair> {
    let mut repairs = Vec::new();
    if want.rules && !have.rules {
        repairs.push(Repair::Rules);
    }
    let stays = |owner: &String| !have.gone.contains(owner);
    for (owner, addrs) in want.masquerade.iter().filter(|(owner, _)| stays(owner)) {
        if have.masquerade.get(owner) != Some(addrs) {
            repairs.push(Repair::Masquerade(owner.clone(), addrs.clone()));
        }
    }
    for (owner, source) in want.sources.iter().filter(|(owner, _)| stays(owner)) {
        if have.sources.get(owner) != Some(source) {
            let (port, mac) = source.clone();
            repairs.push(Repair::Source(owner.clone(), port, mac));
        }
    }
    for (owner, ports) in want.host_ports.iter().filter(|(owner, _)| stays(owner)) {
        if have.host_ports.get(owner) != Some(ports) {
            repairs.push(Repair::HostPorts(owner.clone(), ports.clone()));
        }
    }
    for (owner, what) in want.forwarded.iter().filter(|(owner, _)| stays(owner)) {
        if have.forwarded.get(owner) != Some(what) {
            repairs.push(Repair::Forward(owner.clone(), what.clone()));
        }
    }
    repairs
}

fn lacks(want: &PodBridge, have: &PodBridge) -> bool {
    want.mac.is_some() && want.mac != have.mac
        || want.mtu.is_some() && want.mtu != have.mtu
        || want.promisc && !have.promisc
        || want.vlan_filtering && !have.vlan_filtering
        || want.up && !have.up
}

fn stands(want: &Pair, have: Option<&Pair>) -> bool {
    have.is_some_and(|have| have.up && (want.mac.is_none() || want.mac == have.mac))
}

fn differs(want: &PodPort, have: &PodPort) -> bool {
    let stays = have
        .default_vlan
        .filter(|vid| !want.keeps_default_vlan && !want.vlans.iter().any(|vlan| vlan.vid == *vid));
    let vlans = !want.vlans.is_empty() && (stays.is_some() || !want.vlans.is_subset(&have.vlans));
    want.bridge != have.bridge
        || want.up && !have.up
        || want.hairpin != have.hairpin
        || want.isolated != have.isolated
        || vlans
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tweed_model::{Mac, Vlan};

    use super::*;

    fn bridge() -> PodBridge {
        PodBridge {
            mac: Some(Mac([2; 6])),
            mtu: Some(1450),
            up: true,
            ..PodBridge::default()
        }
    }

    fn port() -> PodPort {
        PodPort {
            bridge: Some("cni0".to_owned()),
            up: true,
            hairpin: true,
            ..PodPort::default()
        }
    }

    /// A bridge with a gateway and a port, masquerading and host ports.
    fn attached() -> Attached {
        Attached {
            bridges: BTreeMap::from([("cni0".to_owned(), bridge())]),
            ports: BTreeMap::from([("veth1".to_owned(), port())]),
            addrs: [("cni0".to_owned(), "10.244.1.1/24".parse().unwrap())].into(),
            rules: true,
            masquerade: BTreeMap::from([(
                "n/c/e".to_owned(),
                vec!["10.244.1.2/24".parse().unwrap()],
            )]),
            sources: BTreeMap::from([("n/c/e".to_owned(), ("veth1".to_owned(), Mac([2; 6])))]),
            host_ports: BTreeMap::from([("n/c/e".to_owned(), "tcp 0.0.0.0:80".to_owned())]),
            forwarded: BTreeMap::from([("n/c/e".to_owned(), "10.244.1.2".to_owned())]),
            owners: BTreeMap::from([("veth1".to_owned(), "n/c/e".to_owned())]),
            ..Attached::default()
        }
    }

    fn words(want: &Attached, have: &Attached) -> Vec<String> {
        let repairs = repairs(want, have);
        repairs.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_there_needs_no_repair_and_each_damage_needs_its_own() {
        let want = attached();
        assert!(repairs(&want, &want).is_empty());
        type Damage = fn(&mut Attached);
        let damages: [(Damage, &str); 11] = [
            (
                |have| have.bridges.clear(),
                "add link cni0 type bridge mtu 1450 address 02:02:02:02:02:02 up",
            ),
            (
                |have| have.bridges.get_mut("cni0").unwrap().up = false,
                "set link cni0 mtu 1450 address 02:02:02:02:02:02 up",
            ),
            (
                |have| have.bridges.get_mut("cni0").unwrap().mtu = Some(1280),
                "set link cni0 mtu 1450 address 02:02:02:02:02:02 up",
            ),
            (
                |have| have.ports.get_mut("veth1").unwrap().bridge = None,
                "set link veth1 master cni0 up hairpin on isolated off, of n/c/e",
            ),
            (
                |have| have.ports.get_mut("veth1").unwrap().hairpin = false,
                "set link veth1 master cni0 up hairpin on isolated off, of n/c/e",
            ),
            (|have| have.addrs.clear(), "add addr 10.244.1.1/24 dev cni0"),
            (
                |have| have.rules = false,
                "put the rules of nftables table inet tweed-cni",
            ),
            (
                |have| have.masquerade.clear(),
                "masquerade 10.244.1.2/24 of n/c/e",
            ),
            (
                |have| have.sources.clear(),
                "drop frames by veth1 that are not from 02:02:02:02:02:02 of n/c/e",
            ),
            (
                |have| have.host_ports.clear(),
                "put host ports tcp 0.0.0.0:80 of n/c/e",
            ),
            (|have| have.forwarded.clear(), "forward 10.244.1.2 of n/c/e"),
        ];
        for (damage, expected) in damages {
            let mut have = want.clone();
            damage(&mut have);
            assert_eq!(words(&want, &have), [expected]);
        }
    }

    #[test]
    fn of_an_attachment_whose_container_is_gone_all_goes_and_nothing_is_put_back() {
        let mut have = attached();
        have.masquerade.clear();
        have.sources.clear();
        have.host_ports.clear();
        have.forwarded.clear();
        have.gone.insert("n/c/e".to_owned());
        let expected = "delete rules and records of n/c/e, whose container is gone";
        assert_eq!(words(&attached(), &have), [expected]);
    }

    #[test]
    fn links_that_a_del_has_set_aside_are_removed_together() {
        let mut have = attached();
        let links = (1..=5).map(|number| format!("gone0000000{number}"));
        have.discarded.extend(links);
        let expected = "delete links gone00000001, gone00000002, gone00000003 and 2 more, which DEL has set aside";
        assert_eq!(words(&attached(), &have), [expected]);
    }

    #[test]
    fn a_bridge_without_a_port_of_an_attachment_is_neither_made_nor_changed() {
        let mut have = attached();
        have.ports.clear();
        have.bridges.clear();
        have.addrs.clear();
        assert!(repairs(&attached(), &have).is_empty());
        let want = attached();
        let missing: Vec<_> = missing_ports(&want, &have).collect();
        assert_eq!(missing, [(&"veth1".to_owned(), &"n/c/e".to_owned())]);
    }

    #[test]
    fn a_switch_of_another_interface_than_the_bridge_is_left_alone() {
        let mut want = attached();
        let key = |name: &str| format!("net/ipv4/conf/{name}/route_localnet");
        for name in ["cni0", "all"] {
            want.sysctls.insert(key(name), "1".to_owned());
        }
        assert_eq!(
            words(&want, &attached()),
            ["set sysctl net/ipv4/conf/cni0/route_localnet = 1"]
        );
        for bridge in ["conf", "ipv4"] {
            let mut want = attached();
            want.ports.get_mut("veth1").unwrap().bridge = Some(bridge.to_owned());
            want.sysctls.insert(key("all"), "1".to_owned());
            let made = words(&want, &attached());
            assert!(
                !made.iter().any(|words| words.contains("sysctl")),
                "{made:?}"
            );
        }
    }

    #[test]
    fn what_is_not_wanted_of_a_bridge_is_left_as_it_is() {
        let mut want = attached();
        want.bridges.insert("cni0".to_owned(), PodBridge::default());
        assert!(repairs(&want, &attached()).is_empty());
    }

    #[test]
    fn the_pair_of_a_vlans_gateway_is_made_before_its_address() {
        let mut want = attached();
        let holder = "cni0.100".to_owned();
        let pair = Pair {
            port: "vlan1".to_owned(),
            mac: None,
            up: true,
        };
        want.pairs.insert(holder.clone(), pair);
        want.ports.insert("vlan1".to_owned(), port());
        want.addrs = [(holder.clone(), "10.244.1.1/24".parse().unwrap())].into();
        assert!(repairs(&want, &want).is_empty());
        let mut have = want.clone();
        have.addrs.clear();
        let addr = "add addr 10.244.1.1/24 dev cni0.100";
        assert_eq!(words(&want, &have), [addr]);
        have.pairs.clear();
        have.ports.remove("vlan1");
        let made = "put pair cni0.100 and vlan1 master cni0 up hairpin on isolated off";
        assert_eq!(words(&want, &have), [made, addr]);
        let mut have = want.clone();
        have.pairs.get_mut(&holder).unwrap().up = false;
        assert_eq!(words(&want, &have), [made]);
        have.ports.clear();
        assert!(repairs(&want, &have).is_empty(), "no port is left");
    }

    #[test]
    fn a_port_is_in_its_vlans_and_not_in_the_default_one() {
        let vlan = |vid| Vlan { vid, native: true };
        let mut want = attached();
        want.ports.get_mut("veth1").unwrap().vlans = [vlan(100)].into();
        let mut have = want.clone();
        assert!(repairs(&want, &have).is_empty());
        let there = have.ports.get_mut("veth1").unwrap();
        there.default_vlan = Some(1);
        assert_eq!(repairs(&want, &have).len(), 1, "still in the default one");
        want.ports.get_mut("veth1").unwrap().keeps_default_vlan = true;
        assert!(repairs(&want, &have).is_empty());
        have.ports.get_mut("veth1").unwrap().vlans = [vlan(7)].into();
        assert_eq!(repairs(&want, &have).len(), 1, "not in its own");
    }
}
