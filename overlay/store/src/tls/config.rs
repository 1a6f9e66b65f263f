//! From certificates and keys to a configuration for connections.

use std::sync::{Arc, OnceLock};

use rustls::ClientConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::sign::SingleCertAndKey;

use super::material::Material;
use super::verify::{Roots, Verifier};
use super::{identity, p521};

impl Material {
    /// A configuration for connections.
    ///
    /// # Errors
    /// What of it can't be used: file, reason, remedy.
    pub(crate) fn config(&self) -> Result<ClientConfig, String> {
        let provider = provider();
        let roots = match &self.ca {
            Some(pem) => Roots::read(pem)?,
            None => Roots::of_the_system()?,
        };
        let again = self.ca.as_ref().filter(|pem| pem.file.is_some()).cloned();
        let verifier = Verifier::new(roots, again, Arc::clone(&provider), self.insecure);
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        Ok(match &self.client {
            Some((certificate, key)) => {
                let identity = identity::read(certificate, key, &provider)?;
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity)))
            }
            None => builder.with_no_client_auth(),
        })
    }
}

/// ring's algorithms and those on P-521.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    let provider = PROVIDER.get_or_init(|| Arc::new(p521::beside(ring::default_provider())));
    Arc::clone(provider)
}
