//! The configuration of `flannel` (and `tweed`), and the delegate's that follows from it and `subnet.env`. Pure.

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Map, Value};
use tweed_model::presence::FOLDER;
use tweed_model::subnet_env::{DEFAULT_PATH, SubnetEnv};

use crate::net::subnet_env;
use crate::runtime::plugin::Registry;
use crate::runtime::role::Role;
use crate::spec::{CniError, NetConf, Version, json};
use crate::state::delegates::DATA_DIR;

/// The plugin's own keys.
#[derive(Clone, Debug)]
pub(super) struct FlannelConfig {
    /// The agent's file.
    pub(super) subnet_file: PathBuf,
    /// The folder of delegate configurations.
    pub(super) data_dir: PathBuf,
    /// Where the agent registers itself.
    pub(super) run_dir: PathBuf,
    network: NetConf,
    delegate: Map<String, Value>,
    ipam: Map<String, Value>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Keys {
    subnet_file: String,
    data_dir: String,
    run_dir: String,
    delegate: Map<String, Value>,
    ipam: Map<String, Value>,
}

impl FlannelConfig {
    /// Reads and checks the plugin's keys.
    ///
    /// # Errors
    /// When `delegate` sets what follows from elsewhere.
    pub(super) fn parse(conf: &NetConf) -> Result<Self, CniError> {
        let keys: Keys = conf.read()?;
        for (key, source) in [
            ("name", "it is the network's"),
            ("ipam", "write it beside delegate"),
        ] {
            if json::get(&keys.delegate, key).is_some() {
                let msg = format!("delegate must not have the key {key}: {source}");
                return Err(CniError::config(msg));
            }
        }
        if let Some(name) = json::get(&keys.delegate, "type").filter(|name| !name.is_string()) {
            let msg = format!("delegate.type is {name}, want a name such as \"bridge\"");
            return Err(CniError::config(msg));
        }
        Ok(Self::of_keys(keys, conf))
    }

    /// What DEL and GC need, of a configuration that may be broken: what can't be is passed over.
    pub(super) fn for_removal(conf: &NetConf, plugins: Registry) -> Self {
        let text = |key: &str| {
            let text = json::get(&conf.raw, key).and_then(Value::as_str);
            text.unwrap_or_default().to_owned()
        };
        let object = |key: &str| {
            let object = json::get(&conf.raw, key).and_then(Value::as_object);
            object.cloned().unwrap_or_default()
        };
        let mut delegate = object("delegate");
        let fits = |name: &Value| {
            name.as_str()
                .is_some_and(|name| plugins.may_be(name, Role::Interface))
        };
        if !json::get(&delegate, "type").is_some_and(fits) {
            json::take(&mut delegate, "type");
        }
        let keys = Keys {
            subnet_file: text("subnetFile"),
            data_dir: text("dataDir"),
            run_dir: text("runDir"),
            delegate,
            ipam: object("ipam"),
        };
        Self::of_keys(keys, conf)
    }

    fn of_keys(keys: Keys, conf: &NetConf) -> Self {
        let or = |text: String, default: &str| match text.as_str() {
            "" => PathBuf::from(default),
            _ => PathBuf::from(text),
        };
        Self {
            subnet_file: or(keys.subnet_file, DEFAULT_PATH),
            data_dir: or(keys.data_dir, DATA_DIR),
            run_dir: or(keys.run_dir, FOLDER),
            network: conf.clone(),
            delegate: keys.delegate,
            ipam: keys.ipam,
        }
    }

    /// The delegate's configuration. Without `env` it has no ranges, routes and MTU: enough to find and remove what
    /// an attachment has left, not to make one.
    ///
    /// # Errors
    /// When `ipam.routes` are no routes.
    pub(super) fn delegate(&self, env: Option<&SubnetEnv>) -> Result<Value, CniError> {
        let mut delegate = self.delegate.clone();
        if let Some(runtime) = json::get(&self.network.raw, "runtimeConfig") {
            delegate.insert("runtimeConfig".into(), runtime.clone());
        }
        delegate.insert("name".into(), self.network.name.as_str().into());
        json::set_default(&mut delegate, "type", || "bridge".into());
        if let Some(env) = env {
            json::set_default(&mut delegate, "ipMasq", || (!env.ip_masq).into());
            json::set_default(&mut delegate, "mtu", || env.mtu.into());
        }
        if json::get(&delegate, "type").is_some_and(|name| name == "bridge") {
            json::set_default(&mut delegate, "isGateway", || true.into());
        }
        if let Some(version) = given_version(&self.network) {
            delegate.insert("cniVersion".into(), version.name().into());
        }
        delegate.insert("ipam".into(), self.delegate_ipam(env)?);
        Ok(json::sorted(&Value::Object(delegate)))
    }

    /// The same configuration as `portmap` reads it. Its records lie beside those of the delegate.
    pub(super) fn host_ports(&self) -> NetConf {
        let mut conf = self.network.clone();
        if let Some(dir) = json::get(&self.delegate, "stateDir") {
            json::set_default(&mut conf.raw, "stateDir", || dir.clone());
        }
        conf
    }

