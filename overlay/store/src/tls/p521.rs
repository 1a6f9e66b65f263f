//! ECDSA on the curve P-521, which ring leaves out: keys of clients, and certificates signed by or for such keys. Key
//! agreement needs no P-521: each server that has it has another curve too.

use std::sync::Arc;

use p521::SecretKey;
use p521::ecdsa::signature::Signer as _;
use p521::ecdsa::signature::hazmat::PrehashVerifier;
use p521::ecdsa::{Signature, SigningKey as Key, VerifyingKey};
use p521::pkcs8::DecodePrivateKey;
use rustls::crypto::{CryptoProvider, KeyProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{
    AlgorithmIdentifier, InvalidSignature, PrivateKeyDer, SignatureVerificationAlgorithm,
    SubjectPublicKeyInfoDer, alg_id,
};
use rustls::sign::{Signer, SigningKey, public_key_to_spki};
use rustls::{Error, SignatureAlgorithm, SignatureScheme};
use sha2::{Digest, Sha256, Sha384, Sha512};

/// Bytes of a number of the field.
const FIELD: usize = 66;

static VERIFY: [&dyn SignatureVerificationAlgorithm; 3] = [
    &Verify(Hash::Sha512),
    &Verify(Hash::Sha384),
    &Verify(Hash::Sha256),
];

/// The provider with P-521 beside what it can do.
pub(super) fn beside(mut provider: CryptoProvider) -> CryptoProvider {
    let known = provider.signature_verification_algorithms;
    let all: Vec<_> = known.all.iter().copied().chain(VERIFY).collect();
    let mut mapping = known.mapping.to_vec();
    // In TLS 1.3 the first is the scheme's; in TLS 1.2 the scheme names a hash and no curve.
    mapping.push((SignatureScheme::ECDSA_NISTP521_SHA512, &VERIFY));
    provider.signature_verification_algorithms = WebPkiSupportedAlgorithms {
        // Made once a process.
        all: Box::leak(all.into_boxed_slice()),
        mapping: Box::leak(mapping.into_boxed_slice()),
    };
    provider.key_provider = Box::leak(Box::new(Keys(provider.key_provider)));
    provider
}

#[derive(Debug)]
struct Keys(&'static dyn KeyProvider);

impl KeyProvider for Keys {
    fn load_private_key(&self, der: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, Error> {
        let ours = match &der {
            PrivateKeyDer::Pkcs8(der) => SecretKey::from_pkcs8_der(der.secret_pkcs8_der()).ok(),
            PrivateKeyDer::Sec1(der) => SecretKey::from_sec1_der(der.secret_sec1_der()).ok(),
            _ => None,
        };
        match ours {
            Some(key) => {
                let key = Key::from_bytes(&key.to_bytes());
                let key = key.map_err(|_| Error::General("the P-521 key is no number".into()))?;
                Ok(Arc::new(ClientKey(key)))
            }
            None => self.0.load_private_key(der),
        }
    }
}

#[derive(Clone)]
struct ClientKey(Key);

impl std::fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a P-521 key")
    }
}

impl SigningKey for ClientKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let offered = offered.contains(&SignatureScheme::ECDSA_NISTP521_SHA512);
        offered.then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        let point = VerifyingKey::from(&self.0).to_encoded_point(false);
        Some(public_key_to_spki(&alg_id::ECDSA_P521, point.as_bytes()))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for ClientKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let signature: Signature = self
            .0
            .try_sign(message)
            .map_err(|_| Error::General("signing with the P-521 key failed".into()))?;
        Ok(signature.to_der().as_bytes().to_vec())
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ECDSA_NISTP521_SHA512
    }
}

#[derive(Clone, Copy, Debug)]
enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    fn of(self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => Sha256::digest(message).to_vec(),
            Self::Sha384 => Sha384::digest(message).to_vec(),
            Self::Sha512 => Sha512::digest(message).to_vec(),
        }
    }
}

#[derive(Debug)]
struct Verify(Hash);

impl SignatureVerificationAlgorithm for Verify {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let key = VerifyingKey::from_sec1_bytes(public_key).map_err(|_| InvalidSignature)?;
        let signature = Signature::from_der(signature).map_err(|_| InvalidSignature)?;
        // A hash is shorter than the field, and the library takes none that is much shorter: zeros change no number.
        let hash = self.0.of(message);
        let mut number = [0; FIELD];
        number[FIELD - hash.len()..].copy_from_slice(&hash);
        let verified = key.verify_prehash(&number, &signature);
        verified.map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_P521
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        match self.0 {
            Hash::Sha256 => alg_id::ECDSA_SHA256,
            Hash::Sha384 => alg_id::ECDSA_SHA384,
            Hash::Sha512 => alg_id::ECDSA_SHA512,
        }
    }
}
