//! The port of the bridge that the host's end of the pair is.

use std::thread;
use std::time::{Duration, Instant};

use tweed_attach::Owner;
use tweed_host::pauses::Pauses;
use tweed_netlink::{Dev, LinkChange, LinkInfo, Netlink, OperState};

use super::config::BridgeConfig;
use super::vlan;
use crate::spec::{CniError, Context};

/// How long a port may take until frames pass. It takes none at all; a machine under load may need some.
const PORT_DEADLINE: Duration = Duration::from_secs(2);

/// Names the owner on the host's end, and sets the flags and VLANs of the port.
pub(super) fn configure(
    netlink: &mut Netlink,
    port: Dev<'_>,
    owner: &Owner,
    bridge: &LinkInfo,
    config: &BridgeConfig,
) -> Result<(), CniError> {
    let alias = owner.to_string();
    let change = LinkChange {
        alias: Some(&alias),
        hairpin: config.hairpin.then_some(true),
        isolated: config.isolated.then_some(true),
        ..LinkChange::default()
    };
    netlink.set_link(port, &change)?;
    match &config.vlans {
        Some(vlans) => vlan::set(netlink, port, bridge, vlans)
            .context(|| format!("failed to set up VLANs of {}", port.name)),
        None => Ok(()),
    }
}

/// Waits until frames pass. The kernel reports carrier changes within the call that makes them, so that the first look
/// mostly suffices.
///
/// # Errors
/// When they don't in time.
pub(super) fn wait_until_up(netlink: &mut Netlink, name: &str) -> Result<(), CniError> {
    let since = Instant::now();
    let mut pauses = Pauses::new(Duration::from_millis(1), Duration::from_millis(50));
    loop {
        let port = netlink.link(name)?;
        let state = port.as_ref().map(|port| port.operstate);
        if state == Some(OperState::Up) {
            return Ok(());
        }
        if state.is_none() || since.elapsed() > PORT_DEADLINE {
            let state = state.map_or("gone".to_owned(), |state| {
                format!("{state:?}").to_lowercase()
            });
            let msg = format!("bridge port in error state: {state}");
            return Err(CniError::failed(msg).details(format!("{name}: is the bridge up?")));
        }
        thread::sleep(pauses.next_pause());
    }
}
