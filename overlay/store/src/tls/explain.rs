//! What went wrong between TLS and a server, in words: which file or option is at fault, why, and what to do.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{AlertDescription, CertificateError, InvalidMessage};

use super::certificate::{Certificate, date};
use super::material::Material;

/// How a server says that it does not take the client's certificate.
const REFUSALS: [AlertDescription; 9] = [
    AlertDescription::BadCertificate,
    AlertDescription::UnsupportedCertificate,
    AlertDescription::CertificateRevoked,
    AlertDescription::CertificateExpired,
    AlertDescription::CertificateUnknown,
    AlertDescription::UnknownCA,
    AlertDescription::AccessDenied,
    AlertDescription::DecryptError,
    AlertDescription::CertificateRequired,
];

/// How the operator calls what TLS uses.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    /// The option for the authorities: `--etcd-cafile`.
    pub ca: &'static str,
    /// Those for the client's certificate and key.
    pub client: &'static str,
    /// What names the server.
    pub server: &'static str,
    /// Where the authorities stand; the system's list where absent.
    signers: Option<String>,
    /// What is remarkable about the client's certificate.
    remark: Option<String>,
    /// Whether there is a client's certificate.
    certified: bool,
}

impl Names {
    pub(crate) fn new([ca, client, server]: [&'static str; 3], material: &Material) -> Self {
        let certificate = material.client.as_ref().map(|(certificate, _)| certificate);
        Self {
            ca,
            client,
            server,
            signers: material.ca.as_ref().map(|pem| pem.what.clone()),
            remark: certificate.and_then(|pem| {
                let der = CertificateDer::from_pem_slice(&pem.bytes).ok()?;
                Some(format!(
                    "{} {}",
                    pem.what,
                    remark(&Certificate::read(&der)?)?
                ))
            }),
            certified: certificate.is_some(),
        }
    }

    /// What to say about an error of TLS; `None` if nobody can be told what to do.
    pub(crate) fn words(&self, error: &rustls::Error) -> Option<String> {
        match error {
            rustls::Error::InvalidCertificate(wrong) => Some(self.of_the_server(wrong)),
            rustls::Error::AlertReceived(alert) => self.of_the_client(*alert),
            rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => Some(format!(
                "it doesn't speak TLS: is it http:// instead of https:// ({})?",
                self.server
            )),
            _ => None,
        }
    }

    fn of_the_server(&self, wrong: &CertificateError) -> String {
        let (ca, server) = (self.ca, self.server);
        let signers = self.signers.as_deref().unwrap_or("the system's");
        match wrong {
            CertificateError::UnknownIssuer => format!(
                "its certificate is signed by none of the authorities we trust ({signers}): check {ca}"
            ),
            CertificateError::BadSignature => format!(
                "its certificate is not signed by the authority of that name that we trust ({signers}): was the \
                 authority made anew? check {ca}"
            ),
            CertificateError::NotValidForName => {
                format!("its certificate is for another name: check {server}")
            }
            CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => {
                format!(
                    "its certificate names no server (subjectAltName; a common name alone counts no more): have one made \
                     with the name or address in {server}"
                )
            }
            CertificateError::NotValidForNameContext { presented, .. } => format!(
                "its certificate is for another name ({}): check {server}",
                presented.join(", ")
            ),
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => {
                "its certificate is not valid at this time: renew it, or set this host's clock".to_owned()
            }
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                "its certificate is not for servers: have one made with the extended key usage serverAuth"
                    .to_owned()
            }
            CertificateError::UnsupportedSignatureAlgorithmContext { .. }
            | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
                "its certificate is signed in a way that counts no more (SHA-1, or RSA with less than 2048 bits): have it \
                 made anew"
                    .to_owned()
            }
            _ => format!("its certificate can't be verified: check {ca}"),
        }
    }

    fn of_the_client(&self, alert: AlertDescription) -> Option<String> {
        let client = self.client;
        if !REFUSALS.contains(&alert) {
            return None;
        }
        Some(match (&self.remark, self.certified) {
            (Some(remark), _) => format!("it refused our client certificate: {remark}"),
            (None, false) => format!("it wants a client certificate: check {client}"),
            (None, true) if alert == AlertDescription::CertificateExpired => format!(
                "it says that our client certificate has expired: renew it, or set its host's clock ({client})"
            ),
            (None, true) => format!(
                "it refused our client certificate: is it signed by an authority that it trusts? check {client}"
            ),
        })
    }

    /// What to say about an error of which only the text is left: HTTP/2 keeps no more of it.
    pub(crate) fn of_text(&self, text: &str) -> Option<String> {
        let (_, alert) = text.split_once("received fatal alert: ")?;
        let same = |known: &&AlertDescription| alert.starts_with(&format!("{known:?}"));
        self.of_the_client(*REFUSALS.iter().find(same)?)
    }

    /// A server may close the connection before its reason has been read.
    pub(crate) fn suspicion(&self) -> String {
        match (&self.remark, self.certified) {
            (Some(remark), _) => format!("it may have refused our client certificate: {remark}"),
            (None, true) => format!(
                "if it listens, it may have refused our client certificate: check {}",
                self.client
            ),
            (None, false) => format!(
                "if it wants a client certificate, set {}; if it doesn't speak TLS, say http:// instead of https://",
                self.client
            ),
        }
    }
}

/// Why a server would refuse a client with this certificate.
fn remark(certificate: &Certificate<'_>) -> Option<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    let now = i64::try_from(now.as_secs()).ok()?;
    if now > certificate.not_after {
        let when = date(certificate.not_after);
        return Some(format!("has expired on {when}: renew it"));
    }
    if now < certificate.not_before {
        let when = date(certificate.not_before);
        return Some(format!(
            "is valid from {when} on: is this host's clock right?"
        ));
    }
    (!certificate.for_clients()).then(|| {
        "is not for clients: have one made with the extended key usage clientAuth".to_owned()
    })
}

/// An error of TLS with its words, in the place of the library's.
#[derive(Debug)]
pub(crate) struct Fault {
    pub words: String,
    cause: rustls::Error,
}

impl Fault {
    pub(crate) fn of(error: &(dyn Error + 'static), names: &Names) -> Option<Self> {
        let cause = of_tls(error)?.clone();
        let words = names.words(&cause)?;
        Some(Self { words, cause })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.words, self.cause)
    }
}

impl Error for Fault {}

/// The fault among an error's causes.
pub(crate) fn fault<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Fault> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<Fault>() {
            return Some(found);
        }
        next = inner(error).or_else(|| error.source());
    }
    None
}

/// What TLS itself says, among an error's causes.
fn of_tls<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        next = inner(error).or_else(|| error.source());
    }
    None
}

/// An error of input and output tells the cause of what it wraps as its own.
fn inner<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    let wrapped = error.downcast_ref::<io::Error>()?.get_ref()?;
    Some(wrapped as &(dyn Error + 'static))
}
