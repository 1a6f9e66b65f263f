//! The client's certificate and key: read, checked against each other, and what is wrong with them said in words. Of which
//! version the certificate is does not matter: it is for the server to judge.

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::certificate::Certificate;
use super::material::Pem;

/// Reads a certificate with those that signed it, and its key.
pub(super) fn read(
    certificate: &Pem,
    key: &Pem,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, String> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&certificate.bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("{} can't be read: {error}", certificate.what))?;
    if chain.is_empty() {
        return Err(no_certificate(certificate, Some(key)));
    }
    let der = private_key(key, certificate)?;
    let signing = provider.key_provider.load_private_key(der);
    let signing = signing.map_err(|error| {
        format!(
            "the key in {} can't be used ({error}): RSA with 2048 to 4096 bits, ECDSA on P-256, P-384 or P-521, and \
             Ed25519 can",
            key.what
        )
    })?;
    if let Some(public) = signing.public_key() {
        let fits = |der: &CertificateDer<'_>| {
            Certificate::read(der).map(|found| found.spki == public.as_ref())
        };
        match fits(&chain[0]) {
            Some(true) => {}
            None => {
                return Err(format!(
                    "{} holds no certificate of X.509",
                    certificate.what
                ));
            }
            Some(false) => {
                let other = chain.iter().position(|der| fits(der) == Some(true));
                return Err(mismatch(certificate, key, other));
            }
        }
    }
    Ok(CertifiedKey::new(chain, signing))
}

fn mismatch(certificate: &Pem, key: &Pem, other: Option<usize>) -> String {
    match other {
        Some(at) => format!(
            "the key in {} belongs to certificate {} in {}: that one must come first there",
            key.what,
            at + 1,
            certificate.what
        ),
        None => format!(
            "the key in {} is not that of the certificate in {}: give the two that belong together (`openssl x509 \
             -noout -pubkey` of the one and `openssl pkey -pubout` of the other print the same)",
            key.what, certificate.what
        ),
    }
}

fn private_key(key: &Pem, certificate: &Pem) -> Result<PrivateKeyDer<'static>, String> {
    let text = String::from_utf8_lossy(&key.bytes);
    if text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(format!(
            "the key in {} is encrypted, and nobody is there to be asked for its password: decrypt it with `openssl \
             pkey -in KEY -out PLAIN` and give the result, readable by root alone",
            key.what
        ));
    }
    PrivateKeyDer::from_pem_slice(&key.bytes).map_err(|_| {
        if has_certificate(key) && has_key(certificate) {
            return swapped(certificate, key);
        }
        if has_certificate(key) {
            return format!(
                "{} holds a certificate and no key: give the file with its key",
                key.what
            );
        }
        format!("{} holds no private key{}", key.what, form(key))
    })
}

/// Why there is no certificate in a file. `other` is the file with the key, for a client's.
pub(super) fn no_certificate(pem: &Pem, other: Option<&Pem>) -> String {
    if let Some(other) = other.filter(|other| has_key(pem) && has_certificate(other)) {
        return swapped(pem, other);
    }
    if has_key(pem) {
        return format!(
            "{} holds a private key and no certificate: give the file with the certificate",
            pem.what
        );
    }
    format!("{} holds no certificate{}", pem.what, form(pem))
}

fn swapped(certificate: &Pem, key: &Pem) -> String {
    format!(
        "{} holds a key, and {} a certificate: the two are swapped",
        certificate.what, key.what
    )
}

/// What form it has instead of PEM.
fn form(pem: &Pem) -> &'static str {
    match pem.bytes.as_slice() {
        [] => ": it is empty",
        [0x30, second, ..] if *second >= 0x80 => {
            ": it is DER, and must be PEM (`openssl x509 -inform der`, `openssl pkey -inform der`)"
        }
        [0x50, 0x4b, ..] => ": it is a ZIP archive",
        _ => " in PEM (-----BEGIN …-----)",
    }
}

fn has_key(pem: &Pem) -> bool {
    String::from_utf8_lossy(&pem.bytes).contains("PRIVATE KEY-----")
}

fn has_certificate(pem: &Pem) -> bool {
    String::from_utf8_lossy(&pem.bytes).contains("-----BEGIN CERTIFICATE-----")
}
