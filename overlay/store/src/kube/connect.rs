//! Clients of the API servers. One is used at a time; when it doesn't answer, the next one is tried.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Request;
use http::header::AUTHORIZATION;
use hyper_timeout::TimeoutConnector;
use hyper_util::rt::TokioExecutor;
use kube::Client;
use kube::client::retry::RetryPolicy;
use kube::client::{Body, ConfigExt};
use kube::core::Status;
use tokio::sync::{OnceCell, watch};
use tokio::time::timeout;
use tower::filter::AsyncFilterLayer;
use tower::retry::RetryLayer;
use tower::{BoxError, ServiceBuilder};
use tweed_model::shown::shortened;

use super::causes::chain;
use super::credentials::{Access, access};
use super::options::KubeOptions;
use crate::contact::Contact;
use crate::tls::{Names, connector, fault};
use crate::{StoreError, host_of};

const CONNECT: Duration = Duration::from_secs(5);
/// For one request that isn't a watch.
const REQUEST: Duration = Duration::from_secs(15);
/// A watch that receives nothing for longer is dead: the server sends a bookmark about every minute.
const SILENCE: Duration = Duration::from_secs(100);

/// So many bytes of what a server says are passed on.
const SAID: usize = 1_000;

/// Access to one cluster.
pub(super) struct Servers {
    options: KubeOptions,
    clients: Mutex<Arc<OnceCell<Vec<Client>>>>,
    /// Counts how often another server's turn came.
    turn: AtomicUsize,
    /// Counts how often new connections were asked for, or another server.
    dialled: watch::Sender<u64>,
    /// When any of them answered last.
    pub(super) contact: Contact,
}

impl Servers {
    pub(super) fn new(options: KubeOptions) -> Self {
        Self {
            options,
            clients: Mutex::default(),
            turn: AtomicUsize::new(0),
            dialled: watch::Sender::new(0),
            contact: Contact::default(),
        }
    }

    /// The client in use. Credentials are read when it is first asked for.
    pub(super) async fn client(&self) -> Result<Client, StoreError> {
        let cell = self.cell();
        let clients = cell.get_or_try_init(|| connect(&self.options)).await?;
        Ok(clients[self.turn() % clients.len()].clone())
    }

    /// The next server; to be asked before [`Servers::client`], for [`Servers::failed`].
    pub(super) fn turn(&self) -> usize {
        self.turn.load(Ordering::Relaxed)
    }

    /// The server of a turn doesn't answer. Has the next one used, if there is another one, also by those that haven't
    /// noticed yet. Whether there is.
    pub(super) fn failed(&self, turn: usize) -> bool {
        let others = self.cell().get().is_some_and(|clients| clients.len() > 1);
        // A server whose connections break all at once has failed once.
        let first = || {
            let next = turn.wrapping_add(1);
            let (done, lost) = (Ordering::Relaxed, Ordering::Relaxed);
            self.turn.compare_exchange(turn, next, done, lost).is_ok()
        };
        if others && first() {
            self.dialled.send_modify(|count| *count += 1);
        }
        others
    }

    /// Leaves all connections: the way to the servers has changed.
    pub(super) fn redial(&self) {
        *self.clients.lock().unwrap_or_else(PoisonError::into_inner) = Arc::default();
        self.dialled.send_modify(|count| *count += 1);
    }

    /// Changes when new connections are to be made.
    pub(super) fn dialled(&self) -> watch::Receiver<u64> {
        self.dialled.subscribe()
    }

    fn cell(&self) -> Arc<OnceCell<Vec<Client>>> {
        let clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&clients)
    }

    /// Makes one request, with a time limit.
    pub(super) async fn call<T>(
        &self,
        what: &str,
        request: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, Failure> {
        let turn = self.turn();
        match timeout(REQUEST, request).await {
            Ok(Ok(answer)) => {
                self.contact.answer();
                Ok(answer)
            }
            Ok(Err(error)) => {
                let failure = Failure::of(what, &error);
                if failure.code == 0 {
                    self.failed(turn);
                }
                Err(failure)
            }
            Err(_) => {
                self.failed(turn);
                Err(Failure {
                    code: 0,
                    text: format!("{what}: the API server didn't answer within {REQUEST:?}"),
                })
            }
        }
    }
}

