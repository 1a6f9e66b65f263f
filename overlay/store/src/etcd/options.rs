//! How to reach etcd: what can be configured, checked before the first connection.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use etcd_client::ConnectOptions;
use tonic::transport::Endpoint;

use crate::StoreError;
use crate::tls::{Material, Names, Pem};

/// Pings from clients more often than etcd's `--grpc-keepalive-min-time` (5 s, unless somebody raised it) count as abuse;
/// this is seldom enough for any. Whether a member answers is found out sooner, by [`EtcdOptions::pulse`].
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How to reach etcd. The names in messages are the options of the command line.
#[derive(Clone)]
pub struct EtcdOptions {
    /// `http://…`, `https://…` or `host:port`. Without a scheme TLS is spoken if the first endpoint is `https://` or
    /// any certificate option is set.
    pub endpoints: Vec<String>,
    /// Where the network's keys stand, such as `/coreos.com/network`.
    pub prefix: String,
    /// User and password.
    pub user: Option<(String, String)>,
    /// PEM file with the certificates of the authorities that sign the servers' certificates; the system's
    /// authorities where there is none.
    pub ca_file: Option<PathBuf>,
    /// PEM file with the client's certificate.
    pub cert_file: Option<PathBuf>,
    /// PEM file with the key of that certificate.
    pub key_file: Option<PathBuf>,
    /// How long one request to one endpoint may take.
    pub timeout: Duration,
    /// A member that has said nothing for this long is asked something small, and given up after as long again. 5,000
    /// nodes ask 1,250 times in a second, which is a tenth of a processor.
    pub pulse: Duration,
    /// After how long all leases are listed afresh at the latest, whatever the watch says; shortened at random. 5,000
    /// nodes ask for 8 lists of a megabyte in a second then.
    pub relist: Duration,
}

impl Default for EtcdOptions {
    /// flannel's defaults.
    fn default() -> Self {
        Self {
            endpoints: ["http://127.0.0.1:4001", "http://127.0.0.1:2379"]
                .map(str::to_owned)
                .into(),
            prefix: "/coreos.com/network".to_owned(),
            user: None,
            ca_file: None,
            cert_file: None,
            key_file: None,
            timeout: Duration::from_secs(5),
            pulse: Duration::from_secs(4),
            relist: Duration::from_secs(600),
        }
    }
}

impl fmt::Debug for EtcdOptions {
    /// Everything but the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdOptions")
            .field(
                "endpoints",
                &self
                    .endpoints
                    .iter()
                    .map(|url| redacted(url))
                    .collect::<Vec<_>>(),
            )
            .field("prefix", &self.prefix)
            .field("user", &self.user.as_ref().map(|(user, _)| user))
            .field("ca_file", &self.ca_file)
            .field("cert_file", &self.cert_file)
            .field("key_file", &self.key_file)
            .field("timeout", &self.timeout)
            .finish()
    }
}

/// An endpoint as messages show it: without what stands before `@`.
fn redacted(endpoint: &str) -> String {
    match endpoint.rsplit_once('@') {
        Some((before, host)) => {
            let scheme = before.split_once("://").map_or("", |(scheme, _)| scheme);
            if scheme.is_empty() {
                format!("…@{host}")
            } else {
                format!("{scheme}://…@{host}")
            }
        }
        None => endpoint.to_owned(),
    }
}

impl EtcdOptions {
    /// The endpoints as URLs, once all options have been found to make sense together.
    pub(super) fn checked_endpoints(&self) -> Result<Vec<String>, StoreError> {
        if self.cert_file.is_some() != self.key_file.is_some() {
            return refused(
                "a client certificate needs its key: give both --etcd-certfile and --etcd-keyfile"
                    .into(),
            );
        }
        let endpoints: Vec<&str> = self
            .endpoints
            .iter()
            .map(|url| url.trim())
            .filter(|url| !url.is_empty())
            .collect();
        let Some(first) = endpoints.first() else {
            return refused(
                "no etcd endpoint given: set --etcd-endpoints, such as http://10.0.0.1:2379".into(),
            );
        };
        let secure = first.starts_with("https://")
            || [&self.ca_file, &self.cert_file, &self.key_file]
                .iter()
                .any(|file| file.is_some());
        endpoints
            .iter()
            .map(|endpoint| checked_endpoint(endpoint, secure))
            .collect()
    }

    /// What the client library wants to know beside the way to an endpoint.
    pub(super) fn connect_options(&self) -> ConnectOptions {
        let options = self.without_login().with_auto_token_refresh(true);
        match &self.user {
            Some((user, password)) => options.with_user(user, password),
            None => options,
        }
    }

