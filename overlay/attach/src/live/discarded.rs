//! Links that a DEL has set aside, since the kernel takes long to remove one and as long to remove many. Such a link is
//! down, in no bridge, without addresses, and has a name of its own, so that an ADD can make another at once. Its alias
//! says which attachment had it.

use tweed_netlink::{LinkChange, LinkInfo, Netlink, NetlinkError};
use tweed_nft::fingerprint::fnv1a;

use crate::Owner;

/// The names of such links: this and eight digits.
const PREFIX: &str = "gone";
const DIGITS: usize = 8;

/// The kinds that DEL sets aside.
const KINDS: [&str; 2] = ["veth", "ifb"];

/// How many links of one attachment may wait for their removal at the same time: an ADD may follow a DEL at once.
const WAITING: u8 = 16;

/// The names under which links of an attachment are set aside, in the order in which they are tried.
pub fn names(owner: &Owner) -> impl Iterator<Item = String> {
    let hash = fnv1a(format!("{owner} {PREFIX}").as_bytes());
    let [a, b, c, d, e, f, g, h] = hash.to_be_bytes();
    let number = u32::from_be_bytes([a ^ e, b ^ f, c ^ g, d ^ h]);
    (0..WAITING).map(move |nth| format!("{PREFIX}{:08x}", number.wrapping_add(nth.into())))
}

/// Whether a link has been set aside. Its name alone may be anybody's.
pub fn is_discarded(link: &LinkInfo) -> bool {
    let digits = link.name.strip_prefix(PREFIX);
    let is_number = |digits: &str| {
        digits.len() == DIGITS && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
    };
    digits.is_some_and(is_number)
        && KINDS.contains(&link.kind.as_str())
        && Owner::parse(&link.alias).is_some()
}

/// All links of the host that have been set aside.
///
/// # Errors
/// When links can't be listed.
pub fn discarded(netlink: &mut Netlink) -> Result<Vec<LinkInfo>, NetlinkError> {
    let links = netlink.links()?;
    Ok(links.into_iter().filter(is_discarded).collect())
}

/// Takes a link down and out of its bridge: no packet passes from here on.
///
/// # Errors
/// [`NetlinkError::is_not_found`] when it is gone, and the kernel's refusal.
pub fn cut(netlink: &mut Netlink, link: &LinkInfo) -> Result<(), NetlinkError> {
    let cut = LinkChange {
        master: link.master.map(|_| 0),
        up: Some(false),
        ..LinkChange::default()
    };
    netlink.set_link(link.dev(), &cut)
}

/// Takes the addresses of a link that is cut, and its name. Until then it is found by its name, as if nothing had
/// happened.
///
/// # Errors
/// As [`cut`]; [`NetlinkError::is_exists`] when too many wait already.
pub fn set_aside(
    netlink: &mut Netlink,
    link: &LinkInfo,
    owner: &Owner,
) -> Result<(), NetlinkError> {
    for addr in netlink.addrs(Some(link.index))? {
        match netlink.del_addr(link.dev(), addr.net) {
            Err(error) if !error.is_not_found() => return Err(error),
            _ => {}
        }
    }
    let alias = owner.to_string();
    if link.alias != alias {
        // First: the kernel tells of a new name, and of a new alias only where the link is up.
        let change = LinkChange {
            alias: Some(&alias),
            ..LinkChange::default()
        };
        netlink.set_link(link.dev(), &change)?;
    }
    let mut named = Ok(());
    for name in names(owner) {
        let change = LinkChange {
            name: Some(&name),
            ..LinkChange::default()
        };
        named = netlink.set_link(link.dev(), &change);
        if !named.as_ref().is_err_and(NetlinkError::is_exists) {
            break;
        }
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_the_kernel_and_differ_between_attachments() {
        let of = |ifname| names(&Owner::new("cbr0", "c", ifname)).collect::<Vec<_>>();
        let (eth0, net1) = (of("eth0"), of("net1"));
        assert_eq!(eth0.len(), usize::from(WAITING));
        assert!(
            eth0.iter()
                .all(|name| name.len() == 12 && !net1.contains(name))
        );
        assert_eq!(eth0[0], "gonecdb3fe6e", "names in the kernel are for ever");
    }
}
