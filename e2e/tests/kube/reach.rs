//! Pods, nodes, services and names reach each other, with the addresses that they should see.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use tweed_lab::kube::dns;
use tweed_lab::traffic;
use tweed_lab::wait::eventually;
use tweed_model::Family;

use crate::scene::{Scene, who};

/// Pods see each other's own addresses, in both families; packets as large as the MTU pass.
pub(crate) fn pods(scene: &mut Scene<'_>) -> Result<()> {
    scene.talks()?;
    let pods = &scene.pods;
    for family in Family::BOTH {
        let (first, last) = (&pods[0], &pods[2]);
        let addr = last.addr(family)?;
        traffic::ping_size(first.place(), addr, 1430)?;
        let transfer = traffic::tcp(first.place(), last.place(), addr, 1 << 20)?;
        ensure!(transfer.client == first.addr(family)?, "{transfer:?}");
    }
    Ok(())
}

/// Nodes reach the pods of all nodes, and a pod's own node sees the pod's address.
pub(crate) fn nodes(scene: &mut Scene<'_>) -> Result<()> {
    for host in &scene.lab.hosts {
        for pod in &scene.pods {
            for family in Family::BOTH {
                traffic::ping(host.place(), pod.addr(family)?)
                    .with_context(|| format!("{} to {}", host.name(), pod.id))?;
            }
        }
    }
    for pod in &scene.pods {
        for family in Family::BOTH {
            let addr = *pod.host.addrs.get(family).context("both families")?;
            let seen = traffic::udp_source(pod.place(), pod.host.place(), addr)?;
            ensure!(seen == pod.addr(family)?, "the node sees {seen}");
        }
    }
    Ok(())
}

/// Every server behind a service is reached from every node: by cluster address in both families, and by node port.
pub(crate) fn services(scene: &mut Scene<'_>) -> Result<()> {
    scene.cluster.api.apply(
        "{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {type: NodePort, \
         ipFamilyPolicy: RequireDualStack, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}}",
    )?;
    let service = scene.cluster.api.get(&["service", "web"])?;
    let port = service["spec"]["ports"][0]["nodePort"]
        .as_u64()
        .context("no node port")?;
    let port = u16::try_from(port)?;
    let addrs = service["spec"]["clusterIPs"].as_array().context("none")?;
    let mut targets: Vec<_> = addrs
        .iter()
        .filter_map(|addr| Some(SocketAddr::new(addr.as_str()?.parse().ok()?, 80)))
        .collect();
    ensure!(targets.len() == 2, "{service}");
    for host in &scene.lab.hosts {
        targets.push(SocketAddr::new(host.v4(), port));
    }
    let servers: BTreeSet<_> = scene.pods.iter().map(|pod| pod.id.clone()).collect();
    for pod in &scene.pods {
        for target in &targets {
            let mut seen = BTreeSet::new();
            eventually(
                &format!("{} reaches all servers at {target}", pod.id),
                || {
                    let (_, server) = who(pod.place(), *target)?;
                    seen.insert(server);
                    ensure!(seen == servers, "only {seen:?}");
                    Ok(())
                },
            )?;
        }
    }
    let (_, server) = who(scene.lab.switch.place(), targets[2])?;
    ensure!(servers.contains(&server), "{server}");
    Ok(())
}

/// A pod of every node resolves names.
pub(crate) fn names(scene: &mut Scene<'_>) -> Result<()> {
    for pod in &scene.pods {
        eventually(&format!("{} resolves a name", pod.id), || {
            let name = "kubernetes.default.svc.cluster.local";
            let answer = pod
                .place()
                .cmd(["/bin/busybox", "nslookup", name, dns::ADDR])?;
            ensure!(answer.contains("10.96.0.1"), "{answer}");
            Ok(())
        })?;
    }
    Ok(())
}
