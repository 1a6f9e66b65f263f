mod survey;

use self::survey::{index, not_large, silent, well};
use super::*;
use crate::judge::Row;
use crate::protocol::{Connected, Pair};

#[test]
fn where_all_is_well_there_is_a_matrix_and_no_finding() {
    let report = PathReport::of(&well(3));
    assert!(report.ok, "{:?}", report.findings);
    let text = report.text();
    for line in [
        "3 nodes, 60 of 60 ways between them and their pods work; connections take 1.2 ms (median), 1.2 ms (longest)",
        "pods → pods  node1  node2  node3",
        "node1        -      ok     ok",
        "node3         ok     ok     ok",
        "pods of node1  ok                 ok",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "no {line:?} in\n{text}"
        );
    }
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["ok"], true);
    assert_eq!(json["ways"].as_array().unwrap().len(), 60);
    assert_eq!(json["ways"][0]["micros"], 1250);
}

#[test]
fn large_packets_that_are_lost_one_way_are_named_with_pair_direction_and_size() {
    let mut survey = well(3);
    survey.change("p2", "p3", Some(Family::V4), not_large);
    let report = PathReport::of(&survey);
    let [found] = &report.findings[..] else {
        panic!("{:?}", report.findings);
    };
    assert_eq!(found.place, "pods of node2 → pods of node3, IPv4 only");
    assert_eq!(
        found.what,
        "small packets pass, packets of 1450 bytes don't: the largest that pass have 1250; connections that send much hang"
    );
    assert!(found.hint.contains("1250 + 50 = 1300"), "{}", found.hint);
    let text = report.text();
    assert!(
        text.contains("node2        ok     -      large lost v4"),
        "{text}"
    );
    let json = serde_json::to_value(&report).unwrap();
    let ways = json["ways"].as_array().unwrap();
    let broken: Vec<_> = ways.iter().filter(|way| !way["fault"].is_null()).collect();
    assert_eq!(broken.len(), 1);
    assert_eq!(
        (&broken[0]["fault"], &broken[0]["passed"]),
        (&"big".into(), &1250.into())
    );
}

#[test]
fn one_direction_that_is_cut_is_one_finding_and_blames_the_overlay_only_where_nodes_talk() {
    let mut survey = well(3);
    survey.cut("p2", "p3");
    let [(place, what, hint)] = &survey.findings()[..] else {
        panic!("{:?}", survey.findings());
    };
    assert_eq!(place, "pods of node2 → pods of node3");
    assert_eq!(what, "nothing arrives (no answer in 4s)");
    let text = PathReport::of(&survey).text();
    for line in [
        "node2        ok     -        nothing",
        "node3        ok     nothing  -",
    ] {
        assert!(text.contains(line), "no {line:?} in {text}");
    }
    assert!(
        hint.starts_with("the nodes reach each other, so it is the overlay"),
        "{hint}"
    );

    survey.cut("n2", "n3");
    let findings = survey.findings();
    assert_eq!(findings.len(), 2, "{findings:?}");
    let overlay = findings
        .iter()
        .find(|(place, ..)| place.contains("pods"))
        .unwrap();
    assert!(
        overlay
            .2
            .starts_with("the nodes themselves don't reach each other"),
        "{overlay:?}"
    );
}

#[test]
fn what_a_nodes_own_packets_suffer_as_its_pods_do_is_in_the_matrix_alone() {
    let mut survey = well(2);
    survey.change("p1", "p2", None, not_large);
    survey.change("n1", "p2", None, not_large);
    survey.change("n2", "p1", None, not_large);
    let places: Vec<_> = survey.findings().into_iter().map(|found| found.0).collect();
    assert_eq!(
        places,
        ["pods of node1 → pods of node2", "node2 → pods of node1"]
    );
}

#[test]
fn answers_that_are_lost_alone_are_told_as_such() {
    let mut survey = well(2);
    survey.change("p1", "p2", None, silent);
    let [(place, what, hint)] = &survey.findings()[..] else {
        panic!("{:?}", survey.findings());
    };
    assert_eq!(place, "pods of node1 → pods of node2");
    assert_eq!(what, "packets arrive, but no answer comes back");
    assert!(hint.contains("from node2 to node1"), "{hint}");
}

#[test]
fn a_node_that_suffers_towards_or_from_all_others_is_one_finding() {
    let mut survey = well(4);
    for other in ["p1", "p2", "p4"] {
        survey.change("p3", other, None, not_large);
    }
    let places = |survey: &Survey| -> Vec<_> {
        survey.findings().into_iter().map(|found| found.0).collect()
    };
    assert_eq!(
        places(&survey),
        ["pods of node3 → pods of every other node"]
    );
    for other in ["p1", "p2", "p4"] {
        survey.change(other, "p3", None, not_large);
    }
    assert_eq!(
        places(&survey),
        [
            "pods of node3 → pods of every other node",
            "pods of every other node → pods of node3"
        ]
    );
    for (from, to) in [
        ("p1", "p2"),
        ("p1", "p4"),
        ("p2", "p1"),
        ("p2", "p4"),
        ("p4", "p1"),
        ("p4", "p2"),
    ] {
        survey.change(from, to, None, not_large);
    }
    assert_eq!(
        places(&survey),
        ["pods of every node → pods of every other node"]
    );
}

