//! The wire format against what flanneld v0.28.9 with backend `udp` has sent, recorded on its uplink: a plain IP packet
//! per datagram, its TTL one lower, from any port to 8285.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use tweed_lab::agent::Agent;
use tweed_lab::cni::Runtime;
use tweed_lab::datagram::checksum;
use tweed_lab::etcd::{Etcd, PREFIX};
use tweed_lab::launch::Launch;
use tweed_lab::topology::{Host, Topology};
use tweed_lab::wait::eventually;

use super::raw::{PORT, on_uplink};

/// An echo request from a flannel node (10.42.69.0) to a pod of ours (10.42.7.5).
const ECHO: &str = "45000034f8d740003f01e2980a2a45000a2a07050800d711582600012edd016b\
                    000000004b2e0100000000001011121314151617";
/// A datagram to port 9000 of that pod.
const DATAGRAM: &str = "4500003013bb40003f11c7a90a2a45000a2a0705973e2328001c8827\
                        746f2061207065657220 6f6620666c616e6e656c";
const WORDS: &[u8] = b"to a peer of flannel";

fn bytes(hex: &str) -> Result<Vec<u8>> {
    let digits: String = hex.split_whitespace().collect();
    let pairs = (0..digits.len()).step_by(2);
    let bytes = pairs.map(|at| u8::from_str_radix(&digits[at..at + 2], 16));
    Ok(bytes.collect::<Result<_, _>>()?)
}

/// What reaches the flannel node, from its pods' point of view.
struct Flannel {
    proxy: UdpSocket,
}

impl Flannel {
    /// Lease and socket of a flannel node; its proxy is this test.
    fn join(etcd: &Etcd<'_>, host: &Host) -> Result<Self> {
        // As flannel writes it: no type, no data.
        let value = json!({ "PublicIP": host.v4(), "PublicIPv6": null });
        let key = format!("{PREFIX}/subnets/10.42.69.0-24");
        etcd.put(&key, &value.to_string())?;
        let proxy = on_uplink(host, PORT)?;
        proxy.set_read_timeout(Some(Duration::from_secs(5)))?;
        Ok(Self { proxy })
    }

    /// The next packet of this protocol that comes, and the port it came from.
    fn receive(&self, protocol: u8) -> Result<(Vec<u8>, u16)> {
        let mut buffer = [0; 2000];
        loop {
            let (len, from) = self.proxy.recv_from(&mut buffer).context("no packet")?;
            if len > 9 && buffer[9] == protocol {
                return Ok((buffer[..len].to_vec(), from.port()));
            }
        }
    }
}

fn addresses(packet: &[u8]) -> Result<[Ipv4Addr; 2]> {
    let words = packet.get(12..20).context("no IPv4 packet")?;
    let (source, destination) = words.split_at(4);
    Ok([
        <[u8; 4]>::try_from(source)?.into(),
        <[u8; 4]>::try_from(destination)?.into(),
    ])
}

#[test]
fn packets_as_flannel_sends_them_are_delivered_and_ours_are_as_flannel_sends_them() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let etcd = Etcd::start(lab)?;
        etcd.put_config(&json!({
            "Network": "10.42.0.0/16",
            "SubnetMin": "10.42.7.0",
            "SubnetMax": "10.42.7.0",
            "Backend": { "Type": "udp" },
        }))?;
        let mut agent = Agent::start(lab, &lab.hosts[0], &Launch::etcd())?;
        agent.ready()?;
        let pod = Runtime::tweed().pod(&lab.hosts[0])?;
        pod.place().sh("ip addr add 10.42.7.5/24 dev eth0")?;
        let flannel = Flannel::join(&etcd, &lab.hosts[1])?;
        agent.sees(1)?;
        let to = (lab.hosts[0].v4(), PORT);

        // From any port of the node: flannel's workers have one each.
        let other = on_uplink(&lab.hosts[1], 0)?;
        for socket in [&flannel.proxy, &other] {
            let echo = bytes(ECHO)?;
            socket.send_to(&echo, to)?;
            let (reply, port) = flannel.receive(1)?;
            ensure!(port == PORT, "from port {port}");
            let [source, destination] = addresses(&reply)?;
            ensure!(source.octets() == [10, 42, 7, 5] && destination.octets() == [10, 42, 69, 0]);
            ensure!(
                reply.len() == echo.len() && reply[0] == 0x45,
                "{reply:02x?}"
            );
            ensure!(checksum(&reply[..20]) == [0, 0], "the header's checksum");
            // From the pod with 64, past the bridge, past us.
            ensure!(reply[8] == 62, "a TTL of {}", reply[8]);
            ensure!(reply[20] == 0 && reply[24..] == echo[24..], "{reply:02x?}");
        }

        let receiver = pod
            .place()
            .run(|| Ok(UdpSocket::bind(("10.42.7.5", 9000))?))?;
        receiver.set_read_timeout(Some(Duration::from_secs(5)))?;
        other.send_to(&bytes(DATAGRAM)?, to)?;
        let mut buffer = [0; 100];
        let (len, from) = receiver.recv_from(&mut buffer)?;
        ensure!(&buffer[..len] == WORDS, "{:?}", &buffer[..len]);
        ensure!(from.to_string() == "10.42.69.0:38718", "{from}");

        answer(&flannel, &receiver)
    })
}

/// What a pod sends is in one datagram, the whole packet and nothing else.
fn answer(flannel: &Flannel, pod: &UdpSocket) -> Result<()> {
    eventually("a datagram of the pod's", || {
        pod.send_to(WORDS, ("10.42.69.0", 38718))?;
        let (packet, port) = flannel.receive(17)?;
        ensure!(port == PORT, "from port {port}");
        let expected = [
            &9000u16.to_be_bytes()[..],
            &38718u16.to_be_bytes(),
            &[0, 28],
        ]
        .concat();
        let (header, udp) = packet.split_at(20);
        ensure!(header[..4] == [0x45, 0, 0, 48], "{packet:02x?}");
        ensure!(header[8..10] == [62, 17], "{packet:02x?}");
        ensure!(checksum(header) == [0, 0], "the header's checksum");
        ensure!(udp[..6] == expected && &udp[8..] == WORDS, "{packet:02x?}");
        let pseudo = [&header[12..20], &[0, 17, 0, 28], udp].concat();
        ensure!(checksum(&pseudo) == [0, 0], "the datagram's checksum");
        match addresses(&packet)?.map(|addr| addr.to_string()) {
            [source, destination] if source == "10.42.7.5" && destination == "10.42.69.0" => Ok(()),
            other => bail!("between {other:?}"),
        }
    })
}
