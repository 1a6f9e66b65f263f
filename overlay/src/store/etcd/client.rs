//! Requests to etcd: each has a deadline, goes to the endpoint that answered last and then to the others, and fails with
//! a message that names the endpoint and the fix.

use std::error::Error;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use etcd_client::{Client, Error as EtcdError};

use super::options::Options;
use crate::store::{StoreError, host_of};

/// gRPC status codes, by their numbers on the wire.
const INVALID_ARGUMENT: i32 = 3;
const PERMISSION_DENIED: i32 = 7;
const UNAUTHENTICATED: i32 = 16;

/// A whole list of leases arrives in one message; 5,000 of them take about 1 MiB.
const LARGEST_MESSAGE: usize = 256 << 20;

/// The members of one etcd cluster, with a connection to each that has been used.
pub(super) struct Cluster {
    options: Options,
    endpoints: Vec<String>,
    clients: Mutex<Vec<Option<Client>>>,
    /// The endpoint that answered last.
    preferred: AtomicUsize,
}

/// A connection to one endpoint, for streams.
pub(super) struct Member {
    pub(super) client: Client,
    index: usize,
}

impl Cluster {
    pub(super) fn new(options: Options) -> Result<Self, StoreError> {
        let endpoints = options.checked_endpoints()?;
        Ok(Self {
            clients: Mutex::new(vec![None; endpoints.len()]),
            preferred: AtomicUsize::new(0),
            options,
            endpoints,
        })
    }

    /// The hosts of the endpoints.
    pub(super) fn hosts(&self) -> Vec<String> {
        let endpoints = self.endpoints.iter();
        endpoints.filter_map(|url| host_of(url)).collect()
    }

