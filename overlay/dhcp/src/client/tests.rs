use super::*;
use crate::message::Options;
use ipnet::Ipv4Net;
use tweed_model::Mac;

const RANDOM: u64 = 7 << 32;
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const TIMING: Timing = Timing {
    resend_max: Duration::from_secs(62),
    resend_timeout: Duration::from_secs(208),
};

fn at(seconds: u64) -> Time {
    Duration::from_secs(seconds)
}

fn client() -> Client {
    let identity = Identity {
        client_id: b"\0pod/net/eth0".to_vec(),
        hardware: Mac([2, 0, 0, 0, 0, 1]),
        broadcast: false,
        request: vec![code::SUBNET_MASK, code::ROUTER],
        provide: [(code::HOST_NAME, b"web".to_vec())].into(),
    };
    Client::new(identity, TIMING, at(0), RANDOM)
}

/// An answer that gives 10.0.0.`host` for 80 s.
fn answer(kind: Kind, xid: u32, host: u8) -> Message {
    let options: Options = [
        (code::SERVER, SERVER.octets().to_vec()),
        (code::SUBNET_MASK, vec![255, 255, 255, 0]),
        (code::LEASE_TIME, vec![0, 0, 0, 80]),
    ]
    .into();
    Message {
        kind,
        xid,
        secs: 0,
        broadcast: false,
        ciaddr: Ipv4Addr::UNSPECIFIED,
        yiaddr: [10, 0, 0, host].into(),
        hardware: Mac([2, 0, 0, 0, 0, 1]),
        options,
    }
}

fn sent(step: Step) -> Outgoing {
    match step {
        Step::Send(outgoing) => outgoing,
        other => panic!("{other:?}"),
    }
}

/// Ticks when it is due, and answers what is sent with the time.
fn next(client: &mut Client) -> (Time, Step) {
    let due = client.due().unwrap();
    (due, client.tick(due, RANDOM + (1 << 32)))
}

fn bound() -> Client {
    let mut client = client();
    let discover = sent(client.tick(at(0), RANDOM));
    let xid = discover.message.xid;
    let request = client.receive(&answer(Kind::Offer, xid, 9), at(0), RANDOM);
    assert_eq!(sent(request).message.kind, Kind::Request);
    let ack = client.receive(&answer(Kind::Ack, xid, 9), at(0), RANDOM);
    assert_eq!(ack, Step::Bound);
    client
}

#[test]
fn a_lease_is_had_by_discover_and_request_with_id_list_and_provided_options() {
    let mut client = client();
    let discover = sent(client.tick(at(0), RANDOM));
    assert_eq!(discover.to, Destination::Link);
    let option = |code: u8| discover.message.options.get(&code).cloned();
    assert_eq!(option(code::CLIENT_ID), Some(b"\0pod/net/eth0".to_vec()));
    assert_eq!(option(code::REQUEST_LIST), Some(vec![1, 3]));
    assert_eq!(option(code::HOST_NAME), Some(b"web".to_vec()));
    let xid = discover.message.xid;
    let offer = answer(Kind::Offer, xid, 9);
    let request = sent(client.receive(&offer, at(1), RANDOM)).message;
    assert_eq!(request.address(code::SERVER), Some(SERVER));
    let wanted = request.address(code::REQUESTED_ADDRESS);
    assert_eq!(wanted, Some([10, 0, 0, 9].into()));
    assert_eq!(client.lease(), None);
    let ack = client.receive(&answer(Kind::Ack, xid, 9), at(2), RANDOM);
    assert_eq!(ack, Step::Bound);
    let address: Ipv4Net = "10.0.0.9/24".parse().unwrap();
    assert_eq!(client.lease().unwrap().address, address);
    assert_eq!(client.due(), Some(at(41)), "half of 80 s after the request");
}