    fn delegate_ipam(&self, env: Option<&SubnetEnv>) -> Result<Value, CniError> {
        let mut ipam = self.ipam.clone();
        json::set_default(&mut ipam, "type", || "host-local".into());
        if let Some(env) = env {
            subnet_env::put_ranges(&mut ipam, env);
            subnet_env::add_routes(&mut ipam, env)?;
        }
        Ok(ipam.into())
    }
}

fn given_version(conf: &NetConf) -> Option<Version> {
    let given = json::get(&conf.raw, "cniVersion")?.as_str()?;
    (!given.is_empty()).then_some(conf.version)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const V4: &str = "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";
    const V6: &str = "FLANNEL_IPV6_NETWORK=fc00::/48\nFLANNEL_IPV6_SUBNET=fc00::1/64\nFLANNEL_MTU=1472\nFLANNEL_IPMASQ=false\n";
    const DUAL: &str = "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\nFLANNEL_IPV6_NETWORK=fc00::/48\nFLANNEL_IPV6_SUBNET=fc00::1/64\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";
    const TWO: &str = "FLANNEL_NETWORK=10.1.0.0/16,192.168.0.0/16\nFLANNEL_SUBNET=10.1.17.1/24\nFLANNEL_MTU=1472\nFLANNEL_IPMASQ=true\n";

    fn config(conf: &Value) -> Result<FlannelConfig, CniError> {
        FlannelConfig::parse(&NetConf::from_value(conf.clone(), &Version::ALL).unwrap())
    }

    fn delegate(conf: &Value, env: &str) -> String {
        let env = SubnetEnv::parse(env).unwrap();
        json::to_sorted_string(&config(conf).unwrap().delegate(Some(&env)).unwrap())
    }

    #[test]
    fn the_stock_manifest_gives_the_delegate_of_the_reference_byte_for_byte() {
        let conf = json!({
            "name": "cbr0", "cniVersion": "0.3.1", "type": "flannel",
            "delegate": {"hairpinMode": true, "isDefaultGateway": true},
        });
        assert_eq!(
            delegate(&conf, V4),
            r#"{"cniVersion":"0.3.1","hairpinMode":true,"ipMasq":false,"ipam":{"ranges":[[{"subnet":"10.244.1.0/24"}]],"routes":[{"dst":"10.244.0.0/16"}],"type":"host-local"},"isDefaultGateway":true,"isGateway":true,"mtu":1450,"name":"cbr0","type":"bridge"}"#
        );
    }

    #[test]
    fn each_family_has_its_range_and_each_network_its_route() {
        let conf = json!({"name": "n", "type": "flannel"});
        for (env, ipam) in [
            (
                V6,
                r#"{"ranges":[[{"subnet":"fc00::/64"}]],"routes":[{"dst":"fc00::/48"}],"type":"host-local"}"#,
            ),
            (
                DUAL,
                r#"{"ranges":[[{"subnet":"10.244.1.0/24"}],[{"subnet":"fc00::/64"}]],"routes":[{"dst":"10.244.0.0/16"},{"dst":"fc00::/48"}],"type":"host-local"}"#,
            ),
            (
                TWO,
                r#"{"ranges":[[{"subnet":"10.1.17.0/24"}]],"routes":[{"dst":"10.1.0.0/16"},{"dst":"192.168.0.0/16"}],"type":"host-local"}"#,
            ),
        ] {
            assert!(
                delegate(&conf, env).contains(&format!("\"ipam\":{ipam}")),
                "{env}"
            );
        }
    }

    #[test]
    fn what_is_configured_goes_before_defaults() {
        let conf = json!({
            "name": "n", "type": "flannel",
            "delegate": {"type": "macvlan", "MTU": 9000, "ipMasq": true},
            "ipam": {
                "type": "whereabouts", "dataDir": "/x", "Routes": [{"dst": "1.2.3.0/24", "gw": "10.244.1.9", "x": 1}],
                "ranges": "overwritten",
            },
            "runtimeConfig": {"mac": "02:00:00:00:00:01"},
        });
        assert_eq!(
            delegate(&conf, V4),
            r#"{"MTU":9000,"ipMasq":true,"ipam":{"dataDir":"/x","ranges":[[{"subnet":"10.244.1.0/24"}]],"routes":[{"dst":"1.2.3.0/24","gw":"10.244.1.9"},{"dst":"10.244.0.0/16"}],"type":"whereabouts"},"name":"n","runtimeConfig":{"mac":"02:00:00:00:00:01"},"type":"macvlan"}"#
        );
    }

    #[test]
    fn a_delegate_can_be_found_again_without_the_agents_file() {
        let conf = json!({"name": "n", "type": "flannel", "ipam": {"dataDir": "/x"}});
        assert_eq!(
            config(&conf).unwrap().delegate(None).unwrap().to_string(),
            r#"{"ipam":{"dataDir":"/x","type":"host-local"},"isGateway":true,"name":"n","type":"bridge"}"#
        );
    }

    #[test]
    fn keys_that_follow_from_elsewhere_are_refused_in_the_delegate() {
        for (delegate, expected) in [
            (
                json!({"name": "x"}),
                "delegate must not have the key name: it is the network's",
            ),
            (
                json!({"ipam": {}}),
                "delegate must not have the key ipam: write it beside delegate",
            ),
            (
                json!({"type": 3}),
                "delegate.type is 3, want a name such as \"bridge\"",
            ),
        ] {
            let conf = json!({"name": "n", "delegate": delegate});
            assert_eq!(config(&conf).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn paths_have_flannels_defaults() {
        let defaults = config(&json!({"name": "n"})).unwrap();
        assert_eq!(
            defaults.subnet_file,
            PathBuf::from("/run/flannel/subnet.env")
        );
        assert_eq!(defaults.data_dir, PathBuf::from("/var/lib/cni/flannel"));
        let given = config(&json!({"name": "n", "subnetFile": "/a", "dataDir": "/b"})).unwrap();
        assert_eq!(
            (given.subnet_file, given.data_dir),
            ("/a".into(), "/b".into())
        );
    }
}
