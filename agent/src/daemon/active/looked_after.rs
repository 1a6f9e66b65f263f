//! Keepers that live as long as one session.

use std::collections::BTreeSet;
use std::time::Instant;

use ipnet::IpNet;

use crate::daemon::common::Common;
use crate::daemon::keepers::Keeper;
use crate::daemon::keepers::bridge::Bridge;
use crate::daemon::keepers::host::HostKeeper;
use crate::daemon::keepers::tx_checksum::TxChecksumLook;
use crate::daemon::keepers::uplink::UplinkKeeper;
use crate::daemon::session::Session;
use crate::host::uplink::Wanted;

/// The keepers of a session.
pub(super) struct SessionKeepers {
    pub(super) uplink: UplinkKeeper,
    pub(super) host: HostKeeper,
    pub(super) bridge: Bridge,
    pub(super) tx_checksum: TxChecksumLook,
}

impl SessionKeepers {
    pub(super) fn new(
        session: &Session,
        former: &BTreeSet<IpNet>,
        common: &Common,
        now: Instant,
    ) -> Self {
        let node = &session.node;
        let (uplink, host) = (node.uplink.clone(), node.host.clone());
        let overlay = session.uplink.overlay.clone();
        let networks = (session.networks(), former.iter().copied().collect());
        let servers = session.servers.clone();
        let reader = || common.reader.clone();
        let usual = common.options.host.instance.is_usual();
        Self {
            uplink: UplinkKeeper::new(wanted(session), (uplink, node.public), reader(), now),
            host: HostKeeper::new(overlay, servers, (host, node.subnets), reader(), now),
            bridge: Bridge::new(node.subnets, networks, usual),
            tx_checksum: TxChecksumLook::of(&session.backends, reader(), now),
        }
    }

    pub(super) fn all(&mut self) -> [&mut dyn Keeper; 4] {
        [
            &mut self.uplink,
            &mut self.host,
            &mut self.bridge,
            &mut self.tx_checksum,
        ]
    }
}

/// How the uplink is chosen in a session: its addresses stay while the host has them.
pub(super) fn wanted(session: &Session) -> Wanted {
    let mut wanted = session.uplink.clone();
    wanted.known.before = session.settled;
    wanted
}
