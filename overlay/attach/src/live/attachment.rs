//! Elements of a container's interface in the plugins' table, found again by the owner in their comment. Many plugin
//! processes work on the table at once; each change is one transaction that fails where another process was faster,
//! and is then computed anew.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use tweed_host::KernelError;
use tweed_model::Family;
use tweed_netlink::Netfilter;
use tweed_nft::live::read::{self, INET, TableReading};
use tweed_nft::live::table::{Sets, persist, persist_new};
use tweed_nft::render::{
    Message, add_elements, add_new_elements, add_rule, chain_message, del_elements, flush_chain,
    set_message,
};
use tweed_nft::{Change, Element, Ruleset, change_messages};

use crate::{
    CNI_TABLE, Owner, cni_base, is_masquerading, masquerade_elements, masquerade_set,
    own_network_set,
};

/// Masquerades what these addresses (each with the length of its own network) send outside that network. Creates or
/// mends the table where needed. What another owner left under the same address is replaced.
///
/// # Errors
/// When the kernel refuses, or other programs change the packet filter without pause.
pub fn masquerade(
    socket: &mut Netfilter,
    owner: &Owner,
    addrs: &[IpNet],
) -> Result<(), KernelError> {
    let base = cni_base();
    persist_new(socket, |socket, in_the_way| {
        // The kernel finds what is there already: what is read doesn't grow with the number of containers.
        let filled = |set: &str| in_the_way && is_masquerading(set);
        let (generation, there) = read::table_with(socket, (INET, CNI_TABLE), filled)?;
        let (mut messages, sets) = prepare(&base, there);
        let mut replaces = !messages.is_empty();
        for addr in addrs {
            for (set, element) in masquerade_elements(owner, *addr) {
                if !in_the_way {
                    messages.extend(add_new_elements(CNI_TABLE, set, &[element]));
                    continue;
                }
                let put = put(&sets, set, element);
                replaces |= put.len() > 1;
                messages.extend(put);
            }
        }
        // An addition conflicts with no other change: without a generation, plugins don't make each other start over.
        let generation = replaces.then_some(generation);
        Ok((!messages.is_empty()).then_some((messages, generation)))
    })
    .map_err(KernelError::from)
}

/// Removes the masquerading of this owner. Without any there is nothing to do.
///
/// # Errors
/// When the kernel refuses, or other programs change the packet filter without pause.
pub fn unmasquerade(socket: &mut Netfilter, owner: &Owner) -> Result<(), KernelError> {
    remove_from(socket, owner, is_masquerading)
}

/// Removes everything of this owner. Without the table, or without elements in it, there is nothing to do.
///
/// # Errors
/// When the kernel refuses, or other programs change the packet filter without pause.
pub fn remove_owner(socket: &mut Netfilter, owner: &Owner) -> Result<(), KernelError> {
    remove_from(socket, owner, |_| true)
}

/// Removes what this owner has in some of the sets.
pub(super) fn remove_from(
    socket: &mut Netfilter,
    owner: &Owner,
    which: impl Fn(&str) -> bool,
) -> Result<(), KernelError> {
    let comment = Some(owner.to_string());
    persist(socket, |socket| {
        let (generation, Some(there)) = read::table_with(socket, (INET, CNI_TABLE), &which)? else {
            return Ok(None);
        };
        let mut messages = Vec::new();
        for (name, set) in there.sets {
            let theirs: Vec<Element> = set
                .elements
                .into_iter()
                .filter(|element| element.comment == comment)
                .collect();
            messages.extend(del_elements(CNI_TABLE, &name, &theirs));
        }
        // An element is removed by its key: a port of a container that is gone may belong to another by now.
        Ok((!messages.is_empty()).then_some((messages, Some(generation))))
    })
    .map_err(KernelError::from)
}

/// All owners of elements in the table.
///
/// # Errors
/// When the kernel refuses to say.
pub fn owners(socket: &mut Netfilter) -> Result<BTreeSet<Owner>, KernelError> {
    let (_, there) = read::table(socket, CNI_TABLE)?;
    let sets = there.map(|there| there.sets).unwrap_or_default();
    let elements = sets.values().flat_map(|set| &set.elements);
    Ok(elements.filter_map(owner_of).collect())
}

/// The addresses of an owner for which all that [`masquerade`] sets is there: rules and elements.
///
/// # Errors
/// When the kernel refuses to say.
pub fn masqueraded(socket: &mut Netfilter, owner: &Owner) -> Result<BTreeSet<IpNet>, KernelError> {
    let (_, there) = read::table_with(socket, (INET, CNI_TABLE), is_masquerading)?;
    let Some(there) = there else {
        return Ok(BTreeSet::new());
    };
    if !mend(&cni_base(), Some(&there)).is_empty() {
        return Ok(BTreeSet::new());
    }
    let mut found = BTreeSet::new();
    for family in Family::BOTH {
        let of = |set: &str| there.sets.get(set).map(|set| set.elements.as_slice());
        let own = of(own_network_set(family)).unwrap_or_default();
        let masqueraded = of(masquerade_set(family)).unwrap_or_default();
        let complete = own
            .iter()
            .filter(|element| owner_of(element).as_ref() == Some(owner))
            .filter_map(|element| own_network(family, element))
            .filter(|addr| {
                let [(_, wanted), _] = masquerade_elements(owner, *addr);
                masqueraded.contains(&wanted)
            });
        found.extend(complete);
    }
    Ok(found)
}

