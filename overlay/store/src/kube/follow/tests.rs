use serde_json::{Value, json};

use super::*;

fn prefix() -> Prefix {
    Prefix::default()
}

fn node(name: &str, number: u8, seconds: u8) -> Value {
    json!({
        "metadata": {
            "name": name, "uid": name, "creationTimestamp": format!("2026-01-02T03:04:{seconds:02}Z"),
            "annotations": {
                "flannel.alpha.coreos.com/kube-subnet-manager": "true",
                "flannel.alpha.coreos.com/backend-type": "vxlan",
                "flannel.alpha.coreos.com/public-ip": format!("10.0.0.{number}"),
            }
        },
        "spec": {"podCIDRs": [format!("10.244.{number}.0/24")]},
    })
}

fn record(value: Value) -> NodeRecord {
    serde_json::from_value(value).unwrap()
}

fn judged(value: Value, before: Option<&Member>, now: Instant) -> Option<Member> {
    judge(
        &prefix(),
        &config::families(None),
        &record(value),
        before,
        now,
    )
}

#[test]
fn removed_or_garbled_annotations_are_forgiven_for_a_while() {
    let now = Instant::now();
    let whole = judged(node("n1", 1, 0), None, now).unwrap();
    let mut bare = node("n1", 1, 0);
    bare["metadata"]["annotations"] = json!({});
    let lapsing = judged(bare.clone(), Some(&whole), now).unwrap();
    assert_eq!(lapsing.lease, whole.lease);
    assert_eq!(lapsing.lapses, Some(now + GRACE));
    // Another event doesn't begin the time anew.
    let later = judged(bare.clone(), Some(&lapsing), now + Duration::from_secs(9));
    assert_eq!(later.unwrap().lapses, Some(now + GRACE));

    let mut garbled = node("n1", 1, 0);
    garbled["metadata"]["annotations"]["flannel.alpha.coreos.com/public-ip"] = json!("x");
    let garbled = judged(garbled, Some(&whole), now).unwrap();
    assert!(garbled.wrong.is_some() && garbled.lease == whole.lease);
    assert_eq!(judged(bare, None, now), None);
}

#[test]
fn a_new_node_of_the_same_name_or_another_subnet_is_not_forgiven() {
    let now = Instant::now();
    let whole = judged(node("n1", 1, 0), None, now).unwrap();
    let mut bare = node("n1", 1, 0);
    bare["metadata"]["annotations"] = json!({});
    bare["metadata"]["uid"] = json!("another");
    assert_eq!(judged(bare.clone(), Some(&whole), now), None);
    bare["metadata"]["uid"] = json!("n1");
    bare["spec"]["podCIDRs"] = json!(["10.244.9.0/24"]);
    assert_eq!(judged(bare, Some(&whole), now), None);
}

#[test]
fn of_two_nodes_with_one_subnet_the_older_one_has_it() {
    let nodes = [node("a", 7, 30), node("b", 7, 10)].map(record);
    let snapshot = listed(&prefix(), &config::families(None), &nodes, 1);
    let [lease] = snapshot.leases.values().collect::<Vec<_>>()[..] else {
        panic!("{snapshot:?}")
    };
    assert_eq!(lease.node.as_deref(), Some("b"));
    let why = &snapshot.broken["node a"];
    assert!(why.contains("older node b"), "{why}");
}

#[test]
fn what_can_t_be_read_is_refused_by_name_and_harms_nobody() {
    let mut bad = node("bad", 3, 0);
    bad["metadata"]["annotations"]["flannel.alpha.coreos.com/public-ip"] = json!("10.0.0");
    let mut none = node("none", 4, 0);
    none["spec"] = json!({});
    let nodes = [node("good", 2, 0), bad, none].map(record);
    let snapshot = listed(&prefix(), &config::families(None), &nodes, 1);
    assert_eq!(snapshot.leases.len(), 1);
    assert!(snapshot.broken["node bad"].contains("public-ip"));
    assert!(snapshot.broken["node none"].contains("podCIDR"));
}
