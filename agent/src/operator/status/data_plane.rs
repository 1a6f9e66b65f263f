//! What our own data plane carries, and what it drops.

use std::fmt;

use super::rows::row;
use crate::daemon::data_plane::status::DataPlaneStatus;

/// Its rows.
pub(super) fn data_plane(f: &mut fmt::Formatter<'_>, plane: &DataPlaneStatus) -> fmt::Result {
    let (sent, delivered) = (plane.sent.packets, plane.delivered.packets);
    let dropped: u64 = plane.dropped.values().sum();
    let words =
        format!("{sent} packets sent to other nodes, {delivered} given to pods, {dropped} dropped");
    row(f, "carried", words)?;
    for (reason, count) in &plane.dropped {
        let hint = match reason.as_str() {
            "unknown_sender" => {
                " (not by an address that a node announces; who moves behind a NAT is not followed)"
            }
            _ => "",
        };
        row(f, "", format!("dropped for {reason}: {count}{hint}"))?;
    }
    for (at, count) in plane.errors.iter().filter(|(_, count)| **count > 0) {
        row(f, "", format!("errors at {at}: {count}"))?;
    }
    let off: Vec<&str> = plane
        .offloads
        .iter()
        .filter_map(|(name, on)| (!on).then_some(name.as_str()))
        .collect();
    if !off.is_empty() {
        let off = off.join(", ");
        row(
            f,
            "",
            format!("offloads that the kernel does not have: {off}"),
        )?;
    }
    if plane.damaged > 0 {
        let words =
            "UDP datagrams came damaged, by any sender: its kernel or network card, most often";
        row(f, "", format!("{} {words}", plane.damaged))?;
    }
    for (offload, reason) in &plane.reasons {
        row(f, "", format!("{offload}: {reason}"))?;
    }
    for peer in plane.sent_singly() {
        let reason = peer.singly.as_deref().unwrap_or_default();
        row(
            f,
            "",
            format!("{} gets single datagrams: {reason}", peer.endpoint),
        )?;
    }
    for peer in plane.peers.iter().filter(|peer| peer.traffic.refused > 0) {
        let (endpoint, refused) = (peer.endpoint, peer.traffic.refused);
        row(f, "", format!("{endpoint} refused {refused} datagrams"))?;
    }
    Ok(())
}