fn owner_of(element: &Element) -> Option<Owner> {
    Owner::parse(element.comment.as_deref()?)
}

/// The address and its own network that a pair in an `own` set stands for.
fn own_network(family: Family, pair: &Element) -> Option<IpNet> {
    let half = usize::from(family.bits()) / 8;
    let (addr, first) = pair.key.split_at_checked(half)?;
    let last = pair.key_end.as_deref()?.get(half..)?;
    let same = first.iter().zip(last).map(|(a, b)| (a ^ b).leading_zeros());
    let mut prefix = 0;
    for bits in same {
        prefix += bits;
        if bits < 8 {
            break;
        }
    }
    let addr: IpAddr = match family {
        Family::V4 => <[u8; 4]>::try_from(addr).ok()?.into(),
        Family::V6 => <[u8; 16]>::try_from(addr).ok()?.into(),
    };
    IpNet::new(addr, u8::try_from(prefix).ok()?).ok()
}

/// Puts the constant part of the table right.
///
/// # Errors
/// When the kernel refuses, or other programs change the packet filter without pause.
pub fn put_base(socket: &mut Netfilter) -> Result<(), KernelError> {
    let base = cni_base();
    persist(socket, |socket| {
        let (generation, there) = read::table(socket, CNI_TABLE)?;
        let messages = mend(&base, there.as_ref());
        Ok((!messages.is_empty()).then_some((messages, Some(generation))))
    })
    .map_err(KernelError::from)
}

/// What puts the constant part of the table right, and the sets with the elements that it then has.
pub(super) fn prepare(base: &Ruleset, there: Option<TableReading>) -> (Vec<Message>, Sets) {
    let messages = mend(base, there.as_ref());
    let kept = there.filter(|there| !clashes(base, there));
    (messages, kept.map(|there| there.sets).unwrap_or_default())
}

/// What puts the constant part of the table right without touching elements. Chains and sets that it doesn't know are
/// left alone: a newer plugin may use them.
pub(super) fn mend(base: &Ruleset, there: Option<&TableReading>) -> Vec<Message> {
    let Some(there) = there else {
        // It may be there and dormant, which keeps all rules from working.
        return change_messages(&Change::Replace(base.clone()));
    };
    if clashes(base, there) {
        return change_messages(&Change::Replace(base.clone()));
    }
    let table = base.table.as_str();
    let mut messages = Vec::new();
    for (id, (name, set)) in (1..).zip(&base.sets) {
        if !there.sets.contains_key(name) {
            messages.push(set_message(table, name, id, set));
        }
    }
    for (name, chain) in &base.chains {
        let rules = there.chains.get(name).map(|chain| &chain.rules);
        if rules == Some(&chain.state().rules) {
            continue;
        }
        messages.push(match rules {
            Some(_) => flush_chain(table, name),
            None => chain_message(table, name, chain.hook.as_ref()),
        });
        messages.extend(chain.rules.iter().map(|rule| add_rule(table, name, rule)));
    }
    messages
}

/// Whether something stands under a name of ours that can't be corrected in place: a set of another type, a chain of
/// another hook. The table is then made afresh, and the agent puts back the elements that it has records of.
fn clashes(base: &Ruleset, there: &TableReading) -> bool {
    let set_clashes = base.sets.iter().any(|(name, set)| {
        let there = there.sets.get(name);
        there.is_some_and(|there| there.key != set.state().key)
    });
    let chain_clashes = base.chains.iter().any(|(name, chain)| {
        let there = there.chains.get(name);
        there.is_some_and(|there| there.hook != chain.state().hook)
    });
    set_clashes || chain_clashes
}

/// Puts one element, in place of what another owner has left under the same container address.
fn put(sets: &Sets, name: &str, element: Element) -> Vec<Message> {
    let there = sets.get(name).map(|set| set.elements.as_slice());
    let there = there.unwrap_or_default();
    if there.contains(&element) {
        return Vec::new();
    }
    let stale: Vec<Element> = there
        .iter()
        .filter(|old| subject(name, old) == subject(name, &element))
        .cloned()
        .collect();
    let mut messages = del_elements(CNI_TABLE, name, &stale);
    messages.extend(add_elements(CNI_TABLE, name, &[element]));
    messages
}

/// The container address of an element: the key, or the first half of a pair.
fn subject<'a>(set: &str, element: &'a Element) -> &'a [u8] {
    let is_pair = Family::BOTH
        .iter()
        .any(|family| own_network_set(*family) == set);
    let len = element.key.len();
    &element.key[..if is_pair { len / 2 } else { len }]
}
