//! The names of our objects, by which they are found again: made of network, container and interface, never of an
//! address, which another container may hold by now.

use tweed_attach::Owner;
use tweed_model::Mac;

use crate::spec::{Attachment, CniError, NetConf};

/// The owner of everything that an attachment has. Printed, it is the alias of the host's veth end and the comment of
/// nftables elements: free book-keeping in the kernel, from which GC learns what exists.
pub(crate) fn owner(network: &str, attachment: &Attachment) -> Owner {
    Owner::new(network, &attachment.container_id, &attachment.ifname)
}

/// The owners that GC must keep.
///
/// # Errors
/// When the configuration has no list of them.
pub(crate) fn valid_owners(conf: &NetConf) -> Result<Vec<Owner>, CniError> {
    let valid = conf.valid_attachments()?;
    Ok(valid.iter().map(|key| owner(&conf.name, key)).collect())
}

/// The name of the host's veth end, so that DEL finds it without the container's namespace or any record. Other names
/// are for when somebody else has this one.
pub(crate) fn host_veth(owner: &Owner, attempt: u8) -> String {
    format!(
        "veth{:08x}",
        fold(hash(&[&owner.to_string()])).wrapping_add(attempt.into())
    )
}

/// The name of a container's interface until it has its own.
pub(crate) fn unnamed(owner: &Owner) -> String {
    format!("cni-{:08x}", fold(hash(&[&owner.to_string(), "unnamed"])))
}

/// The hardware address of the host's veth end. Nothing ever talks to it, but the result has to name it.
pub(crate) fn host_mac(owner: &Owner) -> Mac {
    let [_, _, bytes @ ..] = hash(&[&owner.to_string(), "mac"]).to_be_bytes();
    Mac::local(bytes)
}

/// The name of the bridge's end of the pair whose other end has a VLAN's gateway.
pub(crate) fn gateway_port(name: &str) -> String {
    format!("veth{:08x}", fold(hash(&[name, "gateway"])))
}

/// FNV-1a over the parts with their lengths, so that `["ab", "c"]` and `["a", "bc"]` differ. Stable for ever: names on
/// disk and in the kernel are made of it.
pub(crate) fn hash(parts: &[&str]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in parts {
        let length = part.len() as u64;
        for byte in length.to_be_bytes().into_iter().chain(part.bytes()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash
}

fn fold(hash: u64) -> u32 {
    let [a, b, c, d, e, f, g, h] = hash.to_be_bytes();
    u32::from_be_bytes([a ^ e, b ^ f, c ^ g, d ^ h])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_between_interfaces_and_fit_the_kernel() {
        let attachment = |ifname: &str| Attachment {
            container_id: "c".repeat(250),
            ifname: ifname.into(),
        };
        let eth0 = owner("cbr0", &attachment("eth0"));
        let net1 = owner("cbr0", &attachment("net1"));
        assert_ne!(host_veth(&eth0, 0), host_veth(&net1, 0));
        assert_ne!(host_veth(&eth0, 0), host_veth(&eth0, 1));
        assert_eq!(host_veth(&eth0, 0).len(), 12);
        assert!(
            eth0.to_string().len() < 256,
            "an alias has at most 255 bytes"
        );
        assert!(host_mac(&eth0).is_unicast());
    }

    /// Other names would orphan the interfaces of every running pod.
    #[test]
    fn names_never_change() {
        let owner = Owner::new("cbr0", "abc", "eth0");
        assert_eq!(host_veth(&owner, 0), "vetha82921d4");
        assert_eq!(host_mac(&owner).to_string(), "c2:5b:10:8b:b1:d6");
        assert_eq!(unnamed(&owner).len(), 12);
    }
}
