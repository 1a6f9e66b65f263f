//! Datagrams that must be refused: from strangers, with forged sources of peers, and bytes that are no packets.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tweed_lab::cluster::Cluster;
use tweed_lab::datagram::Datagram;
use tweed_lab::topology::{Lab, Topology};
use tweed_lab::wait::eventually;
use tweed_model::Family;

use super::raw::{PORT, dropped, drops, on_uplink, v4};
use super::udp;

/// What is sent, and the reason for which it must be dropped.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) bytes: Vec<u8>,
    pub(super) reason: &'static str,
}

/// Datagrams that no pod may see. `good` is one that would arrive, at the address `own`.
fn from_a_peer(good: &Datagram<'_>, own: Ipv4Addr, third: Ipv4Addr) -> Vec<Case> {
    let packet = good.packet();
    let with = |name, reason, datagram: Datagram<'_>| Case {
        name,
        bytes: datagram.packet(),
        reason,
    };
    let to = |name, reason, to: [u8; 4]| {
        with(
            name,
            reason,
            Datagram {
                to: to.into(),
                ..*good
            },
        )
    };
    let from = |name, reason, from: Ipv4Addr| {
        with(
            name,
            reason,
            Datagram {
                from: from.into(),
                ..*good
            },
        )
    };
    let cut = |name, reason, len: usize| Case {
        name,
        bytes: packet[..len].to_vec(),
        reason,
    };
    let changed = |name, reason, at: usize, byte: u8| {
        let mut bytes = packet.clone();
        bytes[at] = byte;
        Case {
            name,
            bytes,
            reason,
        }
    };
    let [a, b, c, _] = own.octets();
    vec![
        cut("one byte", "header_cut_off", 1),
        cut("nineteen bytes", "header_cut_off", 19),
        cut("a packet without its end", "length", packet.len() - 1),
        changed("a length beyond the end", "length", 2, 0xff),
        changed("a length below the header's", "length", 3, 10),
        changed("an unknown version", "version", 0, 0x55),
        changed("a header of four bytes", "header_length", 0, 0x41),
        changed("a wrong checksum", "checksum", 8, 9),
        from("a source of a third node", "spoofed_source", third),
        from(
            "a source of the receiver's",
            "spoofed_source",
            Ipv4Addr::new(a, b, c, 99),
        ),
        from(
            "a source outside of the network",
            "spoofed_source",
            Ipv4Addr::new(8, 8, 8, 8),
        ),
        from("a loopback source", "spoofed_source", Ipv4Addr::LOCALHOST),
        with(
            "a packet for a third node",
            "looped",
            Datagram {
                to: third.into(),
                ..*good
            },
        ),
        to("a packet for nobody", "not_for_us", [10, 244, 250, 1]),
        to("a packet for the Internet", "not_for_us", [9, 9, 9, 9]),
        to("a group", "multicast", [224, 0, 0, 1]),
        to("everybody", "broadcast", [255; 4]),
        to("all of the subnet", "broadcast", [a, b, c, 255]),
        to(
            "a link-local address",
            "martian_destination",
            [169, 254, 1, 1],
        ),
        to("a loopback address", "martian_destination", [127, 0, 0, 1]),
        with(
            "a hop limit of zero",
            "hop_limit",
            Datagram { hops: 0, ..*good },
        ),
    ]
}

/// Sends all, and waits until each is counted for its reason, and no more than that.
pub(super) fn refused(
    cluster: &Cluster<'_>,
    sender: &UdpSocket,
    to: IpAddr,
    cases: &[Case],
) -> Result<()> {
    let agent = &cluster.agents[0];
    let mut expected = BTreeMap::new();
    for case in cases {
        *expected.entry(case.reason).or_insert(0) += 1;
        sender.send_to(&case.bytes, (to, PORT))?;
    }
    let names: Vec<&str> = cases.iter().map(|case| case.name).collect();
    eventually("each is counted for its reason", || {
        let drops = drops(agent)?;
        for (reason, count) in &expected {
            let counted = drops.get(*reason).and_then(Value::as_u64);
            ensure!(
                counted == Some(*count),
                "{reason} in {drops:?} after {names:?}"
            );
        }
        Ok(())
    })
}

/// Nothing but "good" may have come.
pub(super) fn came_only_good(receiver: &UdpSocket) -> Result<()> {
    let mut buffer = [0; 64];
    receiver.set_read_timeout(Some(Duration::from_secs(5)))?;
    let len = receiver.recv(&mut buffer).context("what is right comes")?;
    ensure!(&buffer[..len] == b"good", "{:?} came", &buffer[..len]);
    Ok(())
}

