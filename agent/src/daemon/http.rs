//! The daemon's two servers: health and metrics over TCP for anybody who may reach the port, and over a unix socket for
//! root the status, the preview of a pass and the operator's confirmation.

pub(super) mod collected;
pub(super) mod exposition;
mod serve;
pub mod trace;
mod visitor;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use prometheus_client::registry::Registry;
use serde::Deserialize;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{Mutex, oneshot};
use tokio::task::spawn_blocking;
use tweed_model::SubnetKey;
use tweed_reconcile::worker::Wake;

use super::answers::{Confirmed, Preview};
use super::clock;
use super::data_plane::DataPlane;
use super::facts::SharedFacts;
use super::metrics::{self, addresses::Addresses, process::Process};
use super::published::PublishedSettings;
use super::status::Status;
use super::turns::Turns;
use crate::config::options::Options;
use crate::events::document::Events;
use crate::events::sentences;
use crate::page;
use collected::{Collected, FRESH};
use exposition::{Form, Texts};
use serve::Limits;
use visitor::Visitor;

/// How long, and how often, one connection may ask for health and metrics.
const LIMITS: Limits = Limits {
    lifetime: Duration::from_secs(300),
    requests: 100,
};

/// A page that was drawn within this time is not drawn again.
const DRAWN_FRESH: Duration = Duration::from_secs(1);

/// What the handlers share.
#[derive(Clone)]
pub struct Server {
    facts: SharedFacts,
    data_plane: DataPlane,
    collected: Collected,
    process: Process,
    addresses: Addresses,
    registry: Arc<Registry>,
    /// The metrics as texts, and when they were rendered.
    rendered: Arc<Mutex<Option<(Instant, Texts)>>>,
    /// The page, and when it was drawn.
    drawn: Arc<Mutex<Option<(Instant, Bytes)>>>,
    turns: Turns,
    kernel: Sender<Wake>,
    told: Arc<PublishedSettings>,
}

impl Server {
    /// Serves these facts and what this data plane says, and passes requests to this kernel thread.
    pub fn new(
        facts: SharedFacts,
        data_plane: DataPlane,
        (kernel, turns): (Sender<Wake>, Turns),
        options: &Options,
    ) -> Self {
        let peers = options.metrics_peers;
        let collected = Collected::of(data_plane.clone());
        let (process, addresses) = (Process::default(), Addresses::default());
        let beside = (collected.clone(), process.clone(), addresses.clone());
        let registry = metrics::registry(facts.clone(), beside, turns.clone(), peers);
        let registry = Arc::new(registry);
        Self {
            facts,
            data_plane,
            collected,
            process,
            addresses,
            registry,
            rendered: Arc::default(),
            drawn: Arc::default(),
            turns,
            kernel,
            told: Arc::new(PublishedSettings::of(options)),
        }
    }

    /// Serves health and metrics over TCP until dropped.
    ///
    /// # Errors
    /// When the address can't be bound.
    pub async fn listen(self, addr: SocketAddr) -> Result<impl Future<Output = ()>> {
        let listener = TcpListener::bind(addr).await;
        let listener = listener.with_context(|| {
            format!("listen for health checks on {addr} (--healthz-ip, --healthz-port)")
        })?;
        let turns = self.turns.clone();
        let router = self.public();
        Ok(serve::serve(listener, router, Some(LIMITS), turns))
    }

    /// Serves everything over the unix socket, by the newest listener that comes.
    pub async fn listen_unix(self, mut listeners: UnboundedReceiver<UnixListener>) {
        let turns = self.turns.clone();
        let router = self.clone().public().merge(self.private());
        let mut next = listeners.recv().await;
        while let Some(listener) = next {
            // Root may follow a trace for as long as it likes.
            next = tokio::select! {
                () = serve::serve(listener, router.clone(), None, turns.clone()) => return,
                newer = listeners.recv() => newer,
            };
        }
    }

    fn status(&self) -> Status {
        Status::of(&self.facts.lock(), Instant::now())
    }

    /// Requests within a moment get the same text.
    async fn metrics_texts(&self) -> Result<Texts, std::fmt::Error> {
        let mut rendered = self.rendered.lock().await;
        if let Some((_, texts)) = rendered.as_ref().filter(|(at, _)| at.elapsed() < FRESH) {
            return Ok(texts.clone());
        }
        self.collected.refresh().await;
        let (started, subnets) = {
            let facts = self.facts.lock();
            (facts.agent.started, facts.session.subnets)
        };
        self.process.look(started).await;
        self.addresses.look(subnets).await;
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        let texts = Texts::of(text);
        *rendered = Some((Instant::now(), texts.clone()));
        Ok(texts)
    }

    fn public(self) -> Router {
        let router = Router::new()
            .route("/healthz", get(async || "tweedd is running"))
            .route("/readyz", get(ready))
            .route("/metrics", get(metrics_text))
            .route("/", get(page))
            .route("/page.css", get(style));
        router.with_state(self)
    }

