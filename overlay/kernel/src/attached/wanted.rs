//! Computes the wanted attachments from the records: a total, pure function.

use std::collections::BTreeSet;

use ipnet::IpNet;
use tweed_attach::live::{Attachment, Recorded};
use tweed_model::{Bridged, Port, Routed};
use tweed_state::Attached;
use tweed_state::attached::{Pair, PodPort};

/// The wanted state of all attachments together. Those that other plugins have made count if they have an address within
/// `networks`. A bridge follows from its attachments whose port `is_there`. Where two contradict each other, the later
/// one decides, as with the plugin.
pub(super) fn wanted(
    recorded: &Recorded,
    networks: &[IpNet],
    is_there: impl Fn(&str) -> bool,
) -> Attached {
    let mut want = Attached {
        rules: recorded.loopback_open,
        ..Attached::default()
    };
    let mut attachments: Vec<&Attachment> = recorded.attachments.values().collect();
    attachments.sort_by_key(|attachment| std::cmp::Reverse(attachment.written));
    let mut towards = BTreeSet::new();
    for attachment in attachments {
        add_table(&mut want, attachment);
        if let Some(routed) = &attachment.routed {
            add_ways(&mut want, routed, attachment);
            towards.insert(routed.port.as_str());
        }
        let Some(bridged) = attachment
            .bridged
            .as_ref()
            .filter(|_| is_ours(attachment, networks))
        else {
            continue;
        };
        let Some(first) = bridged.ports.first() else {
            continue;
        };
        want.owners
            .insert(first.name.clone(), attachment.owner.to_string());
        add_ports(&mut want, bridged);
        if let Some(mac) = first.only_source {
            let source = (first.name.clone(), mac);
            want.sources.insert(attachment.owner.to_string(), source);
        }
        if is_there(&first.name) {
            let gateways = gateways(attachment, bridged, networks);
            add_bridge(&mut want, bridged, &gateways);
            towards.insert(bridged.holder());
        }
    }
    // A version before has opened the loopback to containers.
    for name in towards.into_iter().filter(|_| recorded.loopback_open) {
        let key = format!("net/ipv4/conf/{name}/route_localnet");
        want.sysctls.insert(key, "0".to_owned());
    }
    want
}

fn is_ours(attachment: &Attachment, networks: &[IpNet]) -> bool {
    let within = |addr: &IpNet| {
        networks
            .iter()
            .any(|network| network.contains(&addr.addr()))
    };
    match &attachment.others {
        Some(addresses) => addresses.iter().any(within),
        None => true,
    }
}

/// Of what other plugins have attached, a gateway outside our networks is not ours to put back.
fn gateways(attachment: &Attachment, bridged: &Bridged, networks: &[IpNet]) -> BTreeSet<IpNet> {
    let ours = |net: &&IpNet| {
        attachment.others.is_none() || networks.iter().any(|network| network.contains(*net))
    };
    bridged.gateways.iter().filter(ours).copied().collect()
}

fn add_table(want: &mut Attached, attachment: &Attachment) {
    let owner = attachment.owner.to_string();
    if let Some(publication) = &attachment.publication {
        let claims = publication.claims().unwrap_or_default();
        if !claims.is_empty() {
            let words: Vec<String> = claims.keys().map(ToString::to_string).collect();
            want.host_ports.insert(owner.clone(), words.join(", "));
        }
    }
    if let Some(record) = &attachment.forwarded {
        want.forwarded.insert(owner.clone(), record.words());
    }
    if !attachment.masquerade.is_empty() {
        want.masquerade.insert(owner, attachment.masquerade.clone());
    }
    want.rules |= !want.host_ports.is_empty() || !want.masquerade.is_empty();
}

/// What leads to a container without a bridge. An address is the later one's.
fn add_ways(want: &mut Attached, routed: &Routed, attachment: &Attachment) {
    let name = &routed.port;
    let end = PodPort {
        up: true,
        ..PodPort::default()
    };
    want.ports.entry(name.clone()).or_insert(end);
    want.owners
        .insert(name.clone(), attachment.owner.to_string());
    for addr in &routed.addresses {
        let dst = IpNet::from(*addr);
        if want.routes.iter().all(|(other, _)| *other != dst) {
            want.routes.insert((dst, name.clone()));
            want.neighs.insert((name.clone(), *addr), routed.mac);
        }
    }
}

fn add_ports(want: &mut Attached, bridged: &Bridged) {
    for port in &bridged.ports {
        let wanted = want.ports.entry(port.name.clone());
        wanted.or_insert_with(|| as_port(port, bridged));
    }
}

fn as_port(port: &Port, bridged: &Bridged) -> PodPort {
    PodPort {
        bridge: Some(bridged.bridge.clone()),
        up: true,
        hairpin: port.hairpin,
        isolated: port.isolated,
        vlans: port.vlans.clone(),
        default_vlan: None,
        keeps_default_vlan: port.keeps_default_vlan,
    }
}