#[test]
fn what_arrives_with_another_address_or_from_somebody_else_is_found() {
    let mut survey = well(2);
    let rename =
        |pair: &mut Pair, change: &dyn Fn(&mut Connected)| change(pair.tcp.as_mut().unwrap());
    survey.change("p1", "p2", Some(Family::V4), |pair| {
        rename(pair, &|connected| {
            connected.seen = "192.0.1.2".parse().unwrap()
        });
    });
    survey.change("p2", "p1", Some(Family::V6), |pair| {
        rename(pair, &|connected| connected.name = "another".to_owned());
    });
    // Between pods and nodes that is as it should be.
    survey.change("p1", "n2", None, |pair| {
        rename(pair, &|connected| {
            connected.seen = "192.0.1.2".parse().unwrap()
        });
    });
    let findings = survey.findings();
    assert_eq!(findings.len(), 2, "{findings:?}");
    assert_eq!(findings[0].0, "pods of node2 → pods of node1, IPv6 only");
    assert!(findings[0].1.contains("another answers"), "{findings:?}");
    assert!(
        findings[1].1.contains("with the address 192.0.1.2"),
        "{findings:?}"
    );
}

#[test]
fn a_protocol_or_a_transfer_that_fails_alone_is_found() {
    let mut survey = well(2);
    survey.change("p1", "p2", None, |pair| {
        pair.tcp = Err("Connection refused".to_owned())
    });
    survey.change("p2", "p1", None, |pair| pair.udp = Err(String::new()));
    survey.change("p1", "n1", None, |pair| {
        pair.transfer = Some(Err("no answer in 5s".to_owned()))
    });
    let whats: Vec<_> = survey.findings().into_iter().map(|found| found.1).collect();
    assert_eq!(
        whats,
        [
            "datagrams are answered, connections are not (Connection refused)",
            "connections work, datagrams arrive, but their answers are lost",
            "single packets of every size pass, but 1 MiB over a connection doesn't (no answer in 5s)",
        ]
    );
}

#[test]
fn services_and_resolvers_are_told_by_node_or_for_all_of_them() {
    let mut survey = well(3);
    survey.asked(index("p2")).services[0].answer = Err("no answer in 4s".to_owned());
    for node in ["p1", "p2", "p3"] {
        let names = survey.asked(index(node)).names.as_mut().unwrap();
        names.resolvers[0].1 = Err("no answer".to_owned());
    }
    survey.asked(index("n1")).names.as_mut().unwrap().resolvers[0].1 =
        Ok(vec!["10.9.9.9".parse().unwrap()]);
    survey
        .asked(index("n2"))
        .names
        .as_mut()
        .unwrap()
        .resolvers
        .clear();
    let findings: Vec<_> = survey
        .findings()
        .into_iter()
        .map(|(place, what, _)| format!("{place}: {what}"))
        .collect();
    assert_eq!(
        findings,
        [
            "pods of node2 → service 10.96.0.7: no answer in 4s",
            "pods of every node → DNS at 10.96.0.10: no answer",
            "node1 → DNS at 10.96.0.10: it says that connectivity.ns.svc.cluster.local is [10.9.9.9]",
            "node2 → DNS: /etc/resolv.conf names no resolver",
        ]
    );
    let hint = |survey: &Survey| survey.findings().last().map(|found| found.2.clone());
    survey.asked(index("n2")).names = None;
    survey.asked(index("n1")).names = None;
    for node in ["p1", "p2", "p3"] {
        survey.asked(index(node)).names = None;
    }
    let alone = hint(&survey).unwrap();
    assert!(alone.starts_with("kube-proxy on node2"), "{alone}");
    survey.cut("p2", "p3");
    let explained = hint(&survey).unwrap();
    assert!(
        explained.starts_with("first what is broken between node2"),
        "{explained}"
    );
}

#[test]
fn who_could_not_be_tested_is_a_finding_too() {
    let mut survey = well(2);
    survey.cluster.missing.push((
        "node3".to_owned(),
        Side::Pod,
        "Pending: ErrImagePull".to_owned(),
    ));
    survey.rows[0] = Row::Unasked("10.244.1.2:8479: no answer in 4s".to_owned());
    survey.arrivals[0] = None;
    survey.asked(3).left = 5;
    let findings = survey.findings();
    assert_eq!(findings.len(), 3, "{findings:?}");
    assert_eq!(findings[2].0, "node2");
    assert!(findings[2].1.contains("5 addresses"), "{findings:?}");
    assert_eq!(findings[0].0, "pods of node3");
    assert!(findings[0].1.contains("ErrImagePull"), "{findings:?}");
    assert_eq!(findings[1].0, "pods of node1");
    assert!(findings[1].1.contains("no answer in 4s"), "{findings:?}");
}

#[test]
fn a_sample_says_that_it_is_one_and_a_large_cluster_has_no_table() {
    let mut survey = well(20);
    survey.peers = 4;
    let text = PathReport::of(&survey).text();
    assert!(
        text.contains("each node has probed 4 others of 19"),
        "{text}"
    );
    assert!(!text.contains("pods → pods"), "{text}");
}
