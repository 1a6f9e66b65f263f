use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::forecast::Forecast;
use tweed_model::{ClusterSnapshot, Pool};

fn attrs(addr: &str, mac: Option<&str>) -> LeaseAttrs {
    LeaseAttrs {
        public: Dual::of_addrs([addr.parse().unwrap()]),
        backend_type: "vxlan".into(),
        data: Dual {
            v4: mac.map(|mac| json!({"VNI": 1, "VtepMAC": mac}).into()),
            v6: None,
        },
    }
}

fn lease(key: &str, attrs: LeaseAttrs, created: u64, term: Term) -> Lease {
    Lease {
        key: key.parse().unwrap(),
        attrs,
        node: None,
        created,
        term,
    }
}

fn request(attrs: LeaseAttrs, previous: &[&str]) -> Request {
    Request {
        pools: Dual {
            v4: Some(Pool {
                network: "10.5.0.0/16".parse().unwrap(),
                subnet_len: 24,
                min: "10.5.1.0".parse().unwrap(),
                max: "10.5.255.0".parse().unwrap(),
            }),
            v6: None,
        },
        attrs,
        previous: previous
            .iter()
            .map(|key| key.parse::<SubnetKey>().unwrap().0)
            .collect(),
        avoid: Vec::new(),
        held: None,
        announced: None,
        wishes: Dual::default(),
        inhabited: Dual::default(),
        also: Vec::new(),
        ttl: Duration::from_secs(60),
    }
}

fn claim_of(theirs: LeaseAttrs, term: Term, mine: LeaseAttrs, previous: &[&str]) -> Claim {
    claim(
        &lease("10.5.9.0-24", theirs, 1, term),
        &request(mine, previous),
    )
}

#[test]
fn a_lease_under_another_backend_that_the_node_runs_too_is_own() {
    let vxlan = attrs("10.0.0.1", Some("a"));
    let udp = attrs("10.0.0.1", None);
    for (had, has, remembered, expected) in [
        (&vxlan, &udp, false, Claim::Own),
        (&udp, &vxlan, true, Claim::Own),
        (&udp, &vxlan, false, Claim::Suspect),
        (&attrs("10.0.0.1", Some("b")), &udp, true, Claim::Suspect),
        (&attrs("10.0.0.2", Some("a")), &udp, true, Claim::Suspect),
        (&attrs("10.0.0.2", Some("b")), &udp, true, Claim::Foreign),
    ] {
        let previous = if remembered {
            &["10.5.9.0-24"][..]
        } else {
            &[]
        };
        let request = Request {
            also: vec![if has == &udp { &vxlan } else { &udp }.data.clone()],
            ..request(has.clone(), previous)
        };
        let lease = lease("10.5.9.0-24", had.clone(), 1, Term::Leased);
        assert_eq!(claim(&lease, &request), expected, "{had:?} {has:?}");
    }
}

#[test]
fn a_lease_with_own_address_and_own_mac_is_own() {
    let mine = attrs("10.0.0.1", Some("a"));
    assert_eq!(claim_of(mine.clone(), Term::Leased, mine, &[]), Claim::Own);
}

#[test]
fn a_lease_with_own_address_and_another_mac_is_suspect_even_if_remembered() {
    let mine = attrs("10.0.0.1", Some("a"));
    let theirs = attrs("10.0.0.1", Some("b"));
    assert_eq!(
        claim_of(theirs.clone(), Term::Leased, mine.clone(), &[]),
        Claim::Suspect
    );
    assert_eq!(
        claim_of(theirs, Term::Leased, mine, &["10.5.9.0-24"]),
        Claim::Suspect
    );
}

#[test]
fn the_very_entry_that_was_held_last_is_suspect_whatever_stands_in_it_now() {
    let (mine, theirs) = (attrs("10.0.0.1", None), attrs("10.0.0.2", None));
    let entry = lease("10.5.9.0-24", theirs, 7, Term::Leased);
    let claims = [(7, Claim::Suspect), (8, Claim::Foreign)];
    for (created, expected) in claims {
        let mut request = request(mine.clone(), &["10.5.9.0-24"]);
        request.held = Some((entry.key, created));
        assert_eq!(claim(&entry, &request), expected, "created {created}");
    }
}

#[test]
fn what_this_process_announced_until_now_in_the_lease_that_it_held_is_own() {
    let (mine, before) = (attrs("10.0.0.1", None), attrs("10.0.0.2", Some("a")));
    let entry = lease("10.5.9.0-24", before.clone(), 7, Term::Leased);
    let another: SubnetKey = "10.5.8.0-24".parse().unwrap();
    for (held, announced, expected) in [
        (entry.key, &before, Claim::Own),
        (entry.key, &attrs("10.0.0.2", Some("b")), Claim::Suspect),
        (another, &before, Claim::Foreign),
    ] {
        let mut request = request(mine.clone(), &["10.5.9.0-24"]);
        request.held = Some((held, 7));
        request.announced = Some(announced.clone());
        assert_eq!(claim(&entry, &request), expected, "{held} {announced:?}");
    }
}

