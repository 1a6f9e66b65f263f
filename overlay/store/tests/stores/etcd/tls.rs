//! What etcdctl and kubectl take works, and what can't work is refused with file, reason and remedy. The server is etcd,
//! which is Go; for a kubeconfig it stands in for an API server: that it answers "not found" shows that TLS was fine.

use tweed_store::LeaseStore;
use tweed_store::etcd::{Etcd, EtcdOptions};

use super::pki::*;
use super::server::Server;

#[tokio::test]
async fn a_self_signed_server_certificate_is_its_own_authority() {
    for flag in ["TRUE", "FALSE"] {
        let pki = Pki::empty();
        pki.openssl(&format!(
            "req -x509 {P256} -keyout server.key -out server.pem -days 2 -subj /CN=s {NAMED} -addext basicConstraints=CA:{flag}"
        ));
        let server = pki.server(false).await;
        assert_eq!(
            pki.reach(&server, "server.pem", None).await,
            both("works"),
            "CA:{flag}"
        );
    }
}

#[tokio::test]
async fn a_server_certificate_in_the_ca_file_needs_no_authority_and_one_that_may_sign_others_is_taken()
 {
    let pki = Pki::usual();
    let server = pki.server(false).await;
    assert_eq!(pki.reach(&server, "server.pem", None).await, both("works"));
    drop(server);
    pki.signed(
        "server",
        P256,
        "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:TRUE\n",
        2,
    );
    let server = pki.server(false).await;
    assert_eq!(pki.reach(&server, "ca.pem", None).await, both("works"));
    // The same, signed by another authority of the same name, is not.
    let other = Pki::new(P256);
    std::fs::copy(other.path("ca.pem"), pki.path("other.pem")).unwrap();
    for error in pki.reach(&server, "other.pem", None).await {
        assert!(error.contains("certificate"), "{error}");
    }
}

#[tokio::test]
async fn a_self_signed_certificate_must_fit_name_and_time_all_the_same() {
    for (days, name, words) in [
        (2, "127.0.0.9", "another name"),
        (-1, "127.0.0.1", "not valid at this time"),
    ] {
        let pki = Pki::empty();
        let extensions = format!("subjectAltName=IP:{name}\nbasicConstraints=CA:TRUE\n");
        std::fs::write(pki.path("ext"), extensions).unwrap();
        pki.openssl(&format!(
            "req -new {P256} -keyout server.key -out server.csr -subj /CN=s"
        ));
        pki.openssl(&format!(
            "x509 -req -in server.csr -signkey server.key -days {days} -extfile ext -out server.pem"
        ));
        let server = pki.server(false).await;
        for error in pki.reach(&server, "server.pem", None).await {
            assert!(error.contains(words), "{error}");
        }
    }
}

#[tokio::test]
async fn a_client_certificate_of_version_1_is_sent() {
    let pki = Pki::usual();
    pki.signed("client", P256, "", 2);
    let server = pki.server(true).await;
    let client = Some(("client.pem", "client.key"));
    assert_eq!(pki.reach(&server, "ca.pem", client).await, both("works"));
}

#[tokio::test]
async fn keys_on_p521_work_for_authority_server_and_client_in_each_form() {
    let pki = Pki::new(P521);
    pki.signed("server", P521, "subjectAltName=IP:127.0.0.1\n", 2);
    pki.signed("client", P521, "", 2);
    // As `openssl ecparam -genkey` writes it: parameters before the key.
    pki.openssl("ecparam -name secp521r1 -out parameters.pem");
    pki.openssl("ec -in client.key -out sec1.pem");
    let parts = ["parameters.pem", "sec1.pem"].map(|name| std::fs::read(pki.path(name)).unwrap());
    std::fs::write(pki.path("old.key"), parts.concat()).unwrap();
    let server = pki.server(true).await;
    for key in ["client.key", "old.key"] {
        let client = Some(("client.pem", key));
        assert_eq!(
            pki.reach(&server, "ca.pem", client).await,
            both("works"),
            "{key}"
        );
    }
}

#[tokio::test]
async fn certificate_and_key_in_one_file_and_a_ca_file_with_more_in_it_work() {
    let pki = Pki::usual();
    let parts = ["client.key", "client.pem"].map(|name| std::fs::read(pki.path(name)).unwrap());
    std::fs::write(pki.path("both.pem"), parts.concat()).unwrap();
    let other = Pki::new(P256);
    let more = [
        other.path("ca.pem"),
        pki.path("client.key"),
        pki.path("ca.pem"),
    ];
    let more = more.map(|file| std::fs::read(file).unwrap()).concat();
    std::fs::write(pki.path("more.pem"), more).unwrap();
    let server = pki.server(true).await;
    let client = Some(("both.pem", "both.pem"));
    assert_eq!(pki.reach(&server, "more.pem", client).await, both("works"));
}

