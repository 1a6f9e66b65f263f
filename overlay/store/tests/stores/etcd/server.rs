//! A real etcd on the loopback, with its own ports and folder; ends with the value.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use etcd_client::{Client, ConnectOptions};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};
use tweed_host::random;
use tweed_store::etcd::{Etcd, EtcdOptions};

pub(crate) const PREFIX: &str = "/coreos.com/network";

pub(crate) struct Server {
    folder: TempDir,
    process: Option<Child>,
    client_port: u16,
    peer_port: u16,
    scheme: &'static str,
    extra: Vec<String>,
}

impl Server {
    /// A plain server.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// A plain server with these flags.
    pub(crate) async fn start_with(flags: &[String]) -> Self {
        let server = Self::launch("http", flags);
        server.client().await;
        server
    }

    /// A server that speaks TLS, with these flags.
    pub(crate) async fn start_tls(flags: &[String]) -> Self {
        let server = Self::launch("https", flags);
        let deadline = Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect(("127.0.0.1", server.client_port)).is_err() {
            assert!(Instant::now() < deadline, "etcd does not listen");
            sleep(Duration::from_millis(20)).await;
        }
        server
    }

    fn launch(scheme: &'static str, extra: &[String]) -> Self {
        let mut server = Self {
            folder: tempfile::tempdir().unwrap(),
            process: None,
            client_port: free_port(),
            peer_port: free_port(),
            scheme,
            extra: extra.to_vec(),
        };
        server.run();
        server
    }

    fn run(&mut self) {
        let peer = format!("http://127.0.0.1:{}", self.peer_port);
        let process = Command::new("etcd")
            .arg("--data-dir")
            .arg(self.folder.path().join("data"))
            .args([
                "--listen-client-urls",
                &self.url(),
                "--advertise-client-urls",
                &self.url(),
            ])
            .args([
                "--listen-peer-urls",
                &peer,
                "--initial-advertise-peer-urls",
                &peer,
            ])
            .args(["--initial-cluster", &format!("default={peer}")])
            .args(&self.extra)
            .env_clear()
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.process = Some(process.expect("etcd is installed (Debian's etcd-server)"));
    }

    /// Ends the process at once, as a crash does.
    pub(crate) fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Stops it without a word, as a machine without power does; with `false` it goes on.
    pub(crate) fn freeze(&self, on: bool) {
        let signal = if on { "-STOP" } else { "-CONT" };
        let pid = self.process.as_ref().unwrap().id().to_string();
        let done = Command::new("kill").args([signal, &pid]).status();
        assert!(done.unwrap().success());
    }

    /// Starts it again on the same ports and data.
    pub(crate) async fn restart(&mut self) {
        self.run_again();
        self.client().await;
    }

    /// The same, without waiting for it to answer.
    pub(crate) fn run_again(&mut self) {
        self.stop();
        self.run();
    }

    /// Runs it on another port for a while, out of the sight of those who know the usual one.
    pub(crate) async fn elsewhere(&mut self, act: impl AsyncFnOnce(&mut Client)) {
        let usual = std::mem::replace(&mut self.client_port, free_port());
        self.run_again();
        act(&mut self.client().await).await;
        self.stop();
        self.client_port = usual;
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.client_port)
    }

    pub(crate) fn options(&self) -> EtcdOptions {
        EtcdOptions {
            endpoints: vec![self.url()],
            timeout: Duration::from_secs(3),
            ..EtcdOptions::default()
        }
    }

    /// A store of its own: another node.
    pub(crate) fn store(&self) -> Etcd {
        Etcd::new(self.options()).unwrap()
    }

    /// A plain client, to play the operator or flannel. Waits until the server answers.
    pub(crate) async fn client(&self) -> Client {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let options = ConnectOptions::new().with_timeout(Duration::from_secs(1));
            let mut client = Client::connect([self.url()], Some(options)).await.unwrap();
            match client.get("ready", None).await {
                Ok(_) => return client,
                Err(error) => assert!(Instant::now() < deadline, "etcd does not answer: {error}"),
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A port on which nobody listens, outside the range from which the kernel takes ports for outgoing connections: those
/// could take it while the server is down.
pub(crate) fn free_port() -> u16 {
    loop {
        let port = 10_000 + u16::try_from(random::bits() % 22_000).expect("below 22,000");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// An authority, a server certificate for 127.0.0.1 and a client certificate, made by openssl: `ca.pem`, `server.pem`,
/// `server.key`, `client.pem`, `client.key`.
pub(crate) fn make_certificates(folder: &Path) {
    make_certificates_for(folder, [2, 2]);
}

/// Certificates of server and client that are good for so many days from now; -1: they have expired.
pub(crate) fn make_certificates_for(folder: &Path, days: [i8; 2]) {
    let openssl = |args: &str| {
        let output = Command::new("openssl")
            .args(args.split(' '))
            .current_dir(folder)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "openssl {args}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(&format!(
        "req -x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=authority -addext basicConstraints=critical,CA:TRUE"
    ));
    let kinds = [("server", "serverAuth"), ("client", "clientAuth")];
    for ((name, usage), days) in kinds.into_iter().zip(days) {
        let extensions = format!("subjectAltName=IP:127.0.0.1\nextendedKeyUsage={usage}\n");
        std::fs::write(folder.join(format!("{name}.ext")), extensions).unwrap();
        openssl(&format!(
            "req -new {key} -keyout {name}.key -out {name}.csr -subj /CN={name}"
        ));
        openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days {days} -extfile {name}.ext -out {name}.pem"
        ));
    }
}