fn play(scenario: impl FnOnce(&Lab, &mut Cluster<'_>) -> Result<()>) -> Result<()> {
    Topology::hosts(3).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &udp(&[Family::V4]))?;
        cluster.talks(Family::V4)?;
        scenario(lab, &mut cluster)
    })
}

#[test]
fn nothing_hostile_from_a_peer_reaches_a_pod_and_each_is_counted_for_what_it_is() -> Result<()> {
    play(|lab, cluster| {
        let [pod, peer, third] = &cluster.pods[..] else {
            anyhow::bail!("three pods");
        };
        let victim = pod
            .place()
            .run(|| Ok(UdpSocket::bind(("0.0.0.0", 9000))?))?;
        // Another program on the peer, at a port of its own, as flannel allows.
        let sender = on_uplink(&lab.hosts[1], 0)?;
        let good = Datagram {
            from: peer.v4()?,
            to: pod.v4()?,
            port: 9000,
            hops: 60,
            payload: b"evil",
        };
        // Nothing at all is a keep-alive.
        sender.send_to(&[], (lab.hosts[0].v4(), PORT))?;
        let cases = from_a_peer(&good, v4(pod.v4()?)?, v4(third.v4()?)?);
        refused(cluster, &sender, lab.hosts[0].v4(), &cases)?;
        let right = Datagram {
            payload: b"good",
            ..good
        };
        sender.send_to(&right.packet(), (lab.hosts[0].v4(), PORT))?;
        came_only_good(&victim)?;
        let status = cluster.agents[0].status()?;
        ensure!(
            status["data_plane"]["keep_alives"]["received"] == 1,
            "{status}"
        );
        cluster.talks(Family::V4)
    })
}

#[test]
fn datagrams_of_no_peer_are_dropped_whatever_they_hold() -> Result<()> {
    play(|lab, cluster| {
        let (pod, peer) = (&cluster.pods[0], &cluster.pods[1]);
        let victim = pod
            .place()
            .run(|| Ok(UdpSocket::bind(("0.0.0.0", 9000))?))?;
        let stranger = lab
            .switch
            .place()
            .run(|| Ok(UdpSocket::bind(("198.18.0.254", PORT))?))?;
        let packet = Datagram {
            from: peer.v4()?,
            to: pod.v4()?,
            port: 9000,
            hops: 60,
            payload: b"evil",
        };
        // A thousand cost nothing but their count.
        let before = dropped(&cluster.agents[0], "unknown_sender")?;
        for _ in 0..1000 {
            stranger.send_to(&packet.packet(), (lab.hosts[0].v4(), PORT))?;
        }
        eventually("all are counted", || {
            let now = dropped(&cluster.agents[0], "unknown_sender")?;
            ensure!(now == before + 1000, "{now}, before {before}");
            Ok(())
        })?;
        let sender = on_uplink(&lab.hosts[1], 0)?;
        let right = Datagram {
            payload: b"good",
            ..packet
        };
        sender.send_to(&right.packet(), (lab.hosts[0].v4(), PORT))?;
        came_only_good(&victim)?;
        cluster.talks(Family::V4)
    })
}

#[test]
fn groups_and_broadcasts_stay_on_their_node_and_are_counted() -> Result<()> {
    play(|lab, cluster| {
        let agent = &cluster.agents[0];
        let [a, b, c, _] = v4(cluster.pods[1].v4()?)?.octets();
        let broadcast = IpAddr::from([a, b, c, 255]);
        let victim = cluster.pods[1]
            .place()
            .run(|| Ok(UdpSocket::bind(("0.0.0.0", 9000))?))?;
        let pod = cluster.pods[0].place().run(|| {
            let socket = UdpSocket::bind(("0.0.0.0", 0))?;
            socket.set_broadcast(true)?;
            Ok(socket)
        })?;
        let counted = |reason, before, send: &dyn Fn() -> Result<()>| {
            send()?;
            eventually(reason, || {
                let now = dropped(agent, reason)?;
                ensure!(now >= before + 10, "{now}, before {before}");
                Ok(())
            })
        };
        let before = dropped(agent, "broadcast")?;
        counted("broadcast", before, &|| {
            let one = |_| pod.send_to(b"evil", (broadcast, 9000)).map(drop);
            Ok((0..10).try_for_each(one)?)
        })?;
        // A pod's groups end at its bridge; a program of the host may name the device.
        let before = dropped(agent, "multicast")?;
        counted("multicast", before, &|| {
            let pings = "ping -n -c 10 -i 0.002 -W 1 -I flannel0 239.1.2.3 || true";
            lab.hosts[0].place().cmd(["sh", "-c", pings]).map(drop)
        })?;
        pod.send_to(b"good", (cluster.pods[1].v4()?, 9000))?;
        came_only_good(&victim)
    })
}
