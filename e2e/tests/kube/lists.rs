//! Another network's configuration beside ours.

use anyhow::{Result, ensure};
use tweed_lab::wait::eventually;

use crate::events;
use crate::scene::Scene;

/// A list that sorts before ours is told by Event and status, until it is gone.
pub(crate) fn shadowed(scene: &mut Scene<'_>) -> Result<()> {
    let host = &scene.lab.hosts[1];
    let ours = "/etc/cni/net.d/10-flannel.conflist";
    let other = "/etc/cni/net.d/05-other.conflist";
    host.sh(&format!("cp {ours} {other}"))?;
    let text = format!("{other} sorts before 10-flannel.conflist");
    let api = &scene.cluster.api;
    events::said(api, host.name(), "CNIConfiguration", &text)?;
    let warnings = || -> Result<String> { Ok(scene.status(host)?["cni"]["warnings"].to_string()) };
    eventually("status tells", || {
        let warnings = warnings()?;
        ensure!(warnings.contains(&text), "{warnings}");
        Ok(())
    })?;
    host.sh(&format!("rm {other}"))?;
    eventually("status tells no more", || {
        let warnings = warnings()?;
        ensure!(warnings == "[]", "{warnings}");
        Ok(())
    })
}
