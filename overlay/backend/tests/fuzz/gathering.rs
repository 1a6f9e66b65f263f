//! What is gathered into messages: every packet goes out once, as it came, and each flow in its order.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;

use tweed_forward::gather::{Flows, Gather, MOST_BYTES, MOST_PACKETS};
use tweed_forward::packet::{Fragment, Packet};
use tweed_forward::split::Packets;
use tweed_forward::table::{Peer, PeerId, Table};
use tweed_model::Dual;

use crate::joining::batch;
use crate::oracle::{TCP, UDP};
use tweed_fuzz::fuzz;

fn peer() -> PeerId {
    let endpoint: SocketAddr = "192.0.2.2:8285".parse().unwrap();
    let peer = Peer {
        endpoint,
        addresses: Dual::of_addrs([endpoint.ip()]),
        subnets: Dual::of_nets(["10.42.2.0/24".parse().unwrap()]),
        mtu: 1472,
    };
    let table = Table::new(Dual::default(), vec![peer]);
    table.lookup("10.42.2.1".parse().unwrap()).unwrap()
}

/// The packets between fragments, which nothing may pass, by their flows.
fn flows(packets: &[Vec<u8>]) -> Vec<BTreeMap<Vec<u8>, Vec<&[u8]>>> {
    let mut all = vec![BTreeMap::new()];
    for bytes in packets {
        let packet = Packet::parse(bytes).unwrap();
        let whole = packet.fragment == Fragment::No;
        let ends = if bytes[0] >> 4 == 6 {
            &bytes[8..40]
        } else {
            &bytes[12..20]
        };
        let ports = match packet.protocol {
            TCP | UDP => packet.payload(bytes).get(..4).unwrap_or_default(),
            _ => &[],
        };
        let flow = [ends, &[packet.protocol], ports].concat();
        if !whole {
            all.push(BTreeMap::new());
        }
        let last: &mut BTreeMap<_, Vec<&[u8]>> = all.last_mut().unwrap();
        let flow = if whole { flow } else { Vec::new() };
        last.entry(flow).or_default().push(bytes);
        if !whole {
            all.push(BTreeMap::new());
        }
    }
    all
}

#[test]
fn what_is_gathered_goes_out_once_and_in_the_order_of_its_flow() {
    let peer = peer();
    let shared = RefCell::new(Gather::new(1 << 20));
    fuzz("gather", 30, |source| {
        let packets = batch(source);
        let gather = &mut *shared.borrow_mut();
        let (mut came, mut messages) = (Vec::new(), 0);
        let mut drain = |gather: &mut Gather| {
            gather.drain(|message| {
                assert!(message.count <= MOST_PACKETS && message.len() <= MOST_BYTES);
                let chunks = |part: &std::io::IoSlice<'_>| {
                    let chunks = part.chunks(message.size);
                    chunks.map(<[u8]>::to_vec).collect::<Vec<_>>()
                };
                came.extend(message.parts.iter().flat_map(chunks));
                messages += 1;
            });
        };
        for bytes in &packets {
            let room = gather.room(bytes.len()).unwrap();
            room[..bytes.len()].copy_from_slice(bytes);
            let (size, len) = (bytes.len(), bytes.len());
            let flow = Flows::of(&Packet::parse(bytes).unwrap(), bytes);
            if gather.add(peer, flow, Packets { size, len }) {
                drain(gather);
            }
        }
        drain(gather);
        assert!(
            flows(&came) == flows(&packets),
            "came {came:02x?}, were {packets:02x?}"
        );
        messages < packets.len()
    });
}
