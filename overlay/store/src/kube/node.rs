//! The little of a Node that matters here. Whole Nodes are tens of kilobytes (images, managed fields); this is decoded
//! straight from the wire, and the rest is never kept.

use std::borrow::Cow;

use k8s_openapi::ClusterResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::{Resource, ResourceExt};
use serde::Deserialize;
use serde_json::Value;
use tweed_model::annotations::{self, Annotations, Prefix};
use tweed_model::lease::Term;
use tweed_model::{Dual, Lease, SubnetKey};

#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Wire")]
pub(super) struct NodeRecord {
    /// Name, uid, versions, and the annotations that may be ours.
    meta: ObjectMeta,
    /// The subnets as they stand.
    pub(super) pod_cidrs: Vec<String>,
    /// Taints, raw: some are put back as they are.
    pub(super) taints: Vec<Value>,
    /// The condition `NetworkUnavailable`, where there is one.
    pub(super) network_unavailable: Option<Condition>,
}

/// A condition of a node.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Condition {
    #[serde(rename = "type")]
    kind: String,
    pub(super) status: String,
    #[serde(default)]
    pub(super) reason: String,
}

/// A Node on the wire. Members that aren't named are skipped by the parser.
#[derive(Deserialize)]
struct Wire {
    metadata: WireMeta,
    #[serde(default)]
    spec: WireSpec,
    #[serde(default)]
    status: WireStatus,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireMeta {
    name: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    creation_timestamp: Option<Time>,
    #[serde(default)]
    annotations: Option<Annotations>,
}

#[derive(Default, Deserialize)]
struct WireSpec {
    #[serde(default, rename = "podCIDR")]
    pod_cidr: Option<String>,
    #[serde(default, rename = "podCIDRs")]
    pod_cidrs: Option<Vec<String>>,
    #[serde(default)]
    taints: Option<Vec<Value>>,
}

#[derive(Default, Deserialize)]
struct WireStatus {
    #[serde(default)]
    conditions: Option<Vec<Condition>>,
}

impl From<Wire> for NodeRecord {
    fn from(wire: Wire) -> Self {
        let mut annotations = wire.metadata.annotations.unwrap_or_default();
        annotations.retain(|key, _| Prefix::may_own(key));
        let mut pod_cidrs = wire.spec.pod_cidrs.unwrap_or_default();
        if pod_cidrs.is_empty() {
            pod_cidrs.extend(wire.spec.pod_cidr.filter(|cidr| !cidr.is_empty()));
        }
        let conditions = wire.status.conditions.unwrap_or_default();
        Self {
            meta: ObjectMeta {
                name: wire.metadata.name,
                uid: wire.metadata.uid,
                resource_version: wire.metadata.resource_version,
                creation_timestamp: wire.metadata.creation_timestamp,
                annotations: Some(annotations),
                ..ObjectMeta::default()
            },
            pod_cidrs,
            taints: wire.spec.taints.unwrap_or_default(),
            network_unavailable: conditions
                .into_iter()
                .find(|condition| condition.kind == "NetworkUnavailable"),
        }
    }
}

impl Resource for NodeRecord {
    type DynamicType = ();
    type Scope = ClusterResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Node".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "nodes".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}

impl NodeRecord {
    pub(super) fn name(&self) -> String {
        self.name_any()
    }

    /// When it was created, in seconds: the order in which nodes came.
    pub(super) fn created(&self) -> u64 {
        let seconds = self.meta.creation_timestamp.as_ref();
        let seconds = seconds.map_or(0, |time| time.0.as_second());
        u64::try_from(seconds).unwrap_or(0)
    }

    /// Its subnets by family.
    ///
    /// # Errors
    /// If one of them can't be read.
    pub(super) fn subnets(&self) -> Result<Dual<ipnet::IpNet>, String> {
        annotations::subnets(self.pod_cidrs.iter().map(String::as_str))
    }

