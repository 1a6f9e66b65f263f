//! Changes by another network configuration, and leases that become invalid by it.

use std::io::{IsTerminal, Write};

use anyhow::bail;
use ipnet::IpNet;
use tweed_model::{Dual, Family, Lease, NetworkConfig, Pool, shown};
use tweed_store::{LeaseStore, cut_by};

/// So many leases are named.
const NAMED: usize = 20;

/// The difference between the store's configuration and a new one.
#[derive(Debug, Default)]
pub(super) struct Change {
    /// Removed and added facts, a line each.
    lines: Vec<String>,
    /// Leases of which a subnet no longer fits.
    pub(super) invalid: Vec<String>,
    /// The family that goes, where these leases keep their subnet of the other.
    removed: Option<Family>,
    /// Families that nodes get beside the subnets that they keep, and how many nodes.
    added: Vec<(Family, usize)>,
}

fn become_invalid(count: usize) -> String {
    match count {
        1 => "1 lease becomes invalid".to_owned(),
        _ => format!("{count} leases become invalid"),
    }
}

impl Change {
    /// Compares two texts, the second of which is valid.
    pub(super) async fn between(
        before: &str,
        after: &str,
        store: &impl LeaseStore,
    ) -> anyhow::Result<Self> {
        let (new, _) = NetworkConfig::parse(after)?;
        let Ok((old, _)) = NetworkConfig::parse(before) else {
            // No agent uses it: agents go on with the last one that they could read, which is not known here.
            let old = Dual::default();
            return Self::of(vec!["- what can't be read".to_owned()], &old, &new, store).await;
        };
        if old == new {
            return Ok(Self::default());
        }
        let (gone, come) = (facts(&old), facts(&new));
        let minus = gone.iter().filter(|fact| !come.contains(fact));
        let plus = come.iter().filter(|fact| !gone.contains(fact));
        let lines = minus
            .map(|fact| format!("- {fact}"))
            .chain(plus.map(|fact| format!("+ {fact}")));
        Self::of(lines.collect(), &old.pools, &new, store).await
    }

    async fn of(
        lines: Vec<String>,
        old: &Dual<Pool>,
        new: &NetworkConfig,
        store: &impl LeaseStore,
    ) -> anyhow::Result<Self> {
        // A change of the backend's options leaves the leases as they are.
        if *old == new.pools {
            return Ok(Self {
                lines,
                ..Self::default()
            });
        }
        // A node keeps its subnet of one family when the other family comes or goes.
        let fit = |pools: &Dual<Pool>, family: Family, subnet: &IpNet| {
            let pool = pools.get(family);
            pool.is_some_and(|pool| cut_by(store).fit(pool, subnet))
        };
        let fits = |pools: &Dual<Pool>, lease: &Lease| {
            let mut subnets = lease.key.0.iter();
            subnets.all(|(family, subnet)| fit(pools, family, subnet))
        };
        let keeps = |lease: &Lease, gone: Family| {
            let mut subnets = lease.key.0.iter();
            lease.key.0.get(gone.other()).is_some()
                && subnets.all(|(family, subnet)| family == gone || fit(&new.pools, family, subnet))
        };
        let snapshot = store.list().await?;
        let leases = snapshot.leases.values();
        let leases: Vec<_> = leases
            .filter(|lease| old.is_empty() || fits(old, lease))
            .collect();
        let (keep, lose): (Vec<_>, Vec<_>) = leases
            .into_iter()
            .partition(|lease| fits(&new.pools, lease));
        let goes = |family: &Family| {
            new.pools.get(*family).is_none() && lose.iter().all(|lease| keeps(lease, *family))
        };
        let without = |family: Family| {
            let nodes = keep
                .iter()
                .filter(|lease| lease.key.0.get(family).is_none());
            new.pools.get(family).map(|_| (family, nodes.count()))
        };
        Ok(Self {
            lines,
            invalid: lose.iter().map(|lease| named(lease)).collect(),
            removed: Family::BOTH.into_iter().find(goes),
            added: Family::BOTH.into_iter().filter_map(without).collect(),
        })
    }

    /// For people, before anything is written.
    pub(super) fn words(&self) -> String {
        let mut text = String::new();
        for line in &self.lines {
            text += &format!("{line}\n");
        }
        for (family, nodes) in self.added.iter().filter(|(_, nodes)| *nodes > 0) {
            let keep = match nodes {
                1 => "1 node keeps its subnet and gets one".to_owned(),
                _ => format!("{nodes} nodes keep their subnets and get one"),
            };
            text += &format!(
                "{keep} of {family} beside; pods that run have no {family} until they are started anew\n"
            );
        }
        if self.invalid.is_empty() {
            return text;
        }
        let consequence = match self.removed {
            Some(family) => format!(
                "these nodes' running pods are cut off by {family}, and go on by {}",
                family.other()
            ),
            None => "these nodes get other subnets, and their running pods lose their connection"
                .to_owned(),
        };
        text += &format!(
            "{}: {consequence}. Drain them first\n",
            become_invalid(self.invalid.len())
        );
        for lease in self.invalid.iter().take(NAMED) {
            text += &format!("  {lease}\n");
        }
        let more = self.invalid.len().saturating_sub(NAMED);
        if more > 0 {
            text += &format!("  and {more} more\n");
        }
        text
    }

    /// Asks on the terminal whether that is wanted.
    ///
    /// # Errors
    /// If it is not, or nobody can be asked.
    pub(super) fn confirm(&self, may_ask: bool) -> anyhow::Result<()> {
        let count = self.invalid.len();
        if !may_ask || !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
            bail!(
                "nothing is written: {} by this configuration, and nobody is there to be asked. If that is wanted: \
                 tweedd config set --yes FILE",
                become_invalid(count)
            );
        }
        eprint!("write it? [y/N] ");
        std::io::stderr().flush()?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        match answer.trim().to_lowercase().as_str() {
            "y" | "yes" => Ok(()),
            _ => bail!("nothing is written"),
        }
    }
}

