//! The ways to the same objects, and that a real API server takes each of them.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tweed_lab::kube::ApiServer;
use tweed_lab::topology::Topology;

use super::{chart, helm, kustomize, manifests, one_file, output};

#[test]
fn the_one_file_is_what_kubectl_makes_of_the_base() -> Result<()> {
    ensure!(
        one_file()? == kustomize("base")?,
        "manifests/kube-tweed.yaml is out of date: kubectl kustomize manifests/kustomize/base > manifests/kube-tweed.yaml"
    );
    Ok(())
}

#[test]
fn the_chart_passes_helms_own_check_and_its_schema_refuses_what_cannot_work() -> Result<()> {
    output(
        helm()?
            .args(["lint", "--strict"])
            .arg(manifests().join("chart")),
    )?;
    for (values, place) in [
        (vec!["podCidr="], "/podCidr"),
        (vec!["podCidr=10.244.0.0"], "/podCidr"),
        (vec!["store=consul"], "/store"),
        (vec!["store=etcd"], "/etcd/endpoints"),
        (vec!["health.port=0"], "/health/port"),
        (vec!["health.ip=localhost"], "/health/ip"),
        (vec!["cni.confName=../10-x.conflist"], "/cni/confName"),
        (vec!["ipmasq=false"], "ipmasq"),
        (vec!["annotationPrefix=org"], "/annotationPrefix"),
    ] {
        let refusal = chart(&values)
            .err()
            .with_context(|| format!("{values:?} is accepted"))?;
        ensure!(refusal.to_string().contains(place), "{values:?}: {refusal}");
    }
    Ok(())
}

