//! Another network configuration in the store.

use tweed_backend::Backends;
use tweed_model::{ClusterSnapshot, NetworkConfig};

use super::Running;

impl Running<'_> {
    /// Why a changed configuration ends the session; a broken one doesn't.
    pub(in crate::daemon::session) fn changed_config(
        &mut self,
        snapshot: &ClusterSnapshot,
    ) -> Option<String> {
        let found = &snapshot.config;
        let known = self
            .bad_config
            .as_ref()
            .is_some_and(|(bad, _)| bad == found);
        if known || !snapshot.in_sync {
            return None;
        }
        self.bad_config = None;
        let Some(text) = found else {
            let reason = "it is gone from the store; put it back with: tweedd config set";
            self.refuse_config(None, reason.to_owned());
            return None;
        };
        if *text == self.session.config_text {
            return None;
        }
        let subnets = self.session.cut_by;
        let parsed = NetworkConfig::parse_for(subnets, text).and_then(|(config, _)| {
            Backends::parse(&config).map(|(backends, _)| (config, backends))
        });
        match parsed {
            Ok((config, backends))
                if config == self.session.config && backends == self.session.backends =>
            {
                None
            }
            Ok(_) => Some("the network configuration changed".to_owned()),
            Err(error) => {
                self.refuse_config(Some(text.clone()), error.to_string());
                None
            }
        }
    }

    fn refuse_config(&mut self, found: Option<String>, reason: String) {
        tracing::error!(
            reason,
            "the changed network configuration is refused, going on with the old one"
        );
        self.bad_config = Some((found, reason));
    }
}