    /// The same towards a cluster without authentication.
    pub(super) fn without_login(&self) -> ConnectOptions {
        ConnectOptions::new().with_require_leader(true)
    }

    /// The way to one endpoint.
    pub(super) fn endpoint(&self, url: &str) -> Result<Endpoint, StoreError> {
        let endpoint = Endpoint::from_shared(url.to_owned())
            .map_err(|error| StoreError::Refused(format!("etcd endpoint {url:?}: {error}")))?;
        Ok(endpoint
            .connect_timeout(CONNECT_TIMEOUT.min(self.timeout))
            .http2_keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(false))
    }

    /// The certificates, read from their files, so that renewed ones are picked up by the next connection.
    pub(super) fn material(&self) -> Result<Material, StoreError> {
        let read = |option, file| Pem::read(option, file).map_err(StoreError::Refused);
        let ca = self.ca_file.as_ref();
        let client = self.cert_file.as_ref().zip(self.key_file.as_ref());
        Ok(Material {
            ca: ca.map(|file| read("--etcd-cafile", file)).transpose()?,
            client: client
                .map(|(certificate, key)| {
                    let certificate = read("--etcd-certfile", certificate)?;
                    Ok::<_, StoreError>((certificate, read("--etcd-keyfile", key)?))
                })
                .transpose()?,
            insecure: false,
        })
    }
}

/// What the options are called, for messages.
pub(super) fn names(material: &Material) -> Names {
    let client = "--etcd-certfile and --etcd-keyfile";
    Names::new(["--etcd-cafile", client, "--etcd-endpoints"], material)
}

fn checked_endpoint(endpoint: &str, secure: bool) -> Result<String, StoreError> {
    let (scheme, rest) = match endpoint.split_once("://") {
        Some((scheme @ ("http" | "https"), rest)) => (scheme, rest),
        Some(_) => {
            return refused(format!(
                "etcd endpoint {} has a scheme other than http and https",
                redacted(endpoint)
            ));
        }
        None => (if secure { "https" } else { "http" }, endpoint),
    };
    if rest.contains('@') {
        return refused(format!(
            "etcd endpoint {} contains a user: use --etcd-username and --etcd-password",
            redacted(endpoint)
        ));
    }
    let host = rest.trim_end_matches('/');
    if host.is_empty() || host.contains(['/', '?', '#', ' ']) {
        return refused(format!(
            "etcd endpoint {endpoint:?} is not of the form http://host:port"
        ));
    }
    Ok(format!("{scheme}://{host}"))
}

fn refused<T>(message: String) -> Result<T, StoreError> {
    Err(StoreError::Refused(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(endpoints: &[&str]) -> EtcdOptions {
        EtcdOptions {
            endpoints: endpoints.iter().map(|&url| url.to_owned()).collect(),
            ..EtcdOptions::default()
        }
    }

    #[test]
    fn the_scheme_follows_the_first_endpoint_or_the_certificates() {
        assert_eq!(
            with(&["a:1", "http://b:2/"]).checked_endpoints().unwrap(),
            ["http://a:1", "http://b:2"]
        );
        assert_eq!(
            with(&["https://a:1", "b:2"]).checked_endpoints().unwrap(),
            ["https://a:1", "https://b:2"]
        );
        let certified = EtcdOptions {
            ca_file: Some("ca.pem".into()),
            ..with(&["a:1", " ", "http://[::1]:2"])
        };
        assert_eq!(
            certified.checked_endpoints().unwrap(),
            ["https://a:1", "http://[::1]:2"]
        );
    }

    #[test]
    fn options_that_make_no_sense_are_refused_with_the_fix() {
        for (options, wanted) in [
            (with(&[]), "--etcd-endpoints"),
            (with(&["ftp://a"]), "scheme"),
            (with(&["http://"]), "http://host:port"),
            (with(&["http://a:1/path"]), "http://host:port"),
            (with(&["http://root:secret@a:1"]), "--etcd-username"),
            (
                EtcdOptions {
                    cert_file: Some("c".into()),
                    ..with(&["a"])
                },
                "--etcd-keyfile",
            ),
        ] {
            let error = options.checked_endpoints().unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        let options = EtcdOptions {
            user: Some(("root".into(), "secret".into())),
            ..with(&["http://user:secret@a:1", "user:secret@b"])
        };
        let text = format!("{options:?}");
        assert!(text.contains("root") && !text.contains("secret"), "{text}");
    }
}
