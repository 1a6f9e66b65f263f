use tweed_model::LeaseAttrs;
use tweed_model::lease::Term;
use tweed_state::Scope;

use super::*;

fn lease(number: u8, backend: &str) -> (SubnetKey, Arc<Lease>) {
    let key: SubnetKey = format!("10.244.{number}.0-24").parse().expect("a key");
    let public = format!("192.0.2.{number}").parse().expect("an address");
    let lease = Lease {
        key,
        attrs: LeaseAttrs {
            public: Dual::of_addrs([public]),
            backend_type: backend.to_owned(),
            data: Dual::default(),
        },
        node: None,
        created: 1,
        term: Term::Leased,
    };
    (key, Arc::new(lease))
}

#[test]
fn peers_are_asked_through_their_tunnel_where_they_have_one_and_this_node_is_not() {
    let leases = [
        (1, "vxlan"),
        (2, "vxlan"),
        (3, ""),
        (4, "host-gw"),
        (5, "vxlan"),
    ];
    let snapshot = ClusterSnapshot {
        leases: leases
            .map(|(number, backend)| lease(number, backend))
            .into_iter()
            .collect(),
        ..ClusterSnapshot::default()
    };
    let own = lease(1, "").0;
    let desired = Desired {
        reserved: [(lease(5, "").0, false)].into(),
        ..Desired::nothing(Scope::default())
    };
    let mut asked = Vec::new();
    peers((own, 1450), &snapshot, &desired, &mut |_, target| {
        asked.push((target.underlay.to_string(), target.tunnel));
    });
    let pair = |public: &str, tunnel| (public.to_owned(), tunnel);
    assert_eq!(
        asked,
        [
            pair("192.0.2.2", true),
            pair("192.0.2.3", true),
            pair("192.0.2.4", false),
        ]
    );
}

#[test]
fn all_peers_lost_is_said_once_all_had_answered_and_of_more_than_one() {
    let mut prober = Prober::default();
    let target = |number: u8| {
        let (key, lease) = lease(number, "vxlan");
        let target = target(&lease, Family::V4, 1450).expect("a target");
        ((key, Family::V4), target)
    };
    let set = |prober: &mut Prober, numbers: &[u8], second| {
        let all = |each: &mut dyn FnMut(_, _)| {
            for number in numbers {
                let (id, target) = target(*number);
                each(id, target);
            }
        };
        prober.set(all, Duration::from_secs(second), || 0.0);
    };
    set(&mut prober, &[1, 2], 0);
    let mut number = 0;
    let mut step = |prober: &mut Prober, second: u64, answer: bool| {
        let now = Duration::from_secs(second);
        let requests = prober.step(now, || {
            number += 1;
            number
        });
        for request in requests.iter().filter(|_| answer) {
            prober.take(request.number, request.to, now);
        }
    };
    let lost = |prober: &Prober| Answers::of(prober, Duration::from_secs(90), &[8472]).all_lost;
    step(&mut prober, 1, true);
    assert_eq!(lost(&prober), None);
    for second in 20..60 {
        step(&mut prober, second, false);
    }
    let why = lost(&prober).expect("both are lost");
    assert!(
        why.starts_with("none of the 2 other nodes answers: it answers neither"),
        "{why}"
    );
    let answers = Answers::of(&prober, Duration::from_secs(90), &[8472]);
    assert_eq!(answers.states, [(State::NoAnswer, 2)].into());
    assert_eq!(answers.bad.len(), 2);
    set(&mut prober, &[1], 60);
    assert_eq!(
        lost(&prober),
        None,
        "of one it can't be said which side fails"
    );
}