    /// The lease that it holds, of the families that are in use; `None` if it takes no part.
    ///
    /// # Errors
    /// What of it can't be read.
    pub(super) fn lease<T>(
        &self,
        prefix: &Prefix,
        families: &Dual<T>,
    ) -> Result<Option<Lease>, String> {
        let attrs = annotations::parse(prefix, self.annotations());
        let Some(attrs) = attrs.map_err(|error| error.to_string())? else {
            return Ok(None);
        };
        let all = self.subnets()?;
        let used = all.filter_map(|family, net| families.has(family).then_some(*net));
        if used.is_empty() {
            return Err(match self.pod_cidrs.as_slice() {
                [] => "it has no podCIDR".to_owned(),
                cidrs => format!(
                    "its podCIDR {} is of a family that this network doesn't use",
                    cidrs.join(", ")
                ),
            });
        }
        Ok(Some(Lease {
            key: SubnetKey(used),
            attrs,
            node: Some(self.name()),
            created: self.created(),
            term: Term::Leased,
        }))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn whole() -> Value {
        json!({
            "kind": "Node", "apiVersion": "v1",
            "metadata": {
                "name": "n1", "uid": "u", "resourceVersion": "7", "creationTimestamp": "2026-01-02T03:04:05Z",
                "labels": {"a": "b"}, "managedFields": [{"manager": "kubelet", "fieldsV1": {"f:x": {}}}],
                "annotations": {
                    "flannel.alpha.coreos.com/kube-subnet-manager": "true",
                    "flannel.alpha.coreos.com/backend-type": "vxlan",
                    "flannel.alpha.coreos.com/backend-data": "{\"VNI\":1,\"VtepMAC\":\"96:59:b2:3f:04:ee\"}",
                    "flannel.alpha.coreos.com/public-ip": "10.0.0.1",
                    "volumes.kubernetes.io/controller-managed-attach-detach": "true"
                }
            },
            "spec": {"podCIDR": "fd00:1::/64", "podCIDRs": ["fd00:1::/64", "10.244.1.0/24"],
                     "taints": [{"key": "k", "effect": "NoSchedule"}]},
            "status": {
                "images": [{"names": ["x"], "sizeBytes": 1}],
                "conditions": [
                    {"type": "Ready", "status": "True"},
                    {"type": "NetworkUnavailable", "status": "True", "reason": "NoRouteCreated"}
                ]
            }
        })
    }

    fn record(value: Value) -> NodeRecord {
        serde_json::from_value(value).unwrap()
    }

    fn both() -> Dual<()> {
        Dual {
            v4: Some(()),
            v6: Some(()),
        }
    }

    #[test]
    fn of_a_whole_node_only_what_matters_is_kept() {
        let node = record(whole());
        assert_eq!(node.annotations().len(), 4);
        assert!(node.labels().is_empty() && node.managed_fields().is_empty());
        assert_eq!(node.created(), 1_767_323_045);
        assert_eq!(node.network_unavailable.unwrap().reason, "NoRouteCreated");
    }

    #[test]
    fn its_lease_has_the_subnets_of_the_families_in_use() {
        let prefix = Prefix::default();
        let node = record(whole());
        let lease = node.lease(&prefix, &both()).unwrap().unwrap();
        assert_eq!(lease.key.to_string(), "10.244.1.0-24&fd00:1::-64");
        let v4 = Dual {
            v4: Some(()),
            v6: None,
        };
        let lease = node.lease(&prefix, &v4).unwrap().unwrap();
        assert_eq!(lease.key.to_string(), "10.244.1.0-24");
        assert_eq!(lease.node.as_deref(), Some("n1"));
    }

    #[test]
    fn a_node_without_a_subnet_holds_no_lease_and_the_old_single_field_counts() {
        let prefix = Prefix::default();
        let mut node = whole();
        node["spec"] = json!({});
        assert_eq!(
            record(node.clone()).lease(&prefix, &both()),
            Err("it has no podCIDR".to_owned())
        );
        node["spec"] = json!({"podCIDR": "10.244.9.0/24"});
        let lease = record(node).lease(&prefix, &both()).unwrap().unwrap();
        assert_eq!(lease.key.to_string(), "10.244.9.0-24");
    }

    #[test]
    fn a_node_that_announces_nothing_is_none_of_ours() {
        let prefix = Prefix::default();
        let mut node = whole();
        node["metadata"]["annotations"] = Value::Null;
        assert_eq!(record(node).lease(&prefix, &both()), Ok(None));
    }
}