#[tokio::test]
async fn a_wrong_file_is_named_with_reason_and_remedy() {
    let pki = Pki::usual();
    pki.signed("other", P256, "extendedKeyUsage=clientAuth\n", 2);
    pki.openssl("pkey -in client.key -aes256 -passout pass:secret -out encrypted.key");
    pki.openssl("ec -in client.key -aes256 -passout pass:secret -out encrypted-old.key");
    pki.openssl("x509 -in client.pem -outform der -out client.der");
    pki.openssl("genrsa -out small.key 1024");
    std::fs::write(pki.path("empty.pem"), "").unwrap();
    let server = pki.server(true).await;
    for (ca, certificate, key, words) in [
        ("ca.pem", "client.key", "client.pem", "the two are swapped"),
        (
            "ca.pem",
            "client.pem",
            "other.key",
            "is not that of the certificate in",
        ),
        ("ca.pem", "client.pem", "encrypted.key", "is encrypted"),
        ("ca.pem", "client.pem", "encrypted-old.key", "is encrypted"),
        (
            "ca.pem",
            "client.der",
            "client.key",
            "it is DER, and must be PEM",
        ),
        (
            "ca.pem",
            "client.pem",
            "client.pem",
            "holds a certificate and no key",
        ),
        (
            "ca.pem",
            "client.key",
            "client.key",
            "holds a private key and no certificate",
        ),
        (
            "ca.pem",
            "client.pem",
            "empty.pem",
            "holds no private key: it is empty",
        ),
        ("ca.pem", "client.pem", "small.key", "can't be used"),
        ("ca.pem", "client.pem", "missing.key", "No such file"),
        (
            "ca.key",
            "client.pem",
            "client.key",
            "holds a private key and no certificate",
        ),
        (
            "empty.pem",
            "client.pem",
            "client.key",
            "holds no certificate: it is empty",
        ),
    ] {
        let found = pki.reach(&server, ca, Some((certificate, key))).await;
        let at_fault = if ca == "ca.pem" {
            [certificate, key]
        } else {
            [ca, ca]
        };
        for (error, option) in found.iter().zip(["--etcd-", "kubeconfig"]) {
            assert!(
                error.contains(words) && error.contains(option),
                "{words}: {error}"
            );
            assert!(at_fault.iter().any(|file| error.contains(file)), "{error}");
        }
    }
}

#[tokio::test]
async fn certificates_that_the_other_side_refuses_are_explained() {
    let pki = Pki::usual();
    let other = Pki::new(P256);
    std::fs::copy(other.path("ca.pem"), pki.path("other.pem")).unwrap();
    pki.signed("old", P256, "extendedKeyUsage=clientAuth\n", -1);
    pki.signed("server-only", P256, "extendedKeyUsage=serverAuth\n", 2);
    let server = pki.server(true).await;
    for (ca, client, words) in [
        (
            "other.pem",
            Some(("client.pem", "client.key")),
            "certificate",
        ),
        ("ca.pem", Some(("old.pem", "old.key")), "has expired on"),
        (
            "ca.pem",
            Some(("server-only.pem", "server-only.key")),
            "is not for clients",
        ),
        ("ca.pem", None, "--etcd-certfile"),
    ] {
        let error = pki.by_etcd(&server, ca, client).await;
        assert!(
            error.contains(words) && error.contains(&server.url()),
            "{error}"
        );
    }
    let error = pki.by_kubeconfig(&server, "other.pem", None).await;
    assert!(error.contains("certificate-authority"), "{error}");
}

#[tokio::test]
async fn a_certificate_without_names_and_a_server_without_tls_are_told_apart() {
    let pki = Pki::usual();
    pki.signed("server", P256, "extendedKeyUsage=serverAuth\n", 2);
    let server = pki.server(false).await;
    for error in pki.reach(&server, "ca.pem", None).await {
        assert!(error.contains("subjectAltName"), "{error}");
    }
    let plain = Server::start().await;
    let store = Etcd::new(EtcdOptions {
        endpoints: vec![plain.url().replace("http://", "https://")],
        ca_file: Some(pki.path("ca.pem")),
        ..plain.options()
    });
    let error = store.unwrap().list().await.unwrap_err().to_string();
    assert!(error.contains("http:// instead of https://"), "{error}");
}

#[tokio::test]
async fn data_in_a_kubeconfig_may_be_broken_into_lines() {
    let pki = Pki::usual();
    let server = pki.server(true).await;
    let data = |name: &str| {
        pki.openssl(&format!("base64 -in {name} -out {name}.b64"));
        let text = std::fs::read_to_string(pki.path(&format!("{name}.b64"))).unwrap();
        text.trim_end().replace('\n', "\n      ")
    };
    let text = format!(
        "current-context: c\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\nclusters:\n- name: c\n  cluster:\n    \
         server: {}\n    certificate-authority-data: |\n      {}\nusers:\n- name: u\n  user:\n    client-certificate-data: |\n      {}\n    \
         client-key-data: |\n      {}\n",
        server.url(),
        data("ca.pem"),
        data("client.pem"),
        data("client.key"),
    );
    let file = pki.path("with-data");
    std::fs::write(&file, text).unwrap();
    let answer = through(&file).await;
    assert!(answer.contains("404"), "{answer}");
}
