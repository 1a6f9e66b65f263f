//! Host ports in the plugins' table. A port belongs to one container at a time; the second that wants it gets an error.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use tweed_host::KernelError;
use tweed_netlink::{Netfilter, NetlinkError};
use tweed_nft::Element;
use tweed_nft::live::read::{self, INET, element_at};
use tweed_nft::live::table::{Sets, Step, persist, persist_new};
use tweed_nft::render::{Message, add_elements, add_new_elements, del_elements};

use super::attachment::{mend, prepare, remove_from};
use crate::hostport::{Ambiguous, claims_of, is_of_addresses, is_port_set};
use crate::{CNI_TABLE, Claim, Owner, Publication, cni_base};

/// Why a container doesn't get its host ports.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Its mappings contradict each other.
    #[error(transparent)]
    Ambiguous(#[from] Ambiguous),
    /// Another container has the port.
    #[error("host port {claim} is already taken by {holder}")]
    Taken {
        /// The port that both want.
        claim: Claim,
        /// Its owner.
        holder: Owner,
    },
    /// The kernel refuses.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

/// The part of a publication that is not in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The rules that all host ports share.
    Rules,
    /// A port, or its masquerading.
    Port(Claim),
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rules => write!(
                f,
                "the rules of nftables table inet {CNI_TABLE} are damaged"
            ),
            Self::Port(claim) => write!(f, "host port {claim} does not lead to the container"),
        }
    }
}

/// Makes exactly these host ports lead to their owner's container. Creates or mends the table where needed. Takes
/// ports from another owner only where `is_dead` says that its container is gone.
///
/// # Errors
/// When somebody else has a port; then nothing is changed.
pub fn publish(
    socket: &mut Netfilter,
    owner: &Owner,
    publication: &Publication,
    is_dead: impl Fn(&Owner) -> bool,
) -> Result<(), PublishError> {
    put(socket, owner, publication, (false, &is_dead))
}

/// The same for an owner that has no ports yet, as far as is known. What this costs does not grow with the number of
/// ports that others have: the kernel itself refuses one that is taken, and only then all are read.
///
/// # Errors
/// As for [`publish`].
pub fn publish_new(
    socket: &mut Netfilter,
    owner: &Owner,
    publication: &Publication,
    is_dead: impl Fn(&Owner) -> bool,
) -> Result<(), PublishError> {
    put(socket, owner, publication, (true, &is_dead))
}

fn put(
    socket: &mut Netfilter,
    owner: &Owner,
    publication: &Publication,
    (is_new, is_dead): (bool, &dyn Fn(&Owner) -> bool),
) -> Result<(), PublishError> {
    let base = cni_base();
    let claims: Vec<Claim> = publication.claims()?.into_keys().collect();
    let elements = by_set(publication.elements(owner)?);
    let mut taken = None;
    persist_new(socket, |socket, in_the_way| {
        if is_new && !in_the_way {
            let step = put_unread(socket, (owner, publication), (&claims, &elements))?;
            if step.is_some() {
                return Ok(step);
            }
        }
        let (generation, there) = read::table(socket, CNI_TABLE)?;
        let (mut messages, sets) = prepare(&base, there);
        let clash = clashes(&sets, owner, &claims);
        if let Some((claim, holder)) = clash.iter().find(|(_, holder)| !is_dead(holder)) {
            taken = Some((*claim, holder.clone()));
            return Ok(None);
        }
        let gone: BTreeSet<String> = clash.iter().map(|(_, dead)| dead.to_string()).collect();
        messages.extend(replace(&sets, owner, &gone, &elements));
        // One address's port and all addresses' stand in different maps: only nobody else's change in between makes
        // sure that they don't meet.
        Ok((!messages.is_empty()).then_some((messages, Some(generation))))
    })
    .map_err(KernelError::from)?;
    match taken {
        Some((claim, holder)) => Err(PublishError::Taken { claim, holder }),
        None => Ok(()),
    }
}

/// What puts elements that nothing is in the way of; `None` where the table must be read. Of others' ports only those of
/// single addresses are read; one on all addresses is a key, which the kernel looks up or refuses.
fn put_unread(
    socket: &mut Netfilter,
    (owner, publication): (&Owner, &Publication),
    (claims, elements): (&[Claim], &Elements),
) -> Result<Option<Step>, NetlinkError> {
    let (generation, there) = read::table_with(socket, (INET, CNI_TABLE), is_of_addresses)?;
    if !mend(&cni_base(), there.as_ref()).is_empty() {
        return Ok(None);
    }
    let sets = there.map(|there| there.sets).unwrap_or_default();
    let is_own = |element: &Element| element.comment.as_deref() == Some(&*owner.to_string());
    let has_some = sets.values().any(|set| set.elements.iter().any(is_own));
    if has_some || !clashes(&sets, owner, claims).is_empty() {
        return Ok(None);
    }
    for claim in claims {
        // Where it stands in that map itself, the kernel refuses a second one.
        let is_elsewhere =
            claim.host_addr.is_some() || publication.conditions.get(claim.family).is_some();
        let (set, port) = claim.on_all_addresses();
        if is_elsewhere && element_at(socket, (CNI_TABLE, set), &port)?.is_some() {
            return Ok(None);
        }
    }
    let mut messages = Vec::new();
    for (set, elements) in elements {
        let elements: Vec<Element> = elements.iter().cloned().collect();
        messages.extend(add_new_elements(CNI_TABLE, set, &elements));
    }
    Ok(Some((messages, Some(generation))))
}

