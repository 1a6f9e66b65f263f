//! Requests to etcd: each has a deadline, goes to the endpoint that answered last and then to the others, and fails with
//! a message that names the endpoint and the fix.

use std::error::Error;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use etcd_client::{Channel, Client, Error as EtcdError};
use tweed_model::shown::shortened;

use super::last_answer::LastAnswer;
use super::options::{EtcdOptions, names};
use crate::contact::Contact;

use crate::tls::{Fault, Material, Names, connector, fault};
use crate::{StoreError, host_of};

/// gRPC status codes, by their numbers on the wire.
const INVALID_ARGUMENT: i32 = 3;
const PERMISSION_DENIED: i32 = 7;
const FAILED_PRECONDITION: i32 = 9;
const UNAUTHENTICATED: i32 = 16;

/// A whole list of leases arrives in one message; 5,000 of them take about 1 MiB. What somebody writes beside them must
/// not take the node's memory.
const LARGEST_MESSAGE: usize = 64 << 20;

/// So many bytes of what a server says are passed on.
const SAID: usize = 1_000;

/// The members of one etcd cluster, with a connection to each that has been used.
pub(super) struct Cluster {
    options: EtcdOptions,
    endpoints: Vec<String>,
    connections: Mutex<Vec<Option<Connection>>>,
    /// The endpoint that answered last.
    preferred: AtomicUsize,
    /// When any of them did.
    pub(super) contact: Contact,
    /// How to call what TLS uses, as of the last connection.
    names: Mutex<Arc<Names>>,
}

#[derive(Clone)]
struct Connection {
    client: Client,
    last_answer: LastAnswer,
}

/// A connection to one endpoint, for streams.
pub(super) struct Member {
    pub(super) client: Client,
    pub(super) last_answer: LastAnswer,
    index: usize,
}

