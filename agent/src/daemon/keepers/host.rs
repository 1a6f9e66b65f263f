//! The host's addresses and networks beside the overlay's, which change while a session lasts.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use tweed_model::{Dual, Host, OnLink, host};
use tweed_netlink::AddrInfo;
use tweed_nft::POD_BRIDGE;

use super::{Keeper, News, next_look};
use crate::daemon::facts::Facts;
use crate::daemon::readings::{Reader, Reading};
use crate::events::sentences;
use crate::host::facts::{self, HostFacts};
use crate::host::uplink::Overlay;

/// How often the host's addresses are read without an event: one may be lost.
const LOOK: Duration = Duration::from_secs(15);

/// Reads the addresses now and then, and where they have changed all that goes with them.
pub struct HostKeeper {
    overlay: Overlay,
    /// Addresses of the store's servers.
    servers: BTreeSet<IpAddr>,
    /// The host's addresses when all was read last.
    addresses: Arc<Vec<AddrInfo>>,
    reading: Reading<Option<Found>>,
    due: Instant,
    host: Host,
    /// This node's own subnets.
    own: Dual<IpNet>,
}

/// The addresses, and the facts that go with them.
type Found = (Vec<AddrInfo>, HostFacts);

impl HostKeeper {
    /// Begins with the facts of the host that are known.
    pub fn new(
        overlay: Overlay,
        servers: BTreeSet<IpAddr>,
        (host, own): (Host, Dual<IpNet>),
        reader: Reader,
        now: Instant,
    ) -> Self {
        Self {
            overlay,
            servers,
            addresses: Arc::default(),
            reading: Reading::new(reader),
            due: next_look(now, LOOK),
            host,
            own,
        }
    }

    /// The host as it is now.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Takes what is known of the store's servers and of the host by now.
    pub fn update(&mut self, servers: BTreeSet<IpAddr>, host: Host) {
        self.servers = servers;
        self.host = host;
    }

    /// Reads the addresses next, and where they have changed all of it.
    pub fn look_soon(&mut self, now: Instant) {
        self.due = now;
    }

    /// Reads all of it, whatever is due.
    pub fn look_now(&mut self) {
        let (overlay, servers) = (self.overlay.clone(), self.servers.clone());
        self.reading
            .ask_anew(move || read(&overlay, &servers, None));
    }

    fn take(&mut self, (addresses, mut found): Found, facts: &mut Facts) -> Option<News> {
        self.addresses = Arc::new(addresses);
        found.missing.extend(self.shared(&found.host));
        tell(&found, facts);
        if self.host == found.host {
            return None;
        }
        self.host = found.host;
        Some(News::Host)
    }

    /// What a link of the host has of this node's own subnets.
    fn shared(&self, host: &Host) -> Vec<String> {
        let told = self.own.iter().filter_map(|(family, own)| {
            let network = self.overlay.networks.get(family)?;
            let OnLink { net, dev } = host::shared(network, host, own, POD_BRIDGE)?;
            Some(format!(
                "this node's subnet {own} and the network {net} of {dev} overlap: pods or {dev} can't be reached; give \
                 {dev} another network"
            ))
        });
        told.collect()
    }
}

impl Keeper for HostKeeper {
    fn look(&mut self, facts: &mut Facts, now: Instant) -> Option<News> {
        let found = self.reading.take().flatten();
        let news = found.and_then(|found| self.take(found, facts));
        // One that is under way may be too early.
        if now >= self.due && !self.reading.is_asked() {
            self.due = next_look(now, LOOK);
            let (overlay, servers) = (self.overlay.clone(), self.servers.clone());
            let known = Arc::clone(&self.addresses);
            let read = move || read(&overlay, &servers, Some(&known));
            self.reading.ask(read);
        }
        news
    }

    fn due(&self) -> Option<Instant> {
        (!self.reading.is_asked()).then_some(self.due)
    }
}

/// Reads all of it, unless the addresses are those that are known. What can't be read now is read next time.
fn read(
    overlay: &Overlay,
    servers: &BTreeSet<IpAddr>,
    known: Option<&Vec<AddrInfo>>,
) -> Option<Found> {
    let addresses = facts::addresses().ok()?;
    if known == Some(&addresses) {
        return None;
    }
    Some((addresses, facts::read(overlay, servers).ok()?))
}

/// Logs what is wrong with the host's own network, once.
pub fn tell(found: &HostFacts, facts: &mut Facts) {
    let news = facts.host != found.missing;
    for reason in found.missing.iter().filter(|_| news) {
        facts.events.tell(sentences::hindrance("host", reason));
    }
    facts.host.clone_from(&found.missing);
}
