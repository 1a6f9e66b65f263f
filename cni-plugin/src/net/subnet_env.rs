//! The agent's file: what it says of this node's subnets, and IPAM configurations that follow from it.

use std::net::Ipv4Addr;
use std::path::Path;

use ipnet::{IpNet, Ipv4Net};
use serde_json::{Map, Value, json};
use tweed_host::bounded_file::{self, KIB, Links};
use tweed_model::Dual;
use tweed_model::subnet_env::SubnetEnv;

use crate::spec::error::reason;
use crate::spec::{CniError, Kind, Route, json};

/// The agent's file. The text of the error is flannel's, since that is what people search for.
pub(crate) fn read(path: &Path) -> Result<SubnetEnv, CniError> {
    let text = bounded_file::read(path, Links::Followed, 64 * KIB)
        .map_err(|error| format!("open {}: {}", path.display(), reason(&error)));
    text.and_then(|bytes| {
        SubnetEnv::parse(&String::from_utf8_lossy(&bytes))
            .map_err(|error| format!("{} {error}", path.display()))
    })
    .map_err(|cause| {
        CniError::failed(format!(
            "failed to load flannel 'subnet.env' file: {cause}. Check the flannel pod log for this node."
        ))
        .details("the agent writes it once this node holds a lease: see `tweedd status` and start tweedd if it isn't running")
    })
}

/// The agent's values change no type. Without any, `host-local` would miss its ranges.
pub(crate) fn example() -> SubnetEnv {
    let subnet = Ipv4Net::new_assert(Ipv4Addr::new(192, 0, 2, 0), 24);
    SubnetEnv {
        networks: Dual::default(),
        subnets: Dual::of_nets([IpNet::V4(subnet)]),
        mtu: 0,
        ip_masq: true,
    }
}

/// Has addresses handed out from the agent's subnets.
pub(crate) fn put_ranges(ipam: &mut Map<String, Value>, env: &SubnetEnv) {
    let subnets = env.subnets.values().map(IpNet::trunc);
    let ranges: Vec<Value> = subnets.map(|subnet| json!([{"subnet": subnet}])).collect();
    json::put(ipam, "ranges", ranges.into());
}

/// Adds routes to the agent's networks to those that are given.
///
/// # Errors
/// When what is given are no routes.
pub(crate) fn add_routes(ipam: &mut Map<String, Value>, env: &SubnetEnv) -> Result<(), CniError> {
    let given = json::take(ipam, "routes").unwrap_or_else(|| json!([]));
    let mut routes: Vec<Route> = json::read(&given)
        .map_err(|error| CniError::new(Kind::Decode, error).context("ipam.routes"))?;
    let networks = env.networks.values().flatten();
    routes.extend(networks.map(|network| Route::new(*network, None)));
    ipam.insert("routes".into(), json!(routes));
    Ok(())
}