fn add_bridge(want: &mut Attached, bridged: &Bridged, gateways: &BTreeSet<IpNet>) {
    let bridge = want.bridges.entry(bridged.bridge.clone()).or_default();
    bridge.up = true;
    bridge.mac = bridge.mac.or(bridged.mac);
    // The kernel's rule: the MTU of the smallest port.
    bridge.mtu = bridge.mtu.into_iter().chain(bridged.mtu).min();
    bridge.promisc |= bridged.promisc;
    bridge.vlan_filtering |= bridged.vlan_filtering;
    let holder = bridged.holder();
    if let (Some(holder), [_, port, ..]) = (&bridged.holder, &bridged.ports[..]) {
        let pair = want.pairs.entry(holder.clone());
        pair.or_insert_with(|| Pair {
            port: port.name.clone(),
            mac: bridged.holder_mac,
            up: true,
        });
    }
    let later: BTreeSet<IpNet> = want
        .addrs
        .iter()
        .filter(|(name, net)| name == holder && !gateways.contains(net))
        .map(|(_, net)| *net)
        .collect();
    let fits = |net: &&IpNet| !later.iter().any(|other| excludes(*other, **net));
    let gateways = gateways.iter().filter(fits);
    want.addrs
        .extend(gateways.map(|net| (holder.to_owned(), *net)));
}

/// Whether the plugin allows only one of two gateway addresses on a bridge: any two of IPv4, overlapping ones of IPv6.
fn excludes(one: IpNet, other: IpNet) -> bool {
    match (one, other) {
        (IpNet::V4(_), IpNet::V4(_)) => true,
        (IpNet::V6(one), IpNet::V6(other)) => {
            one.contains(&other.addr()) || other.contains(&one.addr())
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use tweed_attach::Owner;

    use super::*;

    fn attachment(id: &str, second: u64, gateway: &str, mtu: u32) -> Attachment {
        Attachment {
            owner: Owner::new("cbr0", id, "eth0"),
            netns: String::new(),
            bridged: Some(Bridged {
                bridge: "cni0".into(),
                mtu: Some(mtu),
                gateways: [gateway.parse().unwrap()].into(),
                ports: vec![Port {
                    name: format!("veth{id}"),
                    ..Port::default()
                }],
                ..Bridged::default()
            }),
            routed: None,
            others: None,
            masquerade: Vec::new(),
            publication: None,
            forwarded: None,
            written: SystemTime::UNIX_EPOCH + Duration::from_secs(second),
            files: Vec::new(),
        }
    }

    fn recorded(attachments: &[Attachment]) -> Recorded {
        let all = attachments.iter().cloned();
        Recorded {
            attachments: all.map(|one| (one.owner.clone(), one)).collect(),
            ..Recorded::default()
        }
    }

    #[test]
    fn the_bridge_has_the_gateway_of_the_last_and_the_mtu_of_the_smallest() {
        let all = recorded(&[
            attachment("a", 1, "10.244.5.1/24", 1450),
            attachment("b", 3, "10.244.9.1/24", 1430),
            attachment("c", 2, "10.244.9.1/24", 1450),
        ]);
        let want = wanted(&all, &[], |_| true);
        let addrs = [("cni0".to_owned(), "10.244.9.1/24".parse().unwrap())];
        assert_eq!(want.addrs, addrs.into());
        assert_eq!(want.bridges["cni0"].mtu, Some(1430));
        assert_eq!((want.ports.len(), want.owners.len()), (3, 3));
        // An attachment whose port is gone does not count.
        let want = wanted(&all, &[], |port| port == "vetha");
        assert_eq!(want.bridges["cni0"].mtu, Some(1450));
        assert!(wanted(&all, &[], |_| false).bridges.is_empty());
    }

    #[test]
    fn an_address_of_two_routed_containers_is_the_later_ones() {
        let routed = |id: &str, second: u64| {
            let mut one = attachment(id, second, "10.244.5.1/24", 1450);
            one.bridged = None;
            one.routed = Some(Routed {
                port: format!("veth{id}"),
                mac: tweed_model::Mac([2; 6]),
                addresses: ["10.244.5.7".parse().unwrap()].into(),
            });
            one
        };
        let all = recorded(&[routed("a", 1), routed("b", 2)]);
        let want = wanted(&all, &[], |_| true);
        assert_eq!((want.ports.len(), want.owners.len()), (2, 2));
        let dst = "10.244.5.7/32".parse().unwrap();
        assert_eq!(want.routes, [(dst, "vethb".to_owned())].into());
        assert_eq!(want.neighs.len(), 1);
        assert!(want.bridges.is_empty());
    }

    #[test]
    fn both_gateways_of_one_attachment_are_wanted() {
        let mut both = attachment("a", 1, "10.244.5.1/24", 1450);
        let more = ["10.245.5.1/24", "fd00::1/64"].map(|net| net.parse::<IpNet>().unwrap());
        both.bridged.as_mut().unwrap().gateways.extend(more);
        assert_eq!(wanted(&recorded(&[both]), &[], |_| true).addrs.len(), 3);
    }

    #[test]
    fn what_other_plugins_attached_counts_within_our_networks() {
        let mut theirs = attachment("a", 1, "10.244.5.1/24", 1450);
        theirs.others = Some(vec!["10.244.5.7/24".parse().unwrap()]);
        let all = recorded(&[theirs]);
        assert!(wanted(&all, &[], |_| true).ports.is_empty());
        let other = ["10.88.0.0/16".parse().unwrap()];
        assert!(wanted(&all, &other, |_| true).ports.is_empty());
        let ours = ["10.244.0.0/16".parse().unwrap()];
        let want = wanted(&all, &ours, |_| true);
        assert_eq!((want.ports.len(), want.addrs.len()), (1, 1));
        // One that covers the host's own networks stays away.
        let mut theirs = attachment("a", 1, "10.244.5.1/1", 1450);
        theirs.others = Some(vec!["10.244.5.7/24".parse().unwrap()]);
        assert_eq!(
            wanted(&recorded(&[theirs]), &ours, |_| true).addrs,
            [].into()
        );
    }
}
