//! Answers of DHCP servers, of which every pod of a link may be one.

use std::net::Ipv4Addr;
use std::time::Duration;

use tweed_dhcp::client::{Client, Step, Timing};
use tweed_dhcp::identity::Identity;
use tweed_dhcp::lease::Lease;
use tweed_dhcp::message::{Kind, Message, Options, code};
use tweed_dhcp::packet::{CLIENT_PORT, Checksum, SERVER_PORT, unwrap, wrap_ports};
use tweed_model::Mac;

use tweed_fuzz::{Source, fuzz};

const HARDWARE: Mac = Mac([2, 0, 0, 0, 0, 1]);

/// A right answer, of which options have been changed, left out or made up.
fn message(source: &mut Source, xid: u32) -> Message {
    let mut options: Options = [
        (code::SERVER, vec![10, 0, 0, 1]),
        (code::SUBNET_MASK, vec![255, 255, 255, 0]),
        (code::LEASE_TIME, vec![0, 0, 1, 0]),
        (code::ROUTER, vec![10, 0, 0, 1]),
        (code::NAME_SERVER, vec![10, 0, 0, 1, 10, 0, 0, 2]),
        (code::DOMAIN_NAME, b"lab.example".to_vec()),
        (code::STATIC_ROUTE, vec![172, 16, 0, 0, 10, 0, 0, 3]),
        (code::CLASSLESS_ROUTE, vec![16, 10, 7, 10, 0, 0, 2]),
    ]
    .into();
    for _ in 0..source.below(3) {
        let codes: Vec<u8> = options.keys().copied().collect();
        let code = match source.once_in(4) || codes.is_empty() {
            true => source.byte().clamp(1, 254),
            false => source.pick(&codes),
        };
        match source.below(3) {
            0 => drop(options.remove(&code)),
            _ => {
                let len = source.len(300);
                options.insert(code, source.bytes(len));
            }
        }
    }
    // Both have fields of their own in the bytes.
    options.retain(|code, _| ![code::KIND, code::OVERLOAD].contains(code));
    Message {
        kind: source.pick(&[Kind::Offer, Kind::Ack, Kind::Ack, Kind::Nak]),
        xid,
        secs: 0,
        broadcast: source.once_in(2),
        ciaddr: Ipv4Addr::UNSPECIFIED,
        yiaddr: match source.once_in(8) {
            true => (source.bits() as u32).into(),
            false => {
                let host = source.byte();
                Ipv4Addr::new(10, 0, 0, source.pick(&[9, 9, 9, 9, 9, host]))
            }
        },
        hardware: HARDWARE,
        options,
    }
}

/// What every lease has, whatever the answer was.
fn is_right(lease: &Lease) {
    assert!(0 < lease.renew && lease.renew <= lease.rebind && lease.rebind <= lease.expire);
    let address = lease.address.addr();
    assert!(!address.is_multicast() && !address.is_loopback() && !address.is_unspecified());
    assert!(lease.address.prefix_len() > 0);
    assert!(lease.domain.len() < 254 && !lease.domain.contains(char::is_whitespace));
    let gateways = lease.routes.iter().filter_map(|route| route.gateway);
    for gateway in gateways.chain(lease.gateway) {
        assert!(!gateway.is_multicast() && !gateway.is_unspecified());
    }
    for route in &lease.routes {
        assert_eq!(route.dst, route.dst.trunc());
    }
}

#[test]
fn a_servers_packet_is_read_or_refused_and_its_lease_is_one() {
    fuzz("dhcp", 30, |source| {
        let message = message(source, 7);
        let mut bytes = message.encode_reply();
        let is_changed = source.once_in(2);
        if is_changed {
            for _ in 0..=source.below(4) {
                let at = source.below(bytes.len());
                bytes[at] = source.byte();
            }
            bytes.truncate(source.pick(&[usize::MAX, usize::MAX, 300, 245]));
        }
        let server = (Ipv4Addr::new(10, 0, 0, 1), SERVER_PORT);
        let packet = wrap_ports(server, (Ipv4Addr::BROADCAST, CLIENT_PORT), &bytes);
        assert_eq!(unwrap(&packet, Checksum::Whole), Some(&bytes[..]));
        let mut broken = packet;
        let at = source.below(broken.len());
        broken[at] ^= 1 << source.below(8);
        assert_eq!(unwrap(&broken, Checksum::Whole), None);
        let _ = unwrap(&broken, Checksum::Unfinished);

        let Some(read) = Message::parse_reply(&bytes) else {
            assert!(is_changed);
            return false;
        };
        assert!(is_changed || read == message);
        assert_eq!(
            Message::parse_reply(&read.encode_reply()),
            Some(read.clone())
        );
        let lease = Lease::read(&read, Duration::from_secs(1));
        lease.iter().for_each(is_right);
        lease.is_ok()
    });
}

#[test]
fn no_answers_make_a_client_spin_or_take_another_address() {
    fuzz("dhcp client", 20, |source| {
        let identity = Identity {
            client_id: b"\0pod/net/eth0".to_vec(),
            hardware: HARDWARE,
            broadcast: false,
            request: vec![code::SUBNET_MASK],
            provide: Options::new(),
        };
        let timing = Timing {
            resend_max: Duration::from_secs(62),
            resend_timeout: Duration::from_secs(208),
        };
        let mut now = Duration::from_secs(1000);
        let mut client = Client::new(identity, timing, now, source.bits());
        let (mut xid, mut held) = (0, None);
        for _ in 0..40 {
            if let Some(due) = client.due().filter(|_| source.once_in(2)) {
                now = now.max(due);
            }
            let mut ticks = 0;
            while client.due().is_some_and(|due| due <= now) {
                if let Step::Send(outgoing) = client.tick(now, source.bits()) {
                    xid = outgoing.message.xid;
                }
                ticks += 1;
                assert!(ticks < 10, "it spins");
            }
            let answer = message(source, xid);
            if let Step::Send(outgoing) = client.receive(&answer, now, source.bits()) {
                xid = outgoing.message.xid;
            }
            if let Some(lease) = client.lease() {
                is_right(lease);
                assert_eq!(*held.get_or_insert(lease.address), lease.address);
            }
        }
        held.is_some()
    });
}
