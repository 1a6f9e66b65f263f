//! Another node that has our VTEP's MAC first: while our lease was gone it could be anybody's.

use super::Running;
use crate::daemon::bootstrap::identity::draw_again;
use crate::daemon::shared::Daemon;

impl Running<'_> {
    /// Why what others announce ends the session: they refuse our lease for a MAC that another one had first.
    pub(in crate::daemon::session) fn lost_mac(&self, daemon: &mut Daemon) -> Option<String> {
        if !self.snapshot.in_sync {
            return None;
        }
        let (family, first) = daemon.seniority.ahead_of(&self.session.lease.key)?;
        let identity = &self.session.node.identity;
        draw_again(daemon, identity).then(|| {
            let mac = identity.mac(family);
            format!(
                "the lease {first} had our VtepMAC {mac} first, as it may while ours was gone; drawing another one"
            )
        })
    }
}
