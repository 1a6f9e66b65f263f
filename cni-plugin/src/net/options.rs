//! Keys that several plugins have, read and checked alike.

use serde::Deserialize;
use serde_json::Value;
use tweed_model::Mac;

use crate::spec::{CniError, Dns, NetConf, json};

/// An MTU in bytes; 0 leaves it to the kernel.
///
/// # Errors
/// When it is no number of bytes.
pub(crate) fn mtu(mtu: i64) -> Result<Option<u32>, CniError> {
    let mtu = u32::try_from(mtu).map_err(|_| {
        CniError::config(format!("mtu {mtu} is not a number of bytes such as 1450"))
    })?;
    Ok((mtu != 0).then_some(mtu))
}

/// The first of these hardware addresses that is given.
///
/// # Errors
/// When it is none that one interface can have.
pub(crate) fn mac(sources: &[Option<&str>]) -> Result<Option<Mac>, CniError> {
    let mut given = sources.iter().flatten().filter(|text| !text.is_empty());
    let Some(text) = given.next() else {
        return Ok(None);
    };
    let mac: Mac = text
        .parse()
        .map_err(|error| CniError::config(format!("mac: {error}")))?;
    if !mac.is_unicast() {
        let msg =
            format!("mac {mac} is not the address of one interface (it is zero or a group's)");
        return Err(CniError::config(msg));
    }
    Ok(Some(mac))
}

/// The name servers that go before those of the IPAM plugin: an empty list that is given counts.
///
/// # Errors
/// When a value has another type than its key.
pub(crate) fn dns(conf: &NetConf) -> Result<Option<Dns>, CniError> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Keys {
        dns: Dns,
    }
    let Keys { dns } = conf.read()?;
    let object = json::get(&conf.raw, "dns").and_then(Value::as_object);
    let has_list = object.is_some_and(|object| {
        let lists = ["nameservers", "search", "options"];
        lists.iter().any(|key| json::get(object, key).is_some())
    });
    Ok((has_list || !dns.is_empty()).then_some(dns))
}

/// Checks `ipMasqBackend`. Rules of ours go to nftables whatever it says.
///
/// # Errors
/// A word that the reference doesn't know either.
pub(crate) fn check_masquerade_backend(backend: &str) -> Result<(), CniError> {
    match backend {
        "" | "iptables" | "nftables" => Ok(()),
        other => Err(CniError::config(format!(
            "unknown ipmasq backend {other:?}"
        ))),
    }
}

/// Checks that a text can be the name of an interface.
///
/// # Errors
/// Names the key.
pub(crate) fn check_interface(key: &str, name: &str) -> Result<(), CniError> {
    if is_interface(name) {
        return Ok(());
    }
    let msg = format!("{key} {name:?} is not a name for an interface (at most 15 bytes)");
    Err(CniError::config(msg))
}

/// Whether the kernel takes a text as the name of an interface.
pub(crate) fn is_interface(name: &str) -> bool {
    let wrong = |c: char| c == '/' || c == ':' || c == '%' || c.is_whitespace();
    !(name.is_empty() || name.len() > 15 || name == "." || name == ".." || name.contains(wrong))
}
