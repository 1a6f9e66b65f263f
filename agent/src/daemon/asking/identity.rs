//! The MACs of this node's VTEPs: kept as long as no other node has them first.

use std::time::{Duration, Instant};

use tweed_backend::Backends;
use tweed_host::random;
use tweed_model::{BackendData, Dual, Family, Identity, LeaseAttrs, Mac, Pool};

use crate::daemon::common::Common;
use crate::daemon::redrawn::Redrawn;
use crate::daemon::saved;
use crate::files::state_dir::StateDir;

/// Between two draws. Peers need a moment for each, and nobody is to make a node change its MAC without end.
const PAUSE: Duration = Duration::from_mins(10);

/// The VTEP MACs: saved ones; else those of the devices that are there (as flannel leaves them); else those that this
/// node announced under its own name, where the store knows nodes by name; else random ones. Not those that a store has
/// for our public address: knowing them is how a node shows that a lease is its own, and another host with the same
/// address (behind one NAT, say) could read them there as well.
pub(super) fn of(
    (state, redrawn): (&StateDir, Option<&Redrawn>),
    backends: &Backends,
    devices: &Dual<Mac>,
    announced: Option<&LeaseAttrs>,
) -> Identity {
    if let Some(redrawn) = redrawn {
        return redrawn.identity;
    }
    if let Some(identity) = saved::identity(state) {
        return identity;
    }
    let mac = |family: Family| {
        let device = devices.get(family).copied();
        device
            .or_else(|| backends.announced_mac(announced?, family))
            .unwrap_or_else(drawn)
    };
    Identity {
        vtep_mac: mac(Family::V4),
        vtep_mac_v6: mac(Family::V6),
    }
}

/// By what else the store may know a lease as this node's: what other backends announce, and what it announced before it
/// drew other MACs.
pub(super) fn announced_else(
    redrawn: Option<&Redrawn>,
    backends: &Backends,
    pools: &Dual<Pool>,
    identity: &Identity,
) -> Vec<Dual<BackendData>> {
    let accepted = backends.accepted();
    let mut all: Vec<_> = accepted
        .map(|backend| backend.announce(identity, pools))
        .collect();
    let former = redrawn.map(|redrawn| &redrawn.former);
    all.extend(former.map(|former| backends.own().announce(former, pools)));
    all
}

/// Draws other MACs, from the next session on. Says whether it did: not again so soon.
pub fn draw_again(common: &mut Common, former: &Identity) -> bool {
    let last = common.redrawn.as_ref();
    if last.is_some_and(|last| last.at.elapsed() < PAUSE) {
        return false;
    }
    let identity = Identity {
        vtep_mac: drawn(),
        vtep_mac_v6: drawn(),
    };
    saved::save_identity(&common.state, &identity);
    common.redrawn = Some(Redrawn {
        identity,
        former: *former,
        at: Instant::now(),
    });
    true
}

fn drawn() -> Mac {
    let [a, b, c, d, e, f, ..] = random::bits().to_le_bytes();
    Mac::local([a, b, c, d, e, f])
}
