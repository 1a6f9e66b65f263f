//! The attachments' elements in the plugins' table, as they were read last.

use std::collections::BTreeSet;

use ipnet::IpNet;
use tweed_host::KernelError;
use tweed_model::Mac;
use tweed_netlink::Netfilter;
use tweed_nft::Element;
use tweed_nft::live::read::{self, BRIDGE, INET};

use super::attachment::mend;
use crate::{
    CNI_TABLE, Owner, Publication, cni_base, masquerade_elements, source_base, source_elements,
};

/// A table as it was read last. Read again only when the packet filter has changed.
#[derive(Debug, Default)]
pub struct Table {
    /// Family bridge, not inet.
    of_bridges: bool,
    generation: Option<u32>,
    stands: bool,
    elements: BTreeSet<(String, Element)>,
}

impl Table {
    /// The table of family bridge.
    pub fn of_bridges() -> Self {
        Self {
            of_bridges: true,
            ..Self::default()
        }
    }

    /// Reads the table, unless nothing has changed since.
    ///
    /// # Errors
    /// When the kernel refuses to say.
    pub fn look(&mut self, socket: &mut Netfilter) -> Result<(), KernelError> {
        if self.generation == Some(read::generation(socket)?) {
            return Ok(());
        }
        let (family, base) = match self.of_bridges {
            true => (BRIDGE, source_base()),
            false => (INET, cni_base()),
        };
        let (generation, there) = read::table_of(socket, family, CNI_TABLE)?;
        self.stands = mend(&base, there.as_ref()).is_empty();
        let sets = there.into_iter().flat_map(|there| there.sets);
        self.elements = sets
            .flat_map(|(name, set)| {
                let elements = set.elements.into_iter();
                elements.map(move |element| (name.clone(), element))
            })
            .collect();
        self.generation = Some(generation);
        Ok(())
    }

    /// Whether the constant rules are in place.
    pub fn stands(&self) -> bool {
        self.stands
    }

    /// Whether all of these addresses are masqueraded.
    pub fn masquerades(&self, owner: &Owner, addrs: &[IpNet]) -> bool {
        let mut wanted = addrs
            .iter()
            .flat_map(|addr| masquerade_elements(owner, *addr));
        wanted.all(|element| self.has(element))
    }

    /// Whether all of these host ports lead to their container; never so for mappings that contradict each other.
    pub fn publishes(&self, owner: &Owner, publication: &Publication) -> bool {
        let wanted = publication.elements(owner).unwrap_or_default();
        wanted.into_iter().all(|element| self.has(element))
    }

    /// Whether frames by this port must have this source address.
    pub fn binds_source(&self, owner: &Owner, port: &str, mac: Mac) -> bool {
        let mut wanted = source_elements(owner, port, mac).into_iter();
        self.stands && wanted.all(|element| self.has(element))
    }

    fn has(&self, (set, element): (&str, Element)) -> bool {
        self.elements.contains(&(set.to_owned(), element))
    }
}
