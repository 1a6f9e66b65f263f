//! Certificates by openssl, and a way to a server with them by each store.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use tweed_model::annotations::Prefix;
use tweed_store::LeaseStore;
use tweed_store::etcd::{Etcd, EtcdOptions};
use tweed_store::kube::{self, KubeStore, NodeName};

use super::server::Server;

pub(crate) const P256: &str = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
pub(crate) const P521: &str = "-newkey ec -pkeyopt ec_paramgen_curve:secp521r1 -nodes";
pub(crate) const NAMED: &str = "-addext subjectAltName=IP:127.0.0.1";

/// A folder with certificates, and a server that uses `server.pem`.
pub(crate) struct Pki(TempDir);

impl Pki {
    /// With nothing in it.
    pub(crate) fn empty() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// With an authority `ca.pem` and nothing else.
    pub(crate) fn new(key: &str) -> Self {
        let pki = Self(tempfile::tempdir().unwrap());
        pki.openssl(&format!(
            "req -x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=authority"
        ));
        pki
    }

    /// With a server and a client as they should be.
    pub(crate) fn usual() -> Self {
        let pki = Self::new(P256);
        pki.signed("server", P256, "subjectAltName=IP:127.0.0.1\n", 2);
        pki.signed("client", P256, "extendedKeyUsage=clientAuth\n", 2);
        pki
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn openssl(&self, args: &str) {
        openssl(self.0.path(), args);
    }

    /// A certificate of the authority's. Without extensions it is one of X.509 version 1.
    pub(crate) fn signed(&self, name: &str, key: &str, extensions: &str, days: i8) {
        self.openssl(&format!(
            "req -new {key} -keyout {name}.key -out {name}.csr -subj /CN={name}"
        ));
        std::fs::write(self.path("ext"), extensions).unwrap();
        let extensions = if extensions.is_empty() {
            ""
        } else {
            " -extfile ext"
        };
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days {days}{extensions} -out {name}.pem"
        ));
    }

    pub(crate) async fn server(&self, wants_client: bool) -> Server {
        let file = |name: &str| self.path(name).display().to_string();
        let mut flags = vec![
            "--cert-file".into(),
            file("server.pem"),
            "--key-file".into(),
            file("server.key"),
        ];
        if wants_client {
            flags.extend([
                "--client-cert-auth".into(),
                "--trusted-ca-file".into(),
                file("ca.pem"),
            ]);
        }
        Server::start_tls(&flags).await
    }

    /// What becomes of a request by each store, with these files.
    pub(crate) async fn reach(
        &self,
        server: &Server,
        ca: &str,
        client: Option<(&str, &str)>,
    ) -> [String; 2] {
        [
            self.by_etcd(server, ca, client).await,
            self.by_kubeconfig(server, ca, client).await,
        ]
    }

    pub(crate) async fn by_etcd(
        &self,
        server: &Server,
        ca: &str,
        client: Option<(&str, &str)>,
    ) -> String {
        let (cert_file, key_file) = client.unzip();
        let store = Etcd::new(EtcdOptions {
            ca_file: Some(self.path(ca)),
            cert_file: cert_file.map(|name| self.path(name)),
            key_file: key_file.map(|name| self.path(name)),
            ..server.options()
        });
        match store.unwrap().list().await {
            Ok(_) => "works".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    pub(crate) async fn by_kubeconfig(
        &self,
        server: &Server,
        ca: &str,
        client: Option<(&str, &str)>,
    ) -> String {
        let user = client.map_or("{}".to_owned(), |(certificate, key)| {
            format!("{{client-certificate: {certificate}, client-key: {key}}}")
        });
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n\
             clusters: [{{name: c, cluster: {{server: '{}', certificate-authority: {ca}}}}}]\nusers: [{{name: u, user: {user}}}]\n",
            server.url()
        );
        let file = self.path("kubeconfig");
        std::fs::write(&file, text).unwrap();
        let error = through(&file).await;
        if error.contains("404") {
            "works".to_owned()
        } else {
            error
        }
    }
}

pub(crate) async fn through(kubeconfig: &Path) -> String {
    let store = KubeStore::new(kube::KubeOptions {
        servers: Vec::new(),
        kubeconfig: Some(kubeconfig.to_owned()),
        prefix: Prefix::default(),
        config_file: "/nowhere".into(),
        node: NodeName::Unknown,
        set_condition: false,
        remove_taints: Vec::new(),
    });
    store.list().await.unwrap_err().to_string()
}

fn openssl(folder: &Path, args: &str) {
    let output = Command::new("openssl")
        .args(args.split(' '))
        .current_dir(folder)
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {args}: {error}");
}

pub(crate) fn both(words: &str) -> [String; 2] {
    [words.to_owned(), words.to_owned()]
}
