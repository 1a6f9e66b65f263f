//! TLS towards the stores, as Go's programs take it: what etcdctl and kubectl can use works here, and what can't be used
//! is refused with the file, the reason and the remedy.
//!
//! Beside what rustls does by itself: a server certificate that stands in the CA file is trusted, client certificates of
//! X.509 version 1 are sent, and ECDSA keys on P-521 are used.

mod certificate;
mod connector;
mod explain;
mod identity;
mod p521;
mod verify;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::ClientConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::sign::SingleCertAndKey;

pub(super) use self::connector::connector;
pub(super) use self::explain::{Fault, Names, fault};

use tweed_host::bounded_file::{self, Links, MIB};

use self::verify::{Roots, Verifier};

/// The largest file with certificates or keys. The system's whole list has a fifth of it.
const LARGEST: usize = MIB;

/// Certificates and keys in PEM, and what to call the place where they stand.
#[derive(Clone, Debug)]
pub(super) struct Pem {
    /// Such as `--etcd-certfile /etc/tweed/client.pem`.
    pub(super) what: String,
    /// The file, where it is one.
    pub(super) file: Option<PathBuf>,
    pub(super) bytes: Vec<u8>,
}

impl Pem {
    /// Reads a file that an option names.
    pub(super) fn read(option: &str, file: &Path) -> Result<Self, String> {
        let what = format!("{option} {}", file.display());
        match read(file) {
            Ok(bytes) => Ok(Self {
                what,
                file: Some(file.to_owned()),
                bytes,
            }),
            Err(error) => Err(format!("read {what}: {error}")),
        }
    }
}

fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    bounded_file::read(file, Links::Followed, LARGEST)
}

/// What is needed to reach servers by TLS.
#[derive(Clone, Debug, Default)]
pub(super) struct Material {
    /// Who signs the servers' certificates; the system's list where absent.
    pub(super) ca: Option<Pem>,
    /// Certificate and key of the client.
    pub(super) client: Option<(Pem, Pem)>,
    /// Take any certificate of the server.
    pub(super) insecure: bool,
}

impl Material {
    /// A configuration for connections.
    ///
    /// # Errors
    /// What of it can't be used: file, reason, remedy.
    pub(super) fn config(&self) -> Result<ClientConfig, String> {
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

#[cfg(test)]
mod tests;
