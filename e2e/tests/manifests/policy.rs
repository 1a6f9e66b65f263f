//! The admission policy on a real API server: what an agent's token may change, and what not.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tweed_lab::kube::ApiServer;
use tweed_lab::topology::Topology;
use tweed_lab::wait::eventually;

use super::{chart, one_file};

const PREFIX: &str = "flannel.alpha.coreos.com";

/// The agent of one node, with the token that its pod would have.
struct Agent<'a> {
    api: &'a ApiServer<'a>,
    token: String,
}

impl<'a> Agent<'a> {
    fn of(api: &'a ApiServer<'a>, node: &str) -> Result<Self> {
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": format!("agent-{node}"), "namespace": "kube-tweed" },
            "spec": {
                "serviceAccountName": "tweed",
                "nodeName": node,
                "containers": [{ "name": "tweedd", "image": "localhost/tweed:0.1.0" }],
            },
        });
        // The API server has seen the service account a moment after it was made.
        eventually("the pod is made", || api.apply(&pod.to_string()))?;
        let pod = format!("agent-{node}");
        let uid = &api.get(&["pod", "-n", "kube-tweed", &pod])?["metadata"]["uid"];
        let uid = uid.as_str().context("a pod without uid")?;
        let bound = format!("--bound-object-uid={uid}");
        let name = format!("--bound-object-name={pod}");
        Self::with(api, &["--bound-object-kind=Pod", &name, &bound])
    }

    fn with(api: &'a ApiServer<'a>, bound: &[&str]) -> Result<Self> {
        let mut words = vec!["create", "token", "tweed", "-n", "kube-tweed"];
        words.extend(bound);
        let token = api.kubectl(&words)?.trim().to_owned();
        Ok(Self { api, token })
    }

    fn kubectl(&self, words: &[&str], input: &str) -> Result<String> {
        let authority = self.api.pki().path("ca.crt");
        let own = [
            format!("--token={}", self.token),
            format!("--server={}", ApiServer::url()),
            format!("--certificate-authority={}", authority.display()),
        ];
        let mut all: Vec<&str> = own.iter().map(String::as_str).collect();
        all.extend(words);
        self.api.kubectl_with("/dev/null".as_ref(), &all, input)
    }

    fn patch(&self, node: &str, patch: &Value) -> Result<()> {
        let patch = format!("--patch={patch}");
        let words = [
            "patch",
            "node",
            node,
            "--subresource=status",
            "--type=strategic",
            &patch,
        ];
        self.kubectl(&words, "").map(drop)
    }

    /// Why the API server refuses a patch.
    fn refusal(&self, node: &str, patch: &Value) -> Result<String> {
        match self.patch(node, patch) {
            Ok(()) => anyhow::bail!("{node} takes {patch}"),
            Err(error) => Ok(format!("{error:#}")),
        }
    }
}

fn annotation(key: &str, value: &str) -> Value {
    json!({ "metadata": { "annotations": { key: value } } })
}

fn condition(kind: &str, status: &str) -> Value {
    json!({ "status": { "conditions": [{ "type": kind, "status": status, "reason": "Test", "message": "a test" }] } })
}

fn node(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": { "kubernetes.io/hostname": name },
            "annotations": { "example.org/owner": "somebody", format!("{PREFIX}/public-ip-overwrite"): "192.0.2.9" },
        },
        "spec": { "podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24"] },
    })
}

fn expect(refusal: &str, words: &str) -> Result<()> {
    ensure!(
        refusal.contains(words),
        "refused, but not because {words}: {refusal}"
    );
    Ok(())
}

