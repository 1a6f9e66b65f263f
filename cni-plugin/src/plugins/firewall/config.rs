//! The keys of `firewall`. Pure.

use std::path::PathBuf;

use serde::Deserialize;
use tweed_attach::Isolation;
use tweed_attach::forwarding::{ADMIN_CHAIN, LONGEST_CHAIN, is_chain_name};

use crate::spec::{CniError, CniResult, Kind, NetConf};
use crate::state::records::state_dir_of;

#[derive(Debug)]
pub(super) struct FirewallConfig {
    /// The operator's chain, which is asked before what is accepted.
    pub(super) admin_chain: String,
    isolation: Option<Isolation>,
    /// Folder of the records of attachments.
    pub(super) state_dir: PathBuf,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Keys {
    backend: String,
    iptables_admin_chain_name: String,
    #[serde(rename = "firewalldZone")]
    _firewalld_zone: String,
    ingress_policy: String,
    state_dir: String,
}

impl FirewallConfig {
    /// Reads and checks the keys.
    ///
    /// # Errors
    /// Names the key, and what is allowed.
    pub(super) fn parse(conf: &NetConf) -> Result<Self, CniError> {
        let keys: Keys = conf.read()?;
        backend(&keys.backend)?;
        let isolation = match keys.ingress_policy.as_str() {
            "" | "open" => None,
            "same-bridge" => Some(Isolation::SameBridge),
            "isolated" => Some(Isolation::Isolated),
            other => {
                let msg = format!("unknown ingress policy: {other:?}");
                return Err(CniError::config(msg).details("want open, same-bridge or isolated"));
            }
        };
        Ok(Self {
            admin_chain: chain(keys.iptables_admin_chain_name)?,
            isolation,
            state_dir: state_dir_of(keys.state_dir),
        })
    }

    /// The bridge that is to be kept apart, if one is: the first interface of the previous result.
    ///
    /// # Errors
    /// When the result names none.
    pub(super) fn bridge(&self, prev: &CniResult) -> Result<Option<(String, Isolation)>, CniError> {
        let Some(isolation) = self.isolation else {
            return Ok(None);
        };
        let first = prev.interfaces.first();
        let name = first.map(|first| first.name.clone()).unwrap_or_default();
        if name.is_empty() || name.len() > 15 {
            let msg = "interface needs to be set for ingress policy, make sure to chain \"firewall\" plugin with \"bridge\"";
            return Err(CniError::config(msg));
        }
        Ok(Some((name, isolation)))
    }
}

fn backend(name: &str) -> Result<(), CniError> {
    match name {
        "" | "iptables" | "nftables" => Ok(()),
        "firewalld" => {
            let msg = "backend \"firewalld\" is not supported";
            Err(CniError::new(Kind::UnsupportedField, msg).details(
                "rules are written to the packet filter itself; remove the key, and have firewalld trust the pods: firewall-cmd --permanent --zone=trusted --add-source=<subnet>",
            ))
        }
        other => Err(CniError::config(format!("unrecognized backend {other:?}"))
            .details("want iptables or nftables; either is nftables")),
    }
}

fn chain(name: String) -> Result<String, CniError> {
    match name.as_str() {
        "" => Ok(ADMIN_CHAIN.to_owned()),
        _ if is_chain_name(&name) => Ok(name),
        _ => {
            let msg = format!("iptablesAdminChainName {name:?} is not a name for a chain");
            Err(CniError::config(msg)
                .details(format!("at most {LONGEST_CHAIN} bytes of A-Za-z0-9._-")))
        }
    }
}
