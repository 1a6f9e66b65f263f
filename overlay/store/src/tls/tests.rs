use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error};

use super::*;

fn names(ca: Option<&str>) -> Names {
    let pem = ca.map(|what| Pem {
        what: what.to_owned(),
        file: None,
        bytes: Vec::new(),
    });
    let material = Material {
        ca: pem,
        ..Material::default()
    };
    Names::new(["--ca", "--cert and --key", "--endpoints"], &material)
}

#[test]
fn each_fault_is_said_with_the_option_that_mends_it() {
    let names = names(Some("--ca /etc/ca.pem"));
    let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(9));
    for (error, parts) in [
        (
            CertificateError::UnknownIssuer,
            ["--ca /etc/ca.pem", "check --ca"],
        ),
        (CertificateError::BadSignature, ["made anew", "check --ca"]),
        (
            CertificateError::ExpiredContext {
                time,
                not_after: time,
            },
            ["not valid at this time", "clock"],
        ),
        (
            CertificateError::InvalidPurpose,
            ["not for servers", "serverAuth"],
        ),
        (
            CertificateError::NotValidForNameContext {
                expected: "a".try_into().unwrap(),
                presented: vec!["DnsName(\"b\")".to_owned()],
            },
            ["another name", "--endpoints"],
        ),
    ] {
        let words = names.words(&Error::InvalidCertificate(error)).unwrap();
        assert!(parts.iter().all(|part| words.contains(part)), "{words}");
    }
    let alert = AlertDescription::CertificateRequired;
    let words = names.words(&Error::AlertReceived(alert)).unwrap();
    assert!(words.contains("--cert and --key"), "{words}");
    let text = "connection error: received fatal alert: BadCertificate: closed";
    assert!(names.of_text(text).unwrap().contains("--cert and --key"));
    assert_eq!(names.of_text("received fatal alert: InternalError"), None);
}

#[test]
fn without_a_ca_file_the_systems_list_is_named() {
    let error = Error::InvalidCertificate(CertificateError::UnknownIssuer);
    let words = names(None).words(&error).unwrap();
    assert!(words.contains("the system's"), "{words}");
}

#[test]
fn a_file_that_is_no_certificate_is_named_before_anything_is_sent() {
    let pem = |bytes: &[u8]| Pem {
        what: "--ca /etc/ca.pem".to_owned(),
        file: None,
        bytes: bytes.to_vec(),
    };
    for (bytes, words) in [
        (&b""[..], "it is empty"),
        (b"\x30\x82\x01\x0a", "it is DER"),
        (b"hello", "in PEM"),
        (
            b"-----BEGIN PRIVATE KEY-----\n",
            "a private key and no certificate",
        ),
    ] {
        let material = Material {
            ca: Some(pem(bytes)),
            ..Material::default()
        };
        let error = material.config().unwrap_err();
        assert!(
            error.contains(words) && error.contains("/etc/ca.pem"),
            "{error}"
        );
    }
}