#[test]
fn own_mac_under_another_address_is_suspect() {
    let (mine, theirs) = (attrs("10.0.0.1", Some("a")), attrs("10.0.0.2", Some("a")));
    assert_eq!(
        claim_of(theirs, Term::Leased, mine, &["10.5.9.0-24"]),
        Claim::Suspect
    );
}

#[test]
fn a_remembered_subnet_with_a_stranger_in_it_is_foreign() {
    let (mine, theirs) = (attrs("10.0.0.1", None), attrs("10.0.0.2", None));
    assert_eq!(
        claim_of(theirs, Term::Leased, mine, &["10.5.9.0-24"]),
        Claim::Foreign
    );
}

#[test]
fn without_data_memory_decides() {
    let mine = attrs("10.0.0.1", None);
    assert_eq!(
        claim_of(mine.clone(), Term::Leased, mine.clone(), &["10.5.9.0-24"]),
        Claim::Own
    );
    assert_eq!(
        claim_of(mine.clone(), Term::Leased, mine, &[]),
        Claim::Suspect
    );
}

#[test]
fn a_reservation_is_own_until_somebody_fills_it() {
    let mine = attrs("10.0.0.1", Some("a"));
    let empty = attrs("10.0.0.1", None);
    let filled = attrs("10.0.0.1", Some("b"));
    assert_eq!(
        claim_of(empty, Term::Reserved, mine.clone(), &[]),
        Claim::Own
    );
    assert_eq!(claim_of(filled, Term::Reserved, mine, &[]), Claim::Suspect);
}

#[test]
fn nodes_without_any_address_are_strangers() {
    let nobody = LeaseAttrs::default();
    assert!(!same_public(&nobody, &nobody));
}

#[test]
fn ipv6_alone_identifies_by_the_ipv6_address() {
    assert!(same_public(
        &attrs("fd00::1", None),
        &attrs("fd00::1", None)
    ));
    assert!(!same_public(
        &attrs("fd00::1", None),
        &attrs("fd00::2", None)
    ));
    assert!(!same_public(
        &attrs("10.0.0.1", None),
        &attrs("fd00::1", None)
    ));
}

#[test]
fn a_survey_puts_reservations_first_and_own_before_suspect() {
    let mine = attrs("10.0.0.1", Some("a"));
    let twin = attrs("10.0.0.1", Some("b"));
    let other = attrs("10.0.0.2", Some("c"));
    let leases = [
        lease("10.5.1.0-24", twin, 1, Term::Leased),
        lease("10.5.2.0-24", mine.clone(), 2, Term::Leased),
        lease("10.5.3.0-24", other, 3, Term::Leased),
        lease("10.5.4.0-24", attrs("10.0.0.1", None), 4, Term::Reserved),
        lease("10.6.1.0-24", mine.clone(), 5, Term::Leased),
    ];
    let survey = Survey::of(
        &leases.each_ref(),
        &["10.5.8.0-24".parse().unwrap()],
        &request(mine, &[]),
    );
    let keys: Vec<_> = survey
        .reuse
        .iter()
        .map(|(key, claim)| (key.to_string(), *claim))
        .collect();
    assert_eq!(
        keys,
        [
            ("10.5.4.0-24".into(), Claim::Own),
            ("10.5.2.0-24".into(), Claim::Own),
            ("10.5.1.0-24".into(), Claim::Suspect),
        ]
    );
    let texts = |keys: &[SubnetKey]| keys.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(texts(&survey.own), ["10.5.2.0-24", "10.6.1.0-24"]);
    assert_eq!(
        texts(&survey.taken),
        ["10.5.8.0-24", "10.5.1.0-24", "10.5.3.0-24", "10.5.4.0-24"]
    );
}

/// The leases that a node with these two claims could use, and what it would ask for first among free subnets.
fn reuse(held: Option<&str>, inhabited: Option<&str>, others: &[&str]) -> (Vec<String>, String) {
    let mine = attrs("10.0.0.1", Some("a"));
    let mut leases = vec![
        lease("10.5.2.0-24", mine.clone(), 2, Term::Leased),
        lease("10.5.4.0-24", attrs("10.0.0.1", None), 4, Term::Reserved),
    ];
    let theirs = || attrs("10.0.0.2", Some("c"));
    leases.extend(
        others
            .iter()
            .map(|key| lease(key, theirs(), 5, Term::Leased)),
    );
    let key = |text: &str| text.parse::<SubnetKey>().unwrap();
    let request = Request {
        held: held.map(|held| (key(held), 2)),
        inhabited: inhabited.map(|text| key(text).0).unwrap_or_default(),
        ..request(mine, &["10.5.2.0-24"])
    };
    let all: Vec<&Lease> = leases.iter().collect();
    let survey = Survey::of(&all, &[], &request);
    let keys = survey.reuse.iter().map(|(key, _)| key.to_string());
    (keys.collect(), SubnetKey(survey.previous[0]).to_string())
}