#[test]
fn answers_to_others_change_nothing() {
    let mut client = client();
    let xid = sent(client.tick(at(0), RANDOM)).message.xid;
    let mut hardware = answer(Kind::Offer, xid, 9);
    hardware.hardware = Mac([2, 0, 0, 0, 0, 2]);
    let mut id = answer(Kind::Offer, xid, 9);
    id.options.insert(code::CLIENT_ID, b"\0other".to_vec());
    for other in [answer(Kind::Offer, xid + 1, 9), hardware, id] {
        assert_eq!(client.receive(&other, at(0), RANDOM), Step::Nothing);
    }
    let ack = answer(Kind::Ack, xid, 9);
    assert_eq!(client.receive(&ack, at(0), RANDOM), Step::Nothing);
}

#[test]
fn a_server_that_never_answers_is_asked_with_growing_pauses_and_then_no_more() {
    let mut client = client();
    let mut times = Vec::new();
    let failed = loop {
        match next(&mut client) {
            (now, Step::Send(_)) => times.push(now.as_secs()),
            (now, Step::Failed(why)) => break (now, why),
            other => panic!("{other:?}"),
        }
    };
    // Random numbers of zero take a second off each pause.
    assert_eq!(times, [0, 1, 2, 3, 4, 7, 14, 29, 60, 121, 182]);
    assert_eq!(failed.0, at(208));
    assert_eq!(failed.1, "no lease within 208 s: no server answered");
    assert!(client.is_over() && client.due().is_none());
}

#[test]
fn a_lease_is_renewed_at_half_its_time_from_its_server_alone() {
    let mut client = bound();
    let (now, step) = next(&mut client);
    let renewal = sent(step);
    assert_eq!(now, at(40));
    let from = [10, 0, 0, 9].into();
    assert_eq!(renewal.to, Destination::Server { from, to: SERVER });
    assert_eq!(renewal.message.ciaddr, from);
    assert_eq!(renewal.message.address(code::SERVER), None);
    assert_eq!(renewal.message.address(code::REQUESTED_ADDRESS), None);
    let ack = answer(Kind::Ack, renewal.message.xid, 9);
    assert_eq!(client.receive(&ack, at(41), RANDOM), Step::Bound);
    assert_eq!(client.due(), Some(at(80)));
}

#[test]
fn without_answer_it_is_asked_of_all_servers_and_is_over_at_its_end() {
    let mut client = bound();
    let mut sent_to = Vec::new();
    let end = loop {
        match next(&mut client) {
            (now, Step::Send(outgoing)) => sent_to.push((now.as_secs(), outgoing.to)),
            (now, step) => break (now, step),
        }
    };
    let (renewals, rebinds): (Vec<_>, Vec<_>) =
        sent_to.iter().partition(|(_, to)| *to != Destination::Link);
    let seconds = |all: &[(u64, Destination)]| all.iter().map(|(at, _)| *at).collect::<Vec<_>>();
    assert_eq!(seconds(&renewals), [40, 55, 62, 66]);
    assert_eq!(seconds(&rebinds), [70, 75, 79]);
    assert_eq!(end, (at(80), Step::Expired));
}

#[test]
fn a_lease_that_is_refused_is_asked_for_again_and_no_other_is_taken() {
    let mut client = bound();
    let xid = sent(next(&mut client).1).message.xid;
    let mut stranger = answer(Kind::Nak, xid, 0);
    stranger.options.insert(code::SERVER, vec![10, 0, 0, 66]);
    assert_eq!(client.receive(&stranger, at(40), RANDOM), Step::Nothing);
    assert!(client.lease().is_some(), "a renewal is its server's alone");
    client.receive(&answer(Kind::Nak, xid, 0), at(40), RANDOM);
    assert_eq!(client.lease(), None);
    assert_eq!(client.release(RANDOM), None);
    let (_, step) = next(&mut client);
    let discover = sent(step).message;
    assert_eq!(discover.kind, Kind::Discover);
    let wanted = discover.address(code::REQUESTED_ADDRESS);
    assert_eq!(wanted, Some([10, 0, 0, 9].into()));
    let other = answer(Kind::Offer, discover.xid, 10);
    assert_eq!(client.receive(&other, at(41), RANDOM), Step::Nothing);
    let own = answer(Kind::Offer, discover.xid, 9);
    sent(client.receive(&own, at(42), RANDOM));
    let ack = answer(Kind::Ack, discover.xid, 9);
    assert_eq!(client.receive(&ack, at(42), RANDOM), Step::Bound);
    assert_eq!(client.lease().unwrap().end(), Some(at(42 + 80)));
}

