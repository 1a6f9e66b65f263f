//! The table that keeps containers from sending frames with another source address than their own (`macspoofchk`):
//! family bridge, constant rules, and an element or two for each port, with the owner as comment. A frame costs two
//! look-ups, however many ports there are.

use tweed_model::Mac;
use tweed_nft::render::Element;
use tweed_nft::rule::rule;
use tweed_nft::ruleset::{
    Chain, ChainKind, DataType, Hook, HookPoint, Match, Rule, Ruleset, Set, Verdict, name_bytes,
};

use super::owner::Owner;
use crate::CNI_TABLE;

/// Set of the ports that are looked at.
const PORTS: &str = "ports";
/// Set of pairs (port, the address that its frames may have).
const SOURCES: &str = "sources";
/// As early as Go's plugin does it: before address translation and connection tracking of bridges.
const PRIORITY: i32 = -300;

/// The table without ports. It has the name of the plugins' other table.
pub(crate) fn source_base() -> Ruleset {
    let ports = Set {
        key: vec![DataType::IfName],
        ..Set::default()
    };
    let sources = Set {
        key: vec![DataType::IfName, DataType::EtherAddr],
        ..Set::default()
    };
    let matches = vec![
        Match::PortInSet(PORTS.to_owned()),
        Match::SourceNotInSet(SOURCES.to_owned()),
    ];
    let forged = Rule {
        counter: true,
        ..rule(
            matches,
            Verdict::Drop,
            "source address of another interface",
        )
    };
    let hook = Hook::new(ChainKind::Filter, HookPoint::Prerouting, PRIORITY);
    let chain = Chain {
        hook: Some(hook),
        rules: vec![forged],
    };
    Ruleset {
        table: CNI_TABLE.to_owned(),
        sets: [(PORTS.to_owned(), ports), (SOURCES.to_owned(), sources)].into(),
        chains: [("prerouting".to_owned(), chain)].into(),
        ..Ruleset::default()
    }
}

/// The elements by which frames that come in by a port must have this source: set name and element.
pub(crate) fn source_elements(owner: &Owner, port: &str, mac: Mac) -> [(&'static str, Element); 2] {
    let name = name_bytes(port);
    let comment = Some(owner.to_string());
    let element = |key: Vec<u8>| Element {
        key,
        comment: comment.clone(),
        ..Element::default()
    };
    // A part of a concatenation fills whole registers of four bytes.
    let pair = [&name[..], &mac.0, &[0, 0]].concat();
    [(PORTS, element(name.to_vec())), (SOURCES, element(pair))]
}

/// The port of an element of either set.
pub(crate) fn port_of(element: &Element) -> &[u8] {
    let len = DataType::IfName.width();
    &element.key[..len.min(element.key.len())]
}
