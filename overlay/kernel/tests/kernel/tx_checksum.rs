//! `tx-checksum-ip-generic` of our devices: read, switched, watched.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use tweed_kernel::{Event, Kernel, Linux, Monitor};
use tweed_model::Family;
use tweed_netlink::{Ethtool, TX_CHECKSUM};
use tweed_state::{Op, Scope};

use crate::host::{VTEP, VTEP_V6, add_vtep, on_host, scope};
use crate::shell::run;

/// As `ethtool` shows it.
fn shown(dev: &str) -> bool {
    let features = run(&format!("ethtool -k {dev}"));
    let mut lines = features.lines().map(str::trim);
    let line = lines.find(|line| line.starts_with(TX_CHECKSUM)).unwrap();
    line.ends_with(": on")
}

fn switch(linux: &mut Linux, dev: &str, on: bool) {
    let op = Op::SetTxChecksum(dev.to_owned(), on);
    linux.apply(&op).unwrap();
}

/// With these devices' feature looked after.
fn observe(linux: &mut Linux, devices: &[&str]) -> BTreeMap<String, bool> {
    let tx_checksum = devices.iter().map(|&name| name.to_owned()).collect();
    let scope = Scope {
        tx_checksum,
        ..scope()
    };
    linux.observe(&scope).unwrap().tx_checksum
}

#[test]
fn what_is_switched_is_what_ethtool_shows_and_what_is_observed() {
    on_host(|linux| {
        for family in Family::BOTH {
            let dev = add_vtep(linux, family);
            for on in [false, false, true, false] {
                switch(linux, &dev, on);
                assert_eq!(shown(&dev), on);
                let both = observe(linux, &[VTEP, VTEP_V6]);
                assert_eq!(both.get(&dev), Some(&on));
                assert_eq!(Ethtool::open().unwrap().feature(&dev, TX_CHECKSUM), Ok(on));
            }
        }
        assert_eq!(observe(linux, &[VTEP_V6]).len(), 1, "the other is nobody's");
        assert_eq!(observe(linux, &[]).len(), 0);
    });
}

#[test]
fn a_device_that_is_gone_or_cant_do_it_is_an_error_in_the_words_of_the_command() {
    on_host(|linux| {
        let op = Op::SetTxChecksum(VTEP.to_owned(), false);
        let error = linux.apply(&op).unwrap_err();
        assert_eq!(
            error.what,
            "ethtool -K flannel.1 tx-checksum-ip-generic off"
        );
        assert!(error.to_string().contains("no such device"), "{error}");
        let op = Op::SetTxChecksum("lo".to_owned(), false);
        let error = linux.apply(&op).unwrap_err();
        assert!(error.to_string().contains("does not let it"), "{error}");
    });
}

fn silent(events: &Receiver<Event>) -> bool {
    events.recv_timeout(Duration::from_millis(150)).is_err()
}

#[test]
fn somebody_who_switches_it_is_reported_and_we_are_not() {
    on_host(|linux| {
        let dev = add_vtep(linux, Family::V4);
        let other = add_vtep(linux, Family::V6);
        observe(linux, &[&dev]);
        let (tell, events) = channel();
        let monitor = Monitor::start(linux, move |event| tell.send(event).unwrap_or(())).unwrap();
        for round in 0..3 {
            switch(linux, &dev, false);
            assert!(silent(&events), "our own change, round {round}");
            run(&format!("ethtool -K {dev} tx-checksum-ip-generic on"));
            assert_eq!(
                events.recv_timeout(Duration::from_secs(5)),
                Ok(Event::Dirty)
            );
            while !silent(&events) {}
            assert!(observe(linux, &[&dev])[&dev]);
        }
        // Left as it is switched.
        run(&format!("ethtool -K {other} tx-checksum-ip-generic off"));
        assert!(silent(&events));
        monitor.stop();
    });
}