#[test]
fn a_restart_keeps_the_lease_that_was_held_though_another_subnet_is_reserved() {
    let (keys, _) = reuse(Some("10.5.2.0-24"), Some("10.5.2.0-24"), &[]);
    assert_eq!(keys, ["10.5.2.0-24", "10.5.4.0-24"]);
    let (keys, _) = reuse(Some("10.5.2.0-24"), None, &[]);
    assert_eq!(keys, ["10.5.2.0-24", "10.5.4.0-24"]);
    // A node without a past takes what is reserved for it.
    let (keys, _) = reuse(None, None, &[]);
    assert_eq!(keys, ["10.5.4.0-24", "10.5.2.0-24"]);
}

#[test]
fn a_node_goes_back_to_the_subnet_of_its_pods_as_soon_as_it_is_free_or_reserved_for_it() {
    let held = Some("10.5.2.0-24");
    let (keys, _) = reuse(held, Some("10.5.4.0-24"), &[]);
    assert_eq!(keys, ["10.5.4.0-24", "10.5.2.0-24"]);
    let (keys, first) = reuse(held, Some("10.5.9.0-24"), &[]);
    assert_eq!((keys.len(), &*first), (0, "10.5.9.0-24"));
    let (keys, first) = reuse(held, Some("10.5.9.0-24"), &["10.5.9.0-24"]);
    assert_eq!((&*keys[0], &*first), ("10.5.2.0-24", "10.5.2.0-24"));
    // Of another network, or cut in another way.
    for elsewhere in ["10.9.9.0-24", "10.5.9.0-25"] {
        assert_eq!(reuse(held, Some(elsewhere), &[]).0[0], "10.5.2.0-24");
    }
}

#[test]
fn an_own_lease_that_came_second_is_not_used_again() {
    let mine = attrs("10.0.0.1", Some("a"));
    let leases = [
        lease("10.5.2.0-23", attrs("10.0.0.2", None), 1, Term::Leased),
        lease("10.5.2.0-24", mine.clone(), 2, Term::Leased),
    ];
    assert_eq!(
        Survey::of(&leases.each_ref(), &[], &request(mine, &[])).reuse,
        []
    );
}

#[test]
fn the_question_reads_as_the_same_announcement() {
    let attrs = attrs("10.0.0.1", Some("a"));
    let text = question(&attrs, 7);
    assert_ne!(text, wire::format_attrs(&attrs));
    assert_eq!(wire::parse_attrs(text.as_bytes()), Ok(attrs));
}

#[test]
fn nothing_of_what_the_host_has_is_drawn_unless_the_node_held_it_before() {
    let drawn = |previous: &[&str], avoid: &[&str], random| {
        let mut request = request(attrs("10.0.0.1", Some("a")), previous);
        let pool = request.pools.v4.as_mut().unwrap();
        pool.max = "10.5.2.0".parse().unwrap();
        request.avoid = avoid.iter().map(|net| net.parse().unwrap()).collect();
        let drawn = Survey::of(&[], &[], &request).draw(&request, random);
        drawn
            .map(|nets| nets.v4.unwrap().to_string())
            .map_err(|error| error.to_string())
    };
    for random in 0..20 {
        let docker = drawn(&[], &["10.5.1.0/24", "10.5.1.1/32"], random);
        assert_eq!(docker.as_deref(), Ok("10.5.2.0/24"));
    }
    let bridge = drawn(&["10.5.1.0-24"], &["10.5.1.0/24", "10.5.1.1/32"], 1);
    assert_eq!(bridge.as_deref(), Ok("10.5.1.0/24"), "the pods' own");
    let said = drawn(&[], &["10.5.0.0/22"], 1).unwrap_err();
    let words = "with 0 leases in the store and 10.5.0.0/22 left out as this host's own";
    assert!(said.contains(words), "{said}");
}

#[test]
fn a_forecast_is_what_asking_would_come_to() {
    let mine = attrs("10.0.0.1", Some("a"));
    let of = |theirs: Option<LeaseAttrs>, previous: &[&str]| {
        let leases = theirs.map(|theirs| lease("10.5.9.0-24", theirs, 1, Term::Leased));
        let leases = leases.into_iter();
        let snapshot = ClusterSnapshot {
            leases: leases.map(|lease| (lease.key, Arc::new(lease))).collect(),
            ..ClusterSnapshot::default()
        };
        Forecast::of(&snapshot, &request(mine.clone(), previous))
    };
    let nine: SubnetKey = "10.5.9.0-24".parse().unwrap();
    let other = attrs("10.0.0.2", Some("b"));
    let half = attrs("10.0.0.1", Some("b"));
    assert_eq!(of(Some(mine.clone()), &[]), Forecast::Own(nine));
    assert_eq!(of(Some(half), &[]), Forecast::Unclear(nine));
    assert_eq!(of(None, &["10.5.9.0-24"]), Forecast::Again(nine));
    assert_eq!(of(Some(other), &["10.5.9.0-24"]), Forecast::New);
    assert_eq!(of(None, &[]), Forecast::New);
}
