//! kube-proxy in its other mode.

use anyhow::{Result, ensure};

use crate::scene::{Scene, in_kubelet_time};
use crate::{reach, workload};

/// Services, node ports, names and host ports work with kube-proxy in iptables mode too.
pub(crate) fn iptables(scene: &mut Scene<'_>) -> Result<()> {
    switch(scene, "iptables")?;
    let outcome = reach::services(scene)
        .and_then(|()| reach::names(scene))
        .and_then(|()| workload::host_ports(scene));
    switch(scene, "nftables")?;
    outcome?;
    reach::services(scene)
}

/// Changes the mode on all nodes, and waits until the rules are those of the new one alone.
fn switch(scene: &mut Scene<'_>, mode: &str) -> Result<()> {
    for node in &mut scene.cluster.nodes {
        node.use_proxy_mode(mode)?;
    }
    for host in &scene.lab.hosts {
        in_kubelet_time("the rules are those of the new mode", || {
            let legacy = host.sh("iptables-save -t nat")?.contains("-j KUBE-SVC-");
            let tables = host.sh("nft list tables")?.contains("kube-proxy");
            let wanted = mode == "iptables";
            ensure!(
                legacy == wanted && tables != wanted,
                "{}: iptables {legacy}, nftables {tables}",
                host.name()
            );
            Ok(())
        })?;
    }
    Ok(())
}
