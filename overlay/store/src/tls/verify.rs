//! Which server certificates are trusted: those that webpki verifies, and two kinds more that Go's programs take. One
//! stands itself in the CA file, as a self-signed certificate given as its own authority does. The other may sign
//! certificates although it is a server's, as `openssl req -x509 -CA` makes them, and an authority of ours has signed it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, DigitallySignedStruct, Error, ExtendedKeyPurpose, RootCertStore,
    SignatureScheme,
};

use super::certificate::Certificate;
use super::identity::no_certificate;
use super::material::{Pem, read};

/// A CA file is read again this long after the last time, for connections that are made from then on.
const READ_AGAIN: Duration = Duration::from_secs(60);

/// The authorities that are trusted.
#[derive(Debug)]
pub(super) struct Roots {
    store: RootCertStore,
    certificates: Vec<CertificateDer<'static>>,
}

impl Roots {
    pub(super) fn read(pem: &Pem) -> Result<Self, String> {
        let found = CertificateDer::pem_slice_iter(&pem.bytes).filter_map(Result::ok);
        let roots = Self::of(found);
        if roots.certificates.is_empty() {
            return Err(no_certificate(pem, None));
        }
        Ok(roots)
    }

    pub(super) fn of_the_system() -> Result<Self, String> {
        let found = rustls_native_certs::load_native_certs();
        let roots = Self::of(found.certs.into_iter());
        // Without any, the first handshake says which option names one.
        Ok(roots)
    }

    /// As in Go, one that can't be read is passed over.
    fn of(found: impl Iterator<Item = CertificateDer<'static>>) -> Self {
        let mut store = RootCertStore::empty();
        let certificates = found
            .filter(|certificate| store.add(certificate.clone()).is_ok())
            .collect();
        Self {
            store,
            certificates,
        }
    }
}

#[derive(Debug)]
pub(super) struct Verifier {
    roots: Mutex<(Arc<Roots>, Instant)>,
    /// The file that the roots are from.
    again: Option<Pem>,
    provider: Arc<CryptoProvider>,
    insecure: bool,
}

impl Verifier {
    pub(super) fn new(
        roots: Roots,
        again: Option<Pem>,
        provider: Arc<CryptoProvider>,
        insecure: bool,
    ) -> Self {
        Self {
            roots: Mutex::new((Arc::new(roots), Instant::now())),
            again,
            provider,
            insecure,
        }
    }

    fn roots(&self) -> Arc<Roots> {
        let mut roots = self.roots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pem) = &self.again
            && let Some(file) = &pem.file
            && roots.1.elapsed() >= READ_AGAIN
        {
            roots.1 = Instant::now();
            // A file that is being replaced costs nothing: what was read before is kept.
            let pem = read(file).map(|bytes| Pem {
                bytes,
                ..pem.clone()
            });
            if let Ok(Ok(fresh)) = pem.map(|pem| Roots::read(&pem)) {
                roots.0 = Arc::new(fresh);
            }
        }
        Arc::clone(&roots.0)
    }

    fn trusts(
        &self,
        presented: &CertificateDer<'_>,
        parsed: &ParsedCertificate<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let roots = self.roots();
        let known = self.provider.signature_verification_algorithms.all;
        let as_webpki = verify_server_cert_signed_by_trust_anchor(
            parsed,
            &roots.store,
            intermediates,
            now,
            known,
        );
        let Err(refused) = as_webpki else {
            return Ok(());
        };
        let certificate = Certificate::read(presented);
        let Some(certificate) =
            certificate.filter(|found| self.known(presented, found, &roots, now))
        else {
            return Err(refused);
        };
        valid_now(&certificate, now)?;
        if !certificate.for_servers() {
            return Err(CertificateError::InvalidPurposeContext {
                required: ExtendedKeyPurpose::ServerAuth,
                presented: Vec::new(),
            }
            .into());
        }
        Ok(())
    }

    fn handshake(
        &self,
        verify: impl FnOnce(&WebPkiSupportedAlgorithms) -> Result<HandshakeSignatureValid, Error>,
    ) -> Result<HandshakeSignatureValid, Error> {
        if self.insecure {
            return Ok(HandshakeSignatureValid::assertion());
        }
        verify(&self.provider.signature_verification_algorithms)
    }

    /// Whether Go would find the certificate among the authorities, or signed by one although it may sign others.
    fn known(
        &self,
        presented: &CertificateDer<'_>,
        certificate: &Certificate<'_>,
        roots: &Roots,
        now: UnixTime,
    ) -> bool {
        let mut signers = roots.certificates.iter();
        signers.any(|root| {
            root.as_ref() == presented.as_ref()
                || certificate.ca
                    && Certificate::read(root).is_some_and(|root| {
                        root.subject == certificate.issuer
                            && !root.constrained
                            && valid_now(&root, now).is_ok()
                            && self.signed(certificate, &root)
                    })
        })
    }

    fn signed(&self, certificate: &Certificate<'_>, by: &Certificate<'_>) -> bool {
        let Some((key_algorithm, key)) = by.key() else {
            return false;
        };
        let known = self.provider.signature_verification_algorithms.all;
        known
            .iter()
            .filter(|known| known.public_key_alg_id().as_ref() == key_algorithm)
            .filter(|known| known.signature_alg_id().as_ref() == certificate.algorithm)
            .any(|known| {
                known
                    .verify_signature(key, certificate.signed, certificate.signature)
                    .is_ok()
            })
    }
}

fn valid_now(certificate: &Certificate<'_>, now: UnixTime) -> Result<(), CertificateError> {
    let at = |seconds: i64| {
        let seconds = u64::try_from(seconds).unwrap_or(0);
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    };
    let (not_before, not_after) = (at(certificate.not_before), at(certificate.not_after));
    if now < not_before {
        return Err(CertificateError::NotValidYetContext {
            time: now,
            not_before,
        });
    }
    if now > not_after {
        return Err(CertificateError::ExpiredContext {
            time: now,
            not_after,
        });
    }
    Ok(())
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.insecure {
            return Ok(ServerCertVerified::assertion());
        }
        let parsed = ParsedCertificate::try_from(end_entity)?;
        self.trusts(end_entity, &parsed, intermediates, now)?;
        verify_server_name(&parsed, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.handshake(|known| verify_tls12_signature(message, cert, dss, known))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.handshake(|known| verify_tls13_signature(message, cert, dss, known))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let known = &self.provider.signature_verification_algorithms;
        known.supported_schemes()
    }
}