#[test]
fn an_agents_token_changes_its_own_nodes_annotations_and_condition_and_nothing_else() -> Result<()>
{
    Topology::hosts(1).play(|lab| {
        let api = ApiServer::start(lab)?;
        api.apply(&one_file()?)?;
        // kubectl reads what it patches, which the agent does not.
        api.kubectl(&["create", "clusterrole", "reader", "--verb=get", "--resource=nodes/status"])?;
        let account = "--serviceaccount=kube-tweed:tweed";
        api.kubectl(&["create", "clusterrolebinding", "reader", "--clusterrole=reader", account])?;
        for name in ["node1", "node2"] {
            api.kubectl_with(api.kubeconfig(), &["create", "-f", "-"], &node(name).to_string())?;
            // A kubelet would have reported this.
            let ready = condition("Ready", "True");
            let patch = format!("--patch={ready}");
            api.kubectl(&["patch", "node", name, "--subresource=status", &patch])?;
        }
        let agent = Agent::of(&api, "node1")?;
        let public_ip = format!("{PREFIX}/public-ip");

        // The policy is in force a moment after it was applied.
        eventually("another node's annotations are refused", || {
            let refusal = agent.refusal("node2", &annotation(&public_ip, "192.0.2.1"))?;
            expect(&refusal, "the agent of node node1 may not change node node2")
        })?;

        agent.patch("node1", &annotation(&public_ip, "192.0.2.1"))?;
        agent.patch("node1", &annotation(&public_ip, "192.0.2.2"))?;
        agent.patch("node1", &json!({ "metadata": { "annotations": { public_ip.as_str(): null } } }))?;
        agent.patch("node1", &condition("NetworkUnavailable", "False"))?;
        agent.patch("node1", &condition("NetworkUnavailable", "True"))?;
        let applied = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": { "name": "node1", "annotations": { format!("{PREFIX}/backend-type"): "vxlan" } },
        });
        let apply = ["apply", "--server-side", "--subresource=status", "--field-manager=tweed", "-f", "-"];
        agent.kubectl(&apply, &applied.to_string())?;

        let annotations = "no annotations but the overlay network's";
        for patch in [
            annotation("example.org/owner", "me"),
            annotation("example.org/new", "mine"),
            json!({ "metadata": { "annotations": { "example.org/owner": null } } }),
            // These are the operator's to write.
            annotation(&format!("{PREFIX}/public-ip-overwrite"), "192.0.2.1"),
        ] {
            expect(&agent.refusal("node1", &patch)?, annotations)?;
        }
        // Its own subnet is 10.244.1.0/24.
        for addr in ["127.0.0.1", "224.0.0.1", "0.0.0.9", "240.0.0.1", "255.255.255.255", "10.244.1.7", "nonsense", ""] {
            let refusal = agent.refusal("node1", &annotation(&public_ip, addr))?;
            expect(&refusal, "no node can be reached at")?;
        }
        for addr in ["::1", "ff02::1", "::ffff:192.0.2.1"] {
            let refusal = agent.refusal("node1", &annotation(&format!("{PREFIX}/public-ipv6"), addr))?;
            expect(&refusal, "no node can be reached at")?;
        }
        for addr in ["0.0.0.0", "192.0.2.1", "198.18.0.1", "169.254.3.4"] {
            agent.patch("node1", &annotation(&public_ip, addr))?;
        }
        for addr in ["::", "2001:db8::1", "fd00::1", "fe80::1"] {
            agent.patch("node1", &annotation(&format!("{PREFIX}/public-ipv6"), addr))?;
        }
        let label = json!({ "metadata": { "labels": { "node-role.kubernetes.io/control-plane": "" } } });
        expect(&agent.refusal("node1", &label)?, "nor its labels")?;
        let status = "the condition NetworkUnavailable only";
        for patch in [
            condition("Ready", "False"),
            condition("MemoryPressure", "True"),
            json!({ "status": { "capacity": { "cpu": "64" } } }),
            json!({ "status": { "addresses": [{ "type": "InternalIP", "address": "192.0.2.66" }] } }),
        ] {
            expect(&agent.refusal("node1", &patch)?, status)?;
        }
        let refused = agent.kubectl(&["delete", "node", "node2"], "");
        ensure!(refused.is_err(), "an agent removed a node");
        let refused = agent.kubectl(&["patch", "node", "node1", "--patch={\"spec\":{\"unschedulable\":true}}"], "");
        ensure!(refused.is_err(), "an agent changed its node's spec");

        // A token that somebody took out of the cluster is bound to no pod, and thus to no node.
        let loose = Agent::with(&api, &[])?;
        let refusal = loose.refusal("node1", &annotation(&public_ip, "192.0.2.1"))?;
        expect(&refusal, "the token is not bound to a pod")?;

        // Everybody else is as free as before: kubelets, operators.
        let patch = annotation(&public_ip, "192.0.2.7").to_string();
        api.kubectl(&["annotate", "node", "node2", "example.org/owner=other", "--overwrite"])?;
        api.kubectl(&["patch", "node", "node2", "--subresource=status", &format!("--patch={patch}")])?;

        // Told to by the chart's values, it takes taints away: those that were named, and nothing else of the spec.
        let tainted = json!({ "spec": { "taints": [
            { "key": "example.org/starting", "effect": "NoSchedule" },
            { "key": "example.org/broken", "effect": "NoSchedule" },
        ] } });
        api.kubectl(&["patch", "node", "node1", &format!("--patch={tainted}")])?;
        api.apply(&chart(&["removeTaints={example.org/starting}"])?)?;
        let taint = |words: &[&str]| agent.kubectl(&[&["taint", "node", "node1"], words].concat(), "");
        eventually("the named taint is taken away", || taint(&["example.org/starting-"]))?;
        for words in ["example.org/broken-", "example.org/new=:NoSchedule"] {
            let refusal = taint(&[words]).err().with_context(|| format!("{words} was done"))?;
            expect(&format!("{refusal:#}"), "taints only")?;
        }
        // kubectl cordon succeeds whatever the API server says.
        let cordon = ["patch", "node", "node1", "--patch={\"spec\":{\"unschedulable\":true}}"];
        let refusal = agent.kubectl(&cordon, "").err().context("cordoned")?;
        expect(&format!("{refusal:#}"), "taints only")?;
        Ok(())
    })
}