/// Why a request failed.
#[derive(Debug)]
pub(super) struct Failure {
    /// The HTTP status; 0 if there was no answer.
    pub(super) code: u16,
    /// What was tried, and what came of it.
    pub(super) text: String,
}

impl Failure {
    pub(super) fn of(what: &str, error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::answered(what, status),
            other => Self::unanswered(what, other),
        }
    }

    /// The API server has refused.
    pub(super) fn answered(what: &str, status: &Status) -> Self {
        Self {
            code: status.code,
            text: format!(
                "{what}: the API server says: {}",
                shortened(&status.message, SAID)
            ),
        }
    }

    /// There is no answer.
    pub(super) fn unanswered(what: &str, error: &(dyn std::error::Error + 'static)) -> Self {
        let why = fault(error).map_or_else(|| chain(error), |fault| format!("API server: {fault}"));
        Self {
            code: 0,
            text: format!("{what}: {}", shortened(&why, SAID)),
        }
    }
}

impl From<Failure> for StoreError {
    /// Refused credentials count as unavailable too: what is known stays in force until somebody repairs them.
    fn from(failure: Failure) -> Self {
        Self::Unavailable(failure.text)
    }
}

async fn connect(options: &KubeOptions) -> Result<Vec<Client>, StoreError> {
    let mut access = access(options).await?;
    access.run_program().await?;
    let mut urls = Vec::new();
    for server in &options.servers {
        urls.push(server.parse().map_err(|error| {
            StoreError::Refused(format!("API server {server:?} is not a URL: {error}"))
        })?);
    }
    if urls.is_empty() {
        urls.push(access.config.cluster_url.clone());
    }
    let clients = urls.into_iter().map(|url| {
        let mut access = access.clone();
        access.config.cluster_url = url;
        access.config.connect_timeout = Some(CONNECT);
        access.config.read_timeout = Some(SILENCE);
        access.config.reset_reader_on_write = true;
        let origin = access.origin.clone();
        client(access).map_err(|why| StoreError::Refused(format!("{origin}: {why}")))
    });
    clients.collect()
}

/// The hosts of the API servers, as far as the configuration tells.
pub(super) async fn hosts(options: &KubeOptions) -> Vec<String> {
    let mut urls = options.servers.clone();
    if urls.is_empty() {
        let access = access(options).await.ok();
        urls.extend(access.map(|access| access.config.cluster_url.to_string()));
    }
    urls.iter().filter_map(|url| host_of(url)).collect()
}

/// The library's own client, but for TLS and tokens in files.
fn client(access: Access) -> Result<Client, String> {
    let Access {
        config,
        material,
        token,
        names,
        ..
    } = access;
    // Proxies are the library's affair altogether.
    if config.proxy_url.is_some() {
        return Client::try_from(config).map_err(|error| chain(&error));
    }
    let names = Arc::new(Names::new(names, &material));
    let name = config.tls_server_name.as_deref();
    let connector = connector(material.config()?, false, name, names)?;
    let mut connector = TimeoutConnector::new(connector);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(config.write_timeout);
    connector.set_reset_reader_on_write(config.reset_reader_on_write);
    let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(connector);
    let with_token = AsyncFilterLayer::new(move |mut request: Request<Body>| {
        let token = token.clone();
        async move {
            if let Some(token) = token {
                let header = token.header().await?;
                request.headers_mut().insert(AUTHORIZATION, header);
            }
            Ok::<_, BoxError>(request)
        }
    });
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(
            config
                .default_retry
                .then(|| RetryLayer::new(RetryPolicy::server_retry())),
        )
        .option_layer(config.auth_layer().map_err(|error| chain(&error))?)
        .layer(with_token)
        .layer(
            config
                .extra_headers_layer()
                .map_err(|error| chain(&error))?,
        )
        .map_err(BoxError::from)
        .service(http);
    Ok(Client::new(service, config.default_namespace))
}
