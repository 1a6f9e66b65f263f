//! Another network configuration in the store.

use tweed_backend::Backends;
use tweed_model::{ClusterSnapshot, NetworkConfig};

use crate::daemon::session::Session;

/// A configuration in the store that is not used, and why.
#[derive(Debug, Default)]
pub(super) struct ChangedConfig(Option<(Option<String>, String)>);

impl ChangedConfig {
    /// The configuration as an entry that can't be read.
    pub(super) fn broken(&self) -> impl Iterator<Item = (String, String)> {
        let reason = self.0.iter().map(|(_, reason)| reason);
        reason.map(|reason| ("config".to_owned(), reason.clone()))
    }

    fn refuse(&mut self, found: Option<String>, reason: String) {
        tracing::error!(
            reason,
            "the changed network configuration is refused, going on with the old one"
        );
        self.0 = Some((found, reason));
    }

    /// Why a changed configuration ends the session; a broken one doesn't.
    pub(super) fn look(&mut self, session: &Session, snapshot: &ClusterSnapshot) -> Option<String> {
        let found = &snapshot.config;
        let known = self.0.as_ref().is_some_and(|(bad, _)| bad == found);
        if known || !snapshot.in_sync {
            return None;
        }
        self.0 = None;
        let Some(text) = found else {
            let reason = "it is gone from the store; put it back with: tweedd config set";
            self.refuse(None, reason.to_owned());
            return None;
        };
        if *text == session.config_text {
            return None;
        }
        let parsed = NetworkConfig::parse_for(session.cut_by, text).and_then(|(config, _)| {
            Backends::parse(&config).map(|(backends, _)| (config, backends))
        });
        match parsed {
            Ok((config, backends)) if config == session.config && backends == session.backends => {
                None
            }
            Ok(_) => Some("the network configuration changed".to_owned()),
            Err(error) => {
                self.refuse(Some(text.clone()), error.to_string());
                None
            }
        }
    }
}
