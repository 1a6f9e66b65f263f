//! Back to flannel.

use super::*;

fn hand_back() -> CleanupArgs {
    CleanupArgs {
        hand_back: true,
        ..args(false, false)
    }
}

#[test]
fn what_flannel_takes_over_stays_as_it_is() {
    isolated(|| {
        uplink();
        let host = Stopped::new();
        host.save_state();
        host.program();
        let report = clean(&host.options, &hand_back()).expect("handed back");
        assert_eq!(report.failed, [""; 0]);
        // The mark and the table go; a route by a nexthop object becomes a plain one.
        let (plain, rest): (Vec<_>, Vec<_>) = report
            .changes
            .iter()
            .partition(|change| change.contains("via 10.5.2.0 dev flannel.1"));
        assert_eq!((plain.len(), rest.len()), (2, 2), "{:?}", report.changes);
        assert!(!tables().contains("tweed"));
        assert!(!ip("-d link show flannel.1").contains("alias"));
        let left = ip("route") + &ip("neigh show dev flannel.1");
        assert!(
            left.contains("10.5.2.0/24 via 10.5.2.0 dev flannel.1 proto 84"),
            "{left}"
        );
        assert!(left.contains("10.5.2.0 lladdr 02:00:00:00:00:03"), "{left}");
        assert!(host.options.host.subnet_file.exists());
        let again = clean(&host.options, &hand_back()).expect("handed back");
        assert_eq!(again.changes, [""; 0]);
    });
}

#[test]
fn without_saved_state_the_device_stays_too() {
    isolated(|| {
        uplink();
        let host = Stopped::new();
        host.save_state();
        host.program();
        std::fs::remove_dir_all(&host.options.host.state_dir).expect("removed");
        let report = clean(&host.options, &hand_back()).expect("handed back");
        assert_eq!(report.warnings.len(), 1, "{:?}", report.warnings);
        assert!(!tables().contains("tweed"));
        assert!(ip("route").contains("10.5.2.0/24 via 10.5.2.0 dev flannel.1"));
    });
}