#[test]
fn values_of_the_chart_reach_the_agent() -> Result<()> {
    for (values, expected) in [
        (
            vec!["podCidrv6=fd00:10:244::/56"],
            vec![
                r#""EnableIPv6": true"#,
                r#""IPv6Network": "fd00:10:244::/56""#,
            ],
        ),
        (
            vec!["podCidr=", "podCidrv6=fd00:10:244::/56"],
            vec![r#""EnableIPv4": false"#],
        ),
        (
            vec!["backend.Type=wireguard", "backend.PSK=secret"],
            vec![r#""Type": "wireguard""#, r#""PSK": "secret""#],
        ),
        (
            vec![
                "monitoring.rules.enabled=true",
                "monitoring.rules.runbook=https://example.org/doctor",
                "monitoring.podMonitor.enabled=true",
                "monitoring.dashboard.enabled=true",
            ],
            vec![
                "kind: PodMonitor",
                "kind: PrometheusRule",
                "alert: TweedNotReady",
                "{{ $labels.instance }} has not been ready",
                "runbook_url: https://example.org/doctor#checks",
                "grafana_dashboard: \"1\"",
                "\"title\": \"Tweed\"",
            ],
        ),
        (
            vec!["annotationPrefix=example.org/9"],
            vec![
                "--kube-annotation-prefix=example.org/9",
                r#""example.org/9-" + name"#,
            ],
        ),
        (
            vec!["apiServers={https://192.0.2.1:6443,https://192.0.2.2:6443}"],
            vec!["- --kube-api=https://192.0.2.1:6443,https://192.0.2.2:6443\n"],
        ),
        (
            vec![
                "store=etcd",
                "etcd.endpoints={https://a:2379,https://b:2379}",
                "etcd.secret=s",
            ],
            vec![
                "--etcd-endpoints=https://a:2379,https://b:2379",
                "--etcd-cafile=",
                "secretName: s",
            ],
        ),
        (vec!["cni.withdraw=true"], vec!["- --cni-withdraw"]),
        (vec!["health.ip=0.0.0.0"], vec!["- --healthz-ip=0.0.0.0\n"]),
        (
            vec!["backend.Type=vxlan", "backend.Accept[0].Type=udp"],
            vec!["mountPath: /dev/net/tun", "type: CharDevice", "cpu: 500m"],
        ),
        (
            vec!["backend.Type=udp", "resources.requests.cpu=1"],
            vec!["mountPath: /dev/net/tun", "cpu: 1\n"],
        ),
    ] {
        let text = chart(&values)?;
        for words in expected {
            ensure!(text.contains(words), "{values:?} gives no {words}: {text}");
        }
    }
    let without = chart(&["admissionPolicy.enabled=false"])?;
    ensure!(!without.contains("ValidatingAdmissionPolicy"), "{without}");
    let vxlan = chart(&[])?;
    ensure!(
        !vxlan.contains("/dev/net"),
        "vxlan needs no device: {vxlan}"
    );
    let etcd = chart(&["store=etcd", "etcd.endpoints={https://a:2379}"])?;
    ensure!(
        !etcd.contains("ClusterRole"),
        "etcd needs no rights in Kubernetes: {etcd}"
    );
    Ok(())
}

#[test]
fn a_real_api_server_takes_the_file_the_overlays_and_the_chart_and_chart_and_file_agree()
-> Result<()> {
    Topology::hosts(1).play(|lab| {
        let api = ApiServer::start(lab)?;
        let accepted = |name: &str, objects: &str| -> Result<BTreeMap<String, Value>> {
            let words = [
                "apply",
                "--server-side",
                "--dry-run=server",
                "--output=json",
                "-f",
                "-",
            ];
            let answer = api.kubectl_with(api.kubeconfig(), &words, objects);
            index(&answer.with_context(|| name.to_owned())?)
        };
        for namespace in [
            "kube-tweed",
            "kube-tweed-cleanup",
            "kube-tweed-connectivity",
        ] {
            api.kubectl(&["create", "namespace", namespace])?;
        }
        let file = accepted("kube-tweed.yaml", &one_file()?)?;
        for name in ["cleanup.yaml", "connectivity.yaml"] {
            accepted(name, &std::fs::read_to_string(manifests().join(name))?)?;
        }
        accepted("overlay host-gw", &kustomize("overlays/host-gw")?)?;
        let udp = accepted("overlay udp", &kustomize("overlays/udp")?)?;
        for objects in [&file, &udp] {
            only_the_init_container_writes_plugins(objects)?;
        }
        let etcd = accepted("overlay etcd", &kustomize("overlays/etcd")?)?;
        ensure!(
            etcd.keys().all(|name| !name.contains("Role")),
            "{:?}",
            etcd.keys()
        );
        accepted(
            "chart with etcd",
            &chart(&[
                "store=etcd",
                "etcd.endpoints={https://a:2379}",
                "etcd.secret=s",
            ])?,
        )?;

        for (by_file, values) in [(file, &[][..]), (udp, &["backend.Type=udp"])] {
            same(by_file, accepted("chart", &chart(values)?)?)
                .with_context(|| format!("chart with {values:?}"))?;
        }
        Ok(())
    })
}

/// Checks that the container that the network reaches has the plugins' folder for reading alone and no privilege but one,
/// and that the container that fills the folder has none.
fn only_the_init_container_writes_plugins(objects: &BTreeMap<String, Value>) -> Result<()> {
    let daemons = objects
        .get("DaemonSet/kube-tweed")
        .context("no DaemonSet")?;
    let pod = &daemons["spec"]["template"]["spec"];
    let plugins = |container: &Value| -> Result<Value> {
        let mounts = container["volumeMounts"].as_array();
        let mut mounts = mounts.context("no mounts")?.iter();
        let found = mounts.find(|mount| mount["mountPath"] == "/opt/cni/bin");
        Ok(found.context("the plugins' folder isn't mounted")?.clone())
    };
    let (init, agent) = (&pod["initContainers"][0], &pod["containers"][0]);
    ensure!(plugins(agent)?["readOnly"] == true, "{agent:#}");
    ensure!(plugins(init)?["readOnly"].is_null(), "{init:#}");
    for (container, added) in [(init, Value::Null), (agent, json!(["NET_ADMIN"]))] {
        let context = &container["securityContext"];
        ensure!(
            context["capabilities"]["drop"] == json!(["ALL"]),
            "{context}"
        );
        ensure!(context["capabilities"]["add"] == added, "{context}");
        ensure!(context["allowPrivilegeEscalation"] == false, "{context}");
        ensure!(context["readOnlyRootFilesystem"] == true, "{context}");
    }
    ensure!(pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault");
    Ok(())
}

/// Checks that the chart makes the objects of a file, less the namespace.
fn same(file: BTreeMap<String, Value>, mut chart: BTreeMap<String, Value>) -> Result<()> {
    for (name, mut object) in file {
        if name == "Namespace/kube-tweed" {
            continue;
        }
        let mut other = chart
            .remove(&name)
            .with_context(|| format!("the chart has no {name}"))?;
        for object in [&mut object, &mut other] {
            essence(object)?;
        }
        ensure!(object == other, "{name} differs:\n{object:#}\n{other:#}");
    }
    ensure!(chart.is_empty(), "only the chart has {:?}", chart.keys());
    Ok(())
}

/// Objects by kind and name. kubectl prints one document after another, or a list.
pub(super) fn index(text: &str) -> Result<BTreeMap<String, Value>> {
    let mut objects = BTreeMap::new();
    for document in serde_json::Deserializer::from_str(text).into_iter::<Value>() {
        let document = document?;
        let items = match document["items"].as_array() {
            Some(items) => items.clone(),
            None => vec![document],
        };
        for object in items {
            let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let name = format!(
                "{}/{}",
                word(&object["kind"]),
                word(&object["metadata"]["name"])
            );
            objects.insert(name, object);
        }
    }
    Ok(objects)
}

/// Leaves what was asked for: neither the server's notes nor Helm's labels, and JSON within text as JSON.
fn essence(object: &mut Value) -> Result<()> {
    let metadata = object["metadata"].as_object_mut().context("no metadata")?;
    metadata.retain(|key, _| ["name", "namespace"].contains(&key.as_str()));
    if object["kind"] == "ConfigMap" {
        for text in object["data"]
            .as_object_mut()
            .context("no data")?
            .values_mut()
        {
            *text = serde_json::from_str(text.as_str().context("no text")?)?;
        }
    }
    Ok(())
}