fn named(lease: &Lease) -> String {
    let public: Vec<String> = lease
        .attrs
        .public
        .values()
        .map(ToString::to_string)
        .collect();
    let node = lease.node.as_deref().map(shown);
    let node = node
        .map(|node| format!(", node {node}"))
        .unwrap_or_default();
    format!("{} of {}{node}", lease.key, public.join(" and "))
}

/// A configuration's meaning, a line each.
fn facts(config: &NetworkConfig) -> Vec<String> {
    let mut facts: Vec<String> = config
        .pools
        .values()
        .map(|pool| {
            format!(
                "network {}, subnets of /{} from {} to {}",
                pool.network, pool.subnet_len, pool.min, pool.max
            )
        })
        .collect();
    let options = serde_json::Value::Object(config.backend.clone()).to_string();
    facts.push(format!(
        "backend {} {}",
        config.backend_type,
        shown(&options)
    ));
    facts
}

#[cfg(test)]
mod tests {
    use tweed_model::LeaseAttrs;
    use tweed_model::lease::Term;
    use tweed_store::file::{FileOptions, FileStore};

    use super::*;

    const VXLAN: &str = r#"{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan"}}"#;

    const DUAL: &str = r#"{"Network":"10.244.0.0/16","EnableIPv6":true,"IPv6Network":"fd00::/48","Backend":{"Type":"vxlan"}}"#;

    /// A store with a lease of the given subnet.
    fn store(folder: &std::path::Path, subnet: &str) -> FileStore {
        let lease = Lease {
            key: subnet.parse().expect("a key"),
            attrs: LeaseAttrs::default(),
            node: None,
            created: 0,
            term: Term::Leased,
        };
        std::fs::create_dir_all(folder.join("subnets")).expect("a folder");
        let value = r#"{"PublicIP":"192.0.2.17","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1}}"#;
        let file = folder.join(format!("subnets/{}.json", lease.key));
        std::fs::write(file, value).expect("written");
        FileStore::new(FileOptions::new(folder))
    }

    async fn between(before: &str, after: &str) -> Change {
        of_lease("10.244.7.0-24", before, after).await
    }

    async fn of_lease(key: &str, before: &str, after: &str) -> Change {
        let folder = tempfile::tempdir().expect("a folder");
        let store = store(folder.path(), key);
        Change::between(before, after, &store)
            .await
            .expect("a change")
    }

    #[tokio::test]
    async fn another_network_makes_leases_invalid_and_says_whose() {
        for after in [
            r#"{"Network":"10.99.0.0/16","Backend":{"Type":"vxlan"}}"#,
            r#"{"Network":"10.244.0.0/16","SubnetLen":26,"Backend":{"Type":"vxlan"}}"#,
            r#"{"Network":"10.244.0.0/16","SubnetMin":"10.244.8.0","Backend":{"Type":"vxlan"}}"#,
            r#"{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00::/48","Backend":{"Type":"vxlan"}}"#,
        ] {
            let change = between(VXLAN, after).await;
            assert_eq!(change.invalid, ["10.244.7.0-24 of 192.0.2.17"], "{after}");
            let words = change.words();
            assert!(
                words.contains("+ network ") && words.contains("Drain"),
                "{words}"
            );
            let refused = change
                .confirm(false)
                .expect_err("nobody to ask")
                .to_string();
            assert!(
                refused.contains("--yes") && refused.contains("nothing is written"),
                "{refused}"
            );
        }
    }

    #[tokio::test]
    async fn a_change_that_keeps_all_leases_is_shown_and_not_asked_about() {
        for (after, line) in [
            (VXLAN, ""),
            (
                r#"{"network": "10.244.0.0/16", "Backend": {"type": "VXLAN"}}"#,
                "+ backend vxlan",
            ),
            (
                r#"{"Network":"10.244.0.0/16","Backend":{"Type":"udp"}}"#,
                "+ backend udp",
            ),
            (
                r#"{"Network":"10.244.0.0/15","SubnetLen":24,"Backend":{"Type":"vxlan"}}"#,
                "+ network 10.244.0.0/15",
            ),
            (DUAL, "1 node keeps its subnet and gets one of IPv6 beside"),
        ] {
            let change = between(VXLAN, after).await;
            assert!(change.invalid.is_empty(), "{after}: {change:?}");
            assert!(change.words().contains(line), "{}", change.words());
        }
    }

    #[tokio::test]
    async fn a_family_that_goes_is_asked_about_and_what_stays_is_said() {
        let key = "10.244.7.0-24&fd00:0:0:7::-64";
        let change = of_lease(key, DUAL, VXLAN).await;
        assert_eq!(change.invalid.len(), 1, "{change:?}");
        let words = change.words();
        assert!(
            words.contains("cut off by IPv6, and go on by IPv4"),
            "{words}"
        );
        assert!(!words.contains("other subnets"), "{words}");
        // Both: the one goes, and the other moves.
        let moved = r#"{"Network":"10.99.0.0/16","Backend":{"Type":"vxlan"}}"#;
        let words = of_lease(key, DUAL, moved).await.words();
        assert!(words.contains("other subnets"), "{words}");
    }

    #[tokio::test]
    async fn what_can_t_be_read_in_the_store_hides_no_lease() {
        let after = r#"{"Network":"10.99.0.0/16","Backend":{"Type":"vxlan"}}"#;
        assert_eq!(between("{", after).await.invalid.len(), 1);
        assert!(between("{", VXLAN).await.invalid.is_empty());
    }
}