impl Cluster {
    pub(super) fn new(options: EtcdOptions) -> Result<Self, StoreError> {
        let endpoints = options.checked_endpoints()?;
        Ok(Self {
            connections: Mutex::new(vec![None; endpoints.len()]),
            preferred: AtomicUsize::new(0),
            contact: Contact::default(),
            names: Mutex::new(Arc::new(names(&Material::default()))),
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
        let Connection {
            client,
            last_answer,
        } = self.connection(index).await?;
        let answer = request(client).await;
        let answer = answer.map_err(|error| self.failed(index, what, &error))?;
        last_answer.now();
        Ok(answer)
    }

    /// The endpoint that answered last. Its streams have no deadline; [`super::pulse`] tells when it is gone.
    pub(super) async fn member(&self) -> Result<Member, StoreError> {
        let index = self.preferred.load(Ordering::Relaxed);
        let Connection {
            client,
            last_answer,
        } = self.connection(index).await?;
        Ok(Member {
            client,
            last_answer,
            index,
        })
    }

    /// What to say about a stream that failed. The next request starts with another endpoint.
    pub(super) fn stream_failed(
        &self,
        member: &Member,
        what: &str,
        error: &EtcdError,
    ) -> StoreError {
        self.pass_over(member);
        self.failed(member.index, what, error)
    }

    /// What to say about a member that gives no answer. The next request starts with another endpoint.
    pub(super) fn stream_silent(
        &self,
        member: &Member,
        what: &str,
        silence: Duration,
    ) -> StoreError {
        self.pass_over(member);
        let why = format!("has said nothing for {:.0} s", silence.as_secs_f64());
        self.stream_ended(member, what, &why)
    }

    fn pass_over(&self, member: &Member) {
        let next = (member.index + 1) % self.endpoints.len();
        self.preferred.store(next, Ordering::Relaxed);
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

    /// A member that has said nothing for this long is asked something, and given up after as long again.
    pub(super) fn pulse(&self) -> Duration {
        self.options.pulse
    }

    async fn connection(&self, index: usize) -> Result<Connection, StoreError> {
        let cached = self.lock()[index].clone();
        if let Some(connection) = cached {
            return Ok(connection);
        }
        let connect = async |options| {
            let channel = self.channel(&self.endpoints[index])?;
            Ok::<_, StoreError>(Client::from_channel(channel, Some(options)).await)
        };
        let mut made = connect(self.options.connect_options()).await?;
        // A cluster without authentication wants no token: as etcd's own client for Go takes it, and thus flannel.
        if made.as_ref().err().is_some_and(needs_no_login) {
            made = connect(self.options.without_login()).await?;
        }
        let client = made.map_err(|error| self.failed(index, "connect", &error))?;
        let last_answer = LastAnswer::new(self.contact.clone());
        let connection = Connection {
            client,
            last_answer,
        };
        self.lock()[index] = Some(connection.clone());
        Ok(connection)
    }

    /// A connection that is made when it is first used.
    fn channel(&self, url: &str) -> Result<Channel, StoreError> {
        let endpoint = self.options.endpoint(url)?;
        if !url.starts_with("https://") {
            return Ok(Channel::Tonic(endpoint.connect_lazy()));
        }
        let material = self.options.material()?;
        let names = Arc::new(names(&material));
        *self.names.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&names);
        let connector = material
            .config()
            .and_then(|config| connector(config, true, None, names))
            .map_err(StoreError::Refused)?;
        Ok(Channel::Tonic(
            endpoint.connect_with_connector_lazy(connector),
        ))
    }

    /// Drops the connection, so that the next one resolves the name, reads the certificates and logs in afresh.
    fn forget(&self, index: usize) {
        self.lock()[index] = None;
    }

    /// Drops every connection.
    pub(super) fn redial(&self) {
        self.lock().fill(None);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Option<Connection>>> {
        let connections = self.connections.lock();
        connections.unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, index: usize, what: &str, error: &EtcdError) -> StoreError {
        self.forget(index);
        let endpoint = &self.endpoints[index];
        let refused =
            |fix: String| StoreError::Refused(format!("{what}: etcd at {endpoint} {fix}"));
        let EtcdError::GRpcStatus(status) = error else {
            let causes = causes(error.to_string(), error.source());
            return self.transport_failed(what, endpoint, Some(error), &causes);
        };
        let message = &*shortened(status.message(), SAID);
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
                let causes = causes(message.to_owned(), status.source());
                self.transport_failed(what, endpoint, status.source(), &causes)
            }
        }
    }

    fn transport_failed(
        &self,
        what: &str,
        endpoint: &str,
        error: Option<&(dyn Error + 'static)>,
        causes: &str,
    ) -> StoreError {
        let names = Arc::clone(&self.names.lock().unwrap_or_else(PoisonError::into_inner));
        let found = error.and_then(fault).map(ToString::to_string);
        let later = || error.and_then(|error| Some(Fault::of(error, &names)?.to_string()));
        let lost = || Some(format!("{} ({causes})", names.of_text(causes)?));
        if let Some(words) = found.or_else(later).or_else(lost) {
            return StoreError::Refused(format!("{what}: etcd at {endpoint}: {words}"));
        }
        let hint = match endpoint.starts_with("https://") && closed(causes) {
            true => format!(" ({})", names.suspicion()),
            false => String::new(),
        };
        StoreError::Unavailable(format!("{what}: etcd at {endpoint}: {causes}{hint}"))
    }
}

/// Whether a login was refused since nobody needs one.
fn needs_no_login(error: &EtcdError) -> bool {
    let EtcdError::GRpcStatus(status) = error else {
        return false;
    };
    i32::from(status.code()) == FAILED_PRECONDITION
        && status.message().contains("authentication is not enabled")
}

/// A server that wants a client certificate and gets none closes the connection after the handshake; whether its reason
/// is read before that is luck (seen with etcd 3.4 and TLS 1.3).
fn closed(causes: &str) -> bool {
    let causes = causes.to_lowercase();
    [
        "closed",
        "reset",
        "broken pipe",
        "canceled",
        "handshake eof",
    ]
    .iter()
    .any(|text| causes.contains(text))
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
    let texts: Vec<String> = failures.iter().map(ToString::to_string).collect();
    let text = texts.join("; ");
    // What was tried stands once.
    let tried = text.find("etcd at ").map_or("", |end| &text[..end]);
    let text = text.replace(&format!("; {tried}"), "; ");
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
    shortened(&texts.join(": "), SAID).into_owned()
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f32())
}