    fn private(self) -> Router {
        let router = Router::new()
            .route("/v1/status", get(status))
            .route("/v1/status/peers", get(status_with_peers))
            .route("/v1/settings", get(settings))
            .route("/v1/events", get(events))
            .route(
                "/v1/trace",
                get(trace::trace).with_state(self.data_plane.clone()),
            )
            .route("/v1/plan", get(preview))
            .route("/v1/confirm", post(confirm));
        router.with_state(self)
    }
}

async fn status(State(server): State<Server>) -> Json<Status> {
    let mut status = server.status().served();
    status.data_plane = server.collected.now().await;
    Json(status)
}

async fn status_with_peers(State(server): State<Server>) -> Response {
    let listed = with_peers(&server, |status| Json(status).into_response());
    listed.await.unwrap_or_else(|response| response)
}

/// Makes something of the status and the list of peers on another thread: thousands of them take long.
async fn with_peers<T: Send + 'static>(
    server: &Server,
    make: impl FnOnce(Status) -> T + Send + 'static,
) -> Result<T, Response> {
    let Json(mut status) = status(State(server.clone())).await;
    let (known, probing, ports) = {
        let facts = server.facts.lock();
        let ports: Vec<u16> = facts.session.tunnels.keys().copied().collect();
        (
            facts.cluster.known.clone(),
            facts.cluster.probing.clone(),
            ports,
        )
    };
    let listing = spawn_blocking(move || {
        let held = status.kernel.held.as_deref();
        let (mut list, left_out) = known.list(held, status.data_plane.as_ref());
        let keys = list.iter().map(|peer| SubnetKey(peer.subnets));
        let answers = probing.answers(keys, &ports);
        for (peer, probe) in list.iter_mut().zip(answers) {
            peer.probe = probe;
        }
        status.peer_list = Some(list);
        status.peers_left_out = left_out;
        make(status)
    });
    let made = listing.await;
    made.map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response())
}

/// The page. All who ask within a second get one.
async fn page(
    State(server): State<Server>,
    Extension(visitor): Extension<Visitor>,
    headers: HeaderMap,
) -> Response {
    if let Some(why) = visitor.refused(&headers) {
        return (StatusCode::FORBIDDEN, why).into_response();
    }
    let mut drawn = server.drawn.lock().await;
    let fresh = |(at, _): &&(Instant, Bytes)| at.elapsed() < DRAWN_FRESH;
    let page = match drawn.as_ref().filter(fresh) {
        Some((_, page)) => page.clone(),
        None => {
            let draw = |status| Bytes::from(page::html(&status, clock::seconds()));
            let page = match with_peers(&server, draw).await {
                Ok(page) => page,
                Err(response) => return response,
            };
            *drawn = Some((Instant::now(), page.clone()));
            page
        }
    };
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, page::POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, page).into_response()
}

async fn style() -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, "text/css; charset=utf-8")],
        page::STYLE,
    )
}

/// The events after one of them, by its number.
#[derive(Debug, Deserialize)]
struct After {
    #[serde(default)]
    after: u64,
}

/// On another thread: a thousand of them take long.
async fn events(State(server): State<Server>, Query(asked): Query<After>) -> Response {
    let journal = server.facts.lock().events.clone();
    let listing = move || Json(Events::from(journal.after(asked.after))).into_response();
    match spawn_blocking(listing).await {
        Ok(response) => response,
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn settings(State(server): State<Server>) -> Json<PublishedSettings> {
    Json(PublishedSettings::clone(&server.told))
}

async fn ready(State(server): State<Server>) -> (StatusCode, String) {
    let status = server.status().served();
    if status.ready {
        (StatusCode::OK, "tweedd is ready".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, status.not_ready.join("\n"))
    }
}

async fn metrics_text(State(server): State<Server>, headers: HeaderMap) -> Response {
    match server.metrics_texts().await {
        Ok(texts) => {
            let form = Form::asked_for(&headers);
            let described = [
                (header::CONTENT_TYPE, form.content_type()),
                (header::VARY, "accept"),
            ];
            (described, texts.get(form)).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn preview(State(server): State<Server>) -> Response {
    let (answer, answered) = oneshot::channel();
    // A kernel thread that has ended drops the sender, and the wait below ends.
    let _ = server.kernel.send(Wake::Preview(Box::new(move |plan| {
        let _ = answer.send(plan);
    })));
    match answered.await {
        Ok(Some(Ok(plan))) => Json(Preview::of(&plan)).into_response(),
        Ok(Some(Err(error))) => (StatusCode::INTERNAL_SERVER_ERROR, error).into_response(),
        Ok(None) | Err(_) => {
            let reasons = server.status().not_ready.join("; ");
            (
                StatusCode::CONFLICT,
                format!("nothing to compare with yet: {reasons}"),
            )
                .into_response()
        }
    }
}

async fn confirm(State(server): State<Server>) -> Response {
    let Some(confirmed) = server.status().kernel.held else {
        return (StatusCode::CONFLICT, "no deletions are held back").into_response();
    };
    match server.kernel.send(Wake::Confirm) {
        Ok(()) => {
            let event = sentences::deletions_confirmed(&confirmed);
            server.facts.lock().events.tell(event);
            Json(Confirmed { confirmed }).into_response()
        }
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

#[cfg(test)]
mod tests;