/// Removes the host ports of an owner. Without any there is nothing to do.
///
/// # Errors
/// When the kernel refuses, or other programs change the packet filter without pause.
pub fn unpublish(socket: &mut Netfilter, owner: &Owner) -> Result<(), KernelError> {
    remove_from(socket, owner, is_port_set)
}

/// Removes the host ports that a record says an owner has, by their keys: what this costs does not grow with the number
/// of ports that others have. Where they are not as recorded, all are read.
///
/// # Errors
/// As for [`unpublish`].
pub fn unpublish_recorded(
    socket: &mut Netfilter,
    owner: &Owner,
    publication: &Publication,
) -> Result<(), KernelError> {
    let elements = by_set(publication.elements(owner).unwrap_or_default());
    // Of a record of an earlier version the agent has made more.
    let is_earlier = publication.host_address.is_none() && publication.loopback_target().is_some();
    let mut is_as_recorded = !elements.is_empty() && !is_earlier;
    persist(socket, |socket| {
        let generation = read::generation(socket)?;
        let mut messages = Vec::new();
        for (set, elements) in &elements {
            for element in elements {
                if element_at(socket, (CNI_TABLE, set), element)?.as_ref() != Some(element) {
                    is_as_recorded = false;
                    return Ok(None);
                }
            }
            let elements: Vec<Element> = elements.iter().cloned().collect();
            messages.extend(del_elements(CNI_TABLE, set, &elements));
        }
        // An element is removed by its key: a port of a container that is gone may belong to another by now.
        Ok((!messages.is_empty()).then_some((messages, Some(generation))))
    })?;
    match is_as_recorded {
        true => Ok(()),
        false => unpublish(socket, owner),
    }
}

/// Looks whether all that [`publish`] sets is there; `None` if so.
///
/// # Errors
/// When the kernel refuses to say, or the mappings contradict each other.
pub fn published(
    socket: &mut Netfilter,
    owner: &Owner,
    publication: &Publication,
) -> Result<Option<Missing>, PublishError> {
    let (_, there) = read::table_with(socket, (INET, CNI_TABLE), |_| false)?;
    if !mend(&cni_base(), there.as_ref()).is_empty() {
        return Ok(Some(Missing::Rules));
    }
    for (set, element) in publication.elements(owner)? {
        if element_at(socket, (CNI_TABLE, set), &element)?.as_ref() != Some(&element) {
            let any = publication.claims()?.into_keys().next();
            let claim = Claim::of_element(set, &element.key).or(any);
            return Ok(Some(claim.map_or(Missing::Rules, Missing::Port)));
        }
    }
    Ok(None)
}

/// All owners of host ports.
///
/// # Errors
/// When the kernel refuses to say.
pub fn publishers(socket: &mut Netfilter) -> Result<BTreeSet<Owner>, KernelError> {
    let (_, there) = read::table(socket, CNI_TABLE)?;
    let sets = there.map(|there| there.sets).unwrap_or_default();
    let ports = sets.iter().filter(|(name, _)| is_port_set(name));
    let comments = ports.flat_map(|(_, set)| &set.elements);
    Ok(comments
        .filter_map(|element| Owner::parse(element.comment.as_deref()?))
        .collect())
}

/// Claims of others that this owner wants.
fn clashes(sets: &Sets, owner: &Owner, wanted: &[Claim]) -> Vec<(Claim, Owner)> {
    let mut held: BTreeMap<(u8, u16), Vec<(Claim, Owner)>> = BTreeMap::new();
    for (name, set) in sets {
        for (claim, holder) in claims_of(name, &set.elements) {
            if holder != *owner {
                let key = (claim.protocol.number(), claim.host_port);
                held.entry(key).or_default().push((claim, holder));
            }
        }
    }
    let meets = |claim: &Claim| {
        let same = held.get(&(claim.protocol.number(), claim.host_port));
        let same = same.into_iter().flatten();
        let clash = same.filter(|(other, _)| claim.clashes(other));
        clash.cloned().collect::<Vec<_>>()
    };
    wanted.iter().flat_map(meets).collect()
}

type Elements = BTreeMap<&'static str, BTreeSet<Element>>;

fn by_set(elements: Vec<(&'static str, Element)>) -> Elements {
    let mut sets = Elements::new();
    for (set, element) in elements {
        sets.entry(set).or_default().insert(element);
    }
    sets
}

/// Deletes what the dead have and what the owner has but doesn't want, then adds what it lacks.
fn replace(sets: &Sets, owner: &Owner, dead: &BTreeSet<String>, wanted: &Elements) -> Vec<Message> {
    let (own, none) = (owner.to_string(), BTreeSet::new());
    let (mut del, mut add) = (Vec::new(), Vec::new());
    for (name, set) in sets.iter().filter(|(name, _)| is_port_set(name)) {
        let wanted = wanted.get(name.as_str()).unwrap_or(&none);
        let is_surplus = |element: &&Element| {
            let of = element.comment.as_deref().unwrap_or_default();
            dead.contains(of) || (of == own && !wanted.contains(*element))
        };
        let surplus: Vec<Element> = set.elements.iter().filter(is_surplus).cloned().collect();
        del.extend(del_elements(CNI_TABLE, name, &surplus));
    }
    for (name, wanted) in wanted {
        let there: BTreeSet<&Element> = sets
            .get(*name)
            .map(|set| set.elements.iter().collect())
            .unwrap_or_default();
        let lacking: Vec<Element> = wanted
            .iter()
            .filter(|element| !there.contains(element))
            .cloned()
            .collect();
        add.extend(add_elements(CNI_TABLE, name, &lacking));
    }
    del.extend(add);
    del
}

impl From<NetlinkError> for PublishError {
    fn from(error: NetlinkError) -> Self {
        Self::Kernel(error.into())
    }
}