    /// Sends a request to one endpoint after the other, until one answers. `request` must bear being repeated after an
    /// unknown outcome.
    pub(super) async fn call<T, F>(
        &self,
        what: &str,
        request: impl Fn(Client) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, EtcdError>>,
    {
        let first = self.preferred.load(Ordering::Relaxed);
        let mut failures = Vec::new();
        for offset in 0..self.endpoints.len() {
            let index = (first + offset) % self.endpoints.len();
            match self.call_one(index, what, &request).await {
                Ok(answer) => {
                    self.preferred.store(index, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(error) => failures.push(error),
            }
        }
        Err(summary(failures))
    }

    async fn call_one<T, F>(
        &self,
        index: usize,
        what: &str,
        request: impl Fn(Client) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, EtcdError>>,
    {
        let attempt = async {
            let known = self.lock()[index].is_some();
            let result = self.send(index, what, &request).await;
            // A connection from before may have died unnoticed. That says nothing about the endpoint.
            if known && matches!(result, Err(StoreError::Unavailable(_))) {
                return self.send(index, what, &request).await;
            }
            result
        };
        match tokio::time::timeout(self.options.timeout, attempt).await {
            Ok(result) => result,
            Err(_) => {
                self.forget(index);
                Err(StoreError::Unavailable(format!(
                    "{what}: etcd at {} didn't answer in {}",
                    self.endpoints[index],
                    seconds(self.options.timeout)
                )))
            }
        }
    }

    async fn send<T, F>(
        &self,
        index: usize,
        what: &str,
        request: impl Fn(Client) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, EtcdError>>,
    {
        let client = self.client(index).await?;
        request(client)
            .await
            .map_err(|error| self.failed(index, what, &error))
    }

    /// The endpoint that answered last. Its streams have no deadline; pings tell when it is gone.
    pub(super) async fn member(&self) -> Result<Member, StoreError> {
        let index = self.preferred.load(Ordering::Relaxed);
        let client = self.client(index).await?;
        Ok(Member { client, index })
    }

    /// What to say about a stream that failed. The next request starts with another endpoint.
    pub(super) fn stream_failed(
        &self,
        member: &Member,
        what: &str,
        error: &EtcdError,
    ) -> StoreError {
        let next = (member.index + 1) % self.endpoints.len();
        self.preferred.store(next, Ordering::Relaxed);
        self.failed(member.index, what, error)
    }

    /// What to say about a stream that ended without an error.
    pub(super) fn stream_ended(&self, member: &Member, what: &str, why: &str) -> StoreError {
        self.forget(member.index);
        StoreError::Unavailable(format!(
            "{what}: etcd at {} {why}",
            self.endpoints[member.index]
        ))
    }

    pub(super) fn timeout(&self) -> Duration {
        self.options.timeout
    }

    async fn client(&self, index: usize) -> Result<Client, StoreError> {
        let cached = self.lock()[index].clone();
        if let Some(client) = cached {
            return Ok(client);
        }
        let endpoint = &self.endpoints[index];
        let options = self.options.connect_options(endpoint)?;
        let client = Client::connect([endpoint], Some(options))
            .await
            .map_err(|error| self.failed(index, "connect", &error))?;
        self.lock()[index] = Some(client.clone());
        Ok(client)
    }

    /// Drops the connection, so that the next one resolves the name, reads the certificates and logs in afresh.
    fn forget(&self, index: usize) {
        self.lock()[index] = None;
    }

    /// Drops every connection.
    pub(super) fn redial(&self) {
        self.lock().fill(None);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Option<Client>>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, index: usize, what: &str, error: &EtcdError) -> StoreError {
        self.forget(index);
        let endpoint = &self.endpoints[index];
        let refused =
            |fix: String| StoreError::Refused(format!("{what}: etcd at {endpoint} {fix}"));
        let EtcdError::GRpcStatus(status) = error else {
            return StoreError::Unavailable(format!(
                "{what}: etcd at {endpoint}: {}",
                causes(error.to_string(), error.source())
            ));
        };
        let message = status.message();
        let user = self.options.user.as_ref().map_or("", |(user, _)| user);
        match i32::from(status.code()) {
            PERMISSION_DENIED => refused(format!(
                "doesn't let user {user:?} do this ({message}); allow it with: etcdctl role grant-permission ROLE \
                 --prefix readwrite {}",
                self.options.prefix
            )),
            UNAUTHENTICATED => refused(format!("refused the login of user {user:?} ({message})")),
            INVALID_ARGUMENT if message.contains("user name is empty") => {
                refused("wants a login: set --etcd-username and --etcd-password".into())
            }
            INVALID_ARGUMENT if message.contains("authentication failed") => refused(format!(
                "refused the login of user {user:?}: check --etcd-username and --etcd-password"
            )),
            _ => {
                self.transport_failed(what, endpoint, &causes(message.to_owned(), status.source()))
            }
        }
    }

    fn transport_failed(&self, what: &str, endpoint: &str, causes: &str) -> StoreError {
        let fix = if causes.contains("UnknownIssuer") {
            let file = self.options.ca_file.as_ref();
            let signers = file.map_or("the system's".into(), |file| {
                format!("those in {}", file.display())
            });
            format!(
                "its certificate is signed by none of the authorities we trust ({signers}): check --etcd-cafile"
            )
        } else if causes.contains("NotValidForName") {
            "its certificate is for another name: check --etcd-endpoints".to_owned()
        } else if causes.contains("alert: CertificateExpired") {
            "it says that our client certificate has expired: renew that of --etcd-certfile"
                .to_owned()
        } else if causes.contains("Expired") || causes.contains("NotValidYet") {
            "its certificate is not valid at this time: renew it, or set this host's clock"
                .to_owned()
        } else if causes.contains("CertificateRequired") || causes.contains("BadCertificate") {
            "it refused our client certificate, or wants one: check --etcd-certfile and --etcd-keyfile".to_owned()
        } else {
            let hint = self.certificate_hint(endpoint, causes);
            return StoreError::Unavailable(format!("{what}: etcd at {endpoint}: {causes}{hint}"));
        };
        StoreError::Refused(format!("{what}: etcd at {endpoint}: {fix} ({causes})"))
    }

    /// A server that wants a client certificate and gets none closes the connection after the handshake; whether its
    /// reason is read before that is luck (seen with etcd 3.4 and TLS 1.3).
    fn certificate_hint(&self, endpoint: &str, causes: &str) -> &'static str {
        let causes = causes.to_lowercase();
        let closed = ["closed", "reset", "broken pipe", "canceled"]
            .iter()
            .any(|text| causes.contains(text));
        match self.options.cert_file {
            _ if !closed || !endpoint.starts_with("https://") => "",
            None => " (if it wants a client certificate, set --etcd-certfile and --etcd-keyfile)",
            Some(_) => {
                " (if it listens, it may have refused our client certificate: see whether that of --etcd-certfile has expired)"
            }
        }
    }
}

/// A client for the key-value part, ready for long lists.
pub(super) fn kv(client: &Client) -> etcd_client::KvClient {
    client
        .kv_client()
        .max_decoding_message_size(LARGEST_MESSAGE)
}

/// A client for watches, ready for transactions that change much.
pub(super) fn watcher(client: &Client) -> etcd_client::WatchClient {
    client
        .watch_client()
        .max_decoding_message_size(LARGEST_MESSAGE)
}

/// Several endpoints failed: that needs nobody's hand as long as one of them may come back.
fn summary(mut failures: Vec<StoreError>) -> StoreError {
    if failures.len() == 1 {
        return failures.remove(0);
    }
    let text = failures
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ");
    if failures
        .iter()
        .all(|error| matches!(error, StoreError::Refused(_)))
    {
        StoreError::Refused(text)
    } else {
        StoreError::Unavailable(text)
    }
}

/// An error and what caused it, without repetitions. gRPC's own texts say little ("transport error").
fn causes(text: String, source: Option<&(dyn Error + 'static)>) -> String {
    let mut texts = vec![text];
    let mut next = source;
    while let Some(error) = next {
        let text = error.to_string();
        if !texts.iter().any(|earlier| earlier.contains(&text)) {
            texts.push(text);
        }
        next = error.source();
    }
    texts.join(": ")
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f32())
}
