use serde_json::{Value, json};
use tweed_model::subnet_env::SubnetEnv;

use super::*;
use crate::spec::Version;

const ENV: &str = "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\nFLANNEL_IPV6_NETWORK=fc00::/48\nFLANNEL_IPV6_SUBNET=fc00::1/64\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";

fn config(keys: Value) -> Result<PodConfig, CniError> {
    let mut conf = json!({"cniVersion": "1.1.0", "name": "net", "type": "tweed"});
    for (key, value) in keys.as_object().unwrap() {
        conf[key] = value.clone();
    }
    let conf = NetConf::from_value(conf, &Version::ALL).unwrap();
    PodConfig::parse(&conf, &Args::parse("MAC=02:00:00:00:00:02").unwrap())
}

/// The configuration of the plugin that makes the interface, on a node with these subnets.
fn interface(keys: Value) -> Value {
    let env = SubnetEnv::parse(ENV).unwrap();
    let conf = config(keys).unwrap().interface(Some(&env)).unwrap();
    Value::Object(conf.raw)
}

#[test]
fn what_is_not_given_is_the_agents_and_the_usual_of_a_pod() {
    let conf = interface(json!({"mode": "bridge"}));
    let ipam = json!({
        "type": "host-local",
        "ranges": [[{"subnet": "10.244.1.0/24"}], [{"subnet": "fc00::/64"}]],
        "routes": [{"dst": "10.244.0.0/16"}, {"dst": "fc00::/48"}],
    });
    assert_eq!(conf["ipam"], ipam);
    for (key, value) in [
        ("mtu", json!(1450)),
        ("ipMasq", json!(false)),
        ("isGateway", json!(true)),
        ("isDefaultGateway", json!(true)),
        ("hairpinMode", json!(true)),
    ] {
        assert_eq!(conf[key], value, "{key}");
    }
    assert_eq!(
        interface(json!({"mode": "bridge", "promiscMode": true}))["hairpinMode"],
        false
    );
}

#[test]
fn a_routed_pod_has_no_keys_of_a_bridge_and_no_route_but_to_its_host() {
    let conf = interface(json!({"mode": "routed"}));
    assert!(conf.get("hairpinMode").is_none() && conf.get("isGateway").is_none());
    assert!(conf["ipam"].get("routes").is_none());
    assert_eq!(conf["mtu"], 1450);
}

#[test]
fn what_is_given_goes_before_the_agents() {
    let ipam = json!({"type": "host-local", "ranges": [[{"subnet": "10.1.2.0/24"}]]});
    let given = json!({
        "mode": "bridge", "MTU": 9000, "ipMasq": true, "isDefaultGateway": false, "ipam": ipam,
    });
    assert!(!config(given.clone()).unwrap().needs_env());
    let conf = interface(given);
    assert_eq!(conf["ipam"], ipam);
    assert_eq!((&conf["MTU"], conf.get("mtu")), (&json!(9000), None));
    assert_eq!(
        (&conf["ipMasq"], &conf["isDefaultGateway"]),
        (&json!(true), &json!(false))
    );
    let of_others = json!({"mode": "bridge", "ipam": {"type": "dhcp"}});
    assert!(!config(of_others.clone()).unwrap().needs_env());
    assert_eq!(interface(of_others)["ipam"], json!({"type": "dhcp"}));
}

#[test]
fn the_hardware_address_is_the_one_that_tuning_would_set_last() {
    let mac = |last: &str| format!("02:00:00:00:00:{last}");
    let mut keys = json!({"mode": "bridge", "mac": mac("01")});
    let found = |keys: &Value| interface(keys.clone())["runtimeConfig"]["mac"].clone();
    assert_eq!(found(&keys), mac("02"), "of CNI_ARGS");
    keys["runtimeConfig"] = json!({"mac": mac("03")});
    assert_eq!(found(&keys), mac("03"));
    keys["args"] = json!({"cni": {"mac": mac("04")}});
    assert_eq!(found(&keys), mac("04"));
}

#[test]
fn only_plugins_that_have_work_are_behind_it() {
    let with = |key: &str, value: Value| {
        let mut keys = json!({"mode": "bridge"});
        keys[key] = value;
        let config = config(keys).unwrap();
        (config.has_ports(), config.is_limited(), config.is_tuned())
    };
    assert_eq!(with("mtu", json!(1400)), (false, false, false));
    assert_eq!(
        with("mac", json!("02:00:00:00:00:01")),
        (false, false, false)
    );
    let all = json!({"portMappings": true, "bandwidth": true, "mac": true, "ips": true});
    assert_eq!(with("capabilities", all), (true, true, false));
    assert_eq!(with("ingressRate", json!(8000)), (false, true, false));
    assert_eq!(with("sysctl", json!({})), (false, false, true));
    assert_eq!(
        with("args", json!({"cni": {"mtu": 1400}})),
        (false, false, true)
    );
    let runtime = json!({"bandwidth": {}, "portMappings": []});
    assert_eq!(with("runtimeConfig", runtime), (true, true, false));
}

#[test]
fn a_mode_that_there_is_not_and_a_delegate_beside_one_are_refused() {
    let refused = |keys: Value| config(keys).unwrap_err().to_string();
    assert!(refused(json!({"mode": "vxlan"})).contains("want bridge or routed"));
    let both = json!({"mode": "bridge", "delegate": {}});
    assert!(refused(both).contains("delegate goes with no mode"));
}

#[test]
fn without_a_mode_the_work_is_passed_on() {
    let whole = |keys: Value| {
        let mut conf = keys;
        conf["name"] = "net".into();
        is_whole(&NetConf::from_value(conf, &Version::ALL).unwrap())
    };
    assert!(!whole(json!({"delegate": {}})));
    assert!(!whole(json!({"mode": ""})) && !whole(json!({"mode": null})));
    assert!(whole(json!({"Mode": "bridge"})) && whole(json!({"mode": 3})));
}