#[test]
fn a_refused_lease_is_over_at_its_end() {
    let mut client = bound();
    let xid = sent(next(&mut client).1).message.xid;
    client.receive(&answer(Kind::Nak, xid, 0), at(40), RANDOM);
    let end = loop {
        if let (now, step @ (Step::Expired | Step::Failed(_))) = next(&mut client) {
            break (now, step);
        }
    };
    assert_eq!(end, (at(80), Step::Expired));
}

#[test]
fn after_a_restart_the_lease_is_verified_and_kept_where_no_server_answers() {
    let lease = bound().lease().unwrap().clone();
    let mut silent = client().resume(lease.clone());
    let reboot = sent(silent.tick(at(0), RANDOM));
    assert_eq!(reboot.to, Destination::Link);
    assert_eq!(reboot.message.kind, Kind::Request);
    assert_eq!(reboot.message.ciaddr, Ipv4Addr::UNSPECIFIED);
    assert_eq!(reboot.message.address(code::SERVER), None);
    let wanted = reboot.message.address(code::REQUESTED_ADDRESS);
    assert_eq!(wanted, Some([10, 0, 0, 9].into()));
    let mut answered = silent.clone();
    let ack = answer(Kind::Ack, reboot.message.xid, 9);
    assert_eq!(answered.receive(&ack, at(1), RANDOM), Step::Bound);
    let mut refused = silent.clone();
    let nak = answer(Kind::Nak, reboot.message.xid, 9);
    assert_eq!(refused.receive(&nak, at(1), RANDOM), Step::Nothing);
    assert_eq!(refused.lease(), None);

    let renewal = loop {
        match next(&mut silent) {
            (now, Step::Send(outgoing)) if outgoing.to != Destination::Link => break now,
            (_, Step::Send(_) | Step::Nothing) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(silent.lease(), Some(&lease));
    assert_eq!(renewal, at(40));
}

#[test]
fn a_release_names_server_address_and_client_and_nothing_else() {
    let release = bound().release(RANDOM).unwrap();
    let from = [10, 0, 0, 9].into();
    assert_eq!(release.to, Destination::Server { from, to: SERVER });
    assert_eq!(release.message.ciaddr, from);
    let codes: Vec<u8> = release.message.options.keys().copied().collect();
    assert_eq!(codes, [code::SERVER, code::CLIENT_ID]);
    assert_eq!(client().release(RANDOM), None);
}

proptest::proptest! {
    /// Whatever the answers, it is never due in the past for ever, and ends.
    #[test]
    fn no_sequence_of_answers_makes_it_spin(
        answers in proptest::collection::vec((0..3_u8, 0..4_u8, 0..40_u64), 0..60),
    ) {
        let mut client = client();
        let (mut now, mut xid, mut ticks) = (at(0), 0, 0);
        for (kind, host, wait) in answers {
            while let Some(due) = client.due().filter(|due| *due <= now) {
                if let Step::Send(outgoing) = client.tick(due.max(now), RANDOM) {
                    xid = outgoing.message.xid;
                }
                ticks += 1;
                proptest::prop_assert!(ticks < 5000, "it spins at {now:?}");
            }
            let kind = [Kind::Offer, Kind::Ack, Kind::Nak][usize::from(kind)];
            client.receive(&answer(kind, xid, host), now, RANDOM);
            now += at(wait);
        }
    }
}
