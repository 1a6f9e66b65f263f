//! The shipped unit under a real systemd: a start never hangs without a word.

use std::time::Duration;

use anyhow::{Result, ensure};
use tweed_lab::etcd::Etcd;
use tweed_lab::launch::{Launch, vxlan};
use tweed_lab::systemd::Systemd;
use tweed_lab::topology::Topology;
use tweed_lab::wait::{eventually, timed};

#[test]
fn a_start_without_a_configuration_returns_and_says_what_is_missing() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let etcd = Etcd::start(lab)?;
        let systemd = Systemd::start(lab, &lab.hosts[0], &Launch::etcd(), "")?;
        let show = |what: &str| systemd.ctl(&["show", "tweedd", &format!("--property={what}")]);
        let (_, took) = timed("the start returns", Duration::from_secs(55), || {
            systemd.ctl(&["start", "tweedd"])
        })?;
        ensure!(took > Duration::from_secs(10), "it took {took:?}");
        let state = show("ActiveState")?;
        ensure!(state.contains("=active"), "{state}");
        let words = show("StatusText")?;
        ensure!(
            words.contains("waiting: ") && words.contains("config"),
            "{words}"
        );
        etcd.put_config(&vxlan())?;
        eventually("it works by itself then", || {
            let words = show("StatusText")?;
            ensure!(words.contains("=ready, 0 peers"), "{words}");
            Ok(())
        })
    })
}
