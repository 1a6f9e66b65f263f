//! What reads the store: configurations, leases and keys, as others write them or have broken them.

use tweed_backend::Backends;
use tweed_model::NetworkConfig;
use tweed_model::subnet_env::SubnetEnv;
use tweed_model::wire::{format_attrs, parse_attrs};

use tweed_fuzz::{changed, fuzz};

const CONFIGS: [&str; 3] = [
    r#"{"Network":"10.42.0.0/16","SubnetLen":24,"SubnetMin":"10.42.1.0","SubnetMax":"10.42.9.0","Backend":{"Type":"udp","Port":8285,"Workers":2,"BusyPoll":50,"KeepAlive":20,"Trust":"peers","Accept":[{"Type":"vxlan"}]}}"#,
    r#"{"EnableIPv6":true,"IPv6Network":"fd00:42::/48","Network":"10.42.0.0/16","Backend":{"Type":"vxlan","VNI":1}}"#,
    r#"{"network":"10.42.0.0/16","backend":{"type":"host-gw"}}"#,
];
const LEASES: [&str; 3] = [
    r#"{"PublicIP":"192.0.2.1","PublicIPv6":null,"BackendData":null}"#,
    r#"{"PublicIP":"192.0.2.1","PublicIPv6":"2001:db8::1","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"a2:00:00:00:00:01"},"BackendV6Data":{"VNI":1,"VtepMAC":"a2:00:00:00:00:02"}}"#,
    r#"{"PublicIP":"192.0.2.1","BackendType":"udp","BackendV6Data":{"Port":8285}}"#,
];
const ENVS: [&str; 2] = [
    "FLANNEL_NETWORK=10.42.0.0/16\nFLANNEL_SUBNET=10.42.1.1/24\nFLANNEL_MTU=1472\nFLANNEL_IPMASQ=true\n",
    "FLANNEL_IPV6_NETWORK=fd00:42::/48\nFLANNEL_IPV6_SUBNET=fd00:42:0:1::1/64\nFLANNEL_MTU=1452\nFLANNEL_IPMASQ=false\n",
];

#[test]
fn configurations_are_read_or_refused_with_words() {
    fuzz("configuration", 20, |source| {
        let text = changed(source, &CONFIGS);
        match NetworkConfig::parse(&text) {
            Ok((config, _)) => {
                for (family, pool) in config.pools.iter() {
                    assert!(
                        pool.network.contains(&pool.min) && pool.network.contains(&pool.max),
                        "{text}"
                    );
                    assert!(pool.subnet_len <= family.bits());
                }
                let backends = Backends::parse(&config);
                if let Err(error) = &backends {
                    assert!(!error.to_string().is_empty());
                }
                backends.is_ok()
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                false
            }
        }
    });
}

#[test]
fn leases_are_read_or_refused_and_written_as_they_were_read() {
    fuzz("lease", 20, |source| {
        let text = changed(source, &LEASES);
        let Ok(attrs) = parse_attrs(text.as_bytes()) else {
            return false;
        };
        let written = format_attrs(&attrs);
        assert_eq!(parse_attrs(written.as_bytes()).unwrap(), attrs, "{text}");
        true
    });
}

#[test]
fn subnet_files_are_read_or_refused_and_written_as_they_were_read() {
    fuzz("subnet.env", 20, |source| {
        let text = changed(source, &ENVS);
        let Ok(env) = SubnetEnv::parse(&text) else {
            return false;
        };
        assert_eq!(SubnetEnv::parse(&env.render()).unwrap(), env, "{text}");
        true
    });
}
