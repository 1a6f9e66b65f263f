//! The daemon's two servers: health and metrics over TCP for anybody who may reach the port, and over a unix socket for
//! root the status, the preview of a pass and the operator's confirmation.

mod serve;
pub mod trace;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use prometheus_client::registry::Registry;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::oneshot;
use tweed_reconcile::worker::Wake;

use super::answers::{Confirmed, Preview};
use super::data_plane::DataPlane;
use super::metrics;
use super::status::{SharedStatus, Status};
use super::told::Told;
use crate::config::options::Options;
use crate::files::atomic;

/// How long one connection may ask for health and metrics.
const LIFETIME: Duration = Duration::from_secs(300);
/// How often the socket's file is looked at, and between two attempts to make it.
const LOOK: Duration = Duration::from_secs(1);

/// What the handlers share.
#[derive(Clone)]
pub struct Server {
    status: SharedStatus,
    data_plane: DataPlane,
    registry: Arc<Registry>,
    kernel: Sender<Wake>,
    told: Arc<Told>,
}

impl Server {
    /// Serves this status and what this data plane says, and passes requests to this kernel thread.
    pub fn new(
        status: SharedStatus,
        data_plane: DataPlane,
        kernel: Sender<Wake>,
        options: &Options,
    ) -> Self {
        let peers = options.metrics_peers;
        let registry = metrics::registry(status.clone(), data_plane.clone(), peers);
        let registry = Arc::new(registry);
        Self {
            status,
            data_plane,
            registry,
            kernel,
            told: Arc::new(Told::of(options)),
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
        let router = self.public();
        Ok(serve::serve(listener, router, Some(LIFETIME)))
    }

    /// Serves everything over a unix socket that only its owner may use, until dropped.
    ///
    /// # Errors
    /// When the socket can't be made.
    pub fn listen_unix(self, path: &Path) -> Result<impl Future<Output = ()> + use<>> {
        let path = path.to_owned();
        let listener = match bind_unix(&path) {
            Err(error) if atomic::no_room(&error) => {
                tracing::error!(
                    socket = %path.display(), %error,
                    "there is no room for the socket: commands can't ask this agent; it is made once there is"
                );
                None
            }
            bound => Some(bound.with_context(|| {
                format!(
                    "make socket {} (--socket, at most 107 bytes)",
                    path.display()
                )
            })?),
        };
        let router = self.clone().public().merge(self.private());
        // Root may follow a trace for as long as it likes.
        Ok(async move {
            let mut listener = match listener {
                Some(listener) => listener,
                None => bind_later(&path, "there is room for the socket, and it is made").await,
            };
            loop {
                tokio::select! {
                    () = serve::serve(listener, router.clone(), None) => return,
                    () = removed(&path) => {}
                }
                listener = bind_later(&path, "the socket was removed; it is back").await;
            }
        })
    }

    fn public(self) -> Router {
        let router = Router::new()
            .route("/healthz", get(async || "tweedd is running"))
            .route("/readyz", get(ready))
            .route("/metrics", get(render_metrics));
        router.with_state(self)
    }

    fn private(self) -> Router {
        let router = Router::new()
            .route("/v1/status", get(status))
            .route("/v1/status/peers", get(status_with_peers))
            .route("/v1/settings", get(settings))
            .route(
                "/v1/trace",
                get(trace::trace).with_state(self.data_plane.clone()),
            )
            .route("/v1/plan", get(preview))
            .route("/v1/confirm", post(confirm));
        router.with_state(self)
    }
}

/// Waits until the socket that is there now is gone, or another one: somebody has emptied the folder.
async fn removed(path: &Path) {
    let file = || {
        std::fs::symlink_metadata(path)
            .map(|file| (file.dev(), file.ino()))
            .ok()
    };
    let bound = file();
    while file() == bound {
        tokio::time::sleep(LOOK).await;
    }
}

/// Makes the socket as soon as that is possible, and says so by these words.
async fn bind_later(path: &Path, made: &str) -> UnixListener {
    loop {
        tokio::time::sleep(LOOK).await;
        if let Ok(listener) = bind_unix(path) {
            tracing::warn!(socket = %path.display(), "{made}");
            return listener;
        }
    }
}

fn bind_unix(path: &Path) -> std::io::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    remove_left_over(path)?;
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Removes a socket that a process left that is no more. Anything else that stands there is not ours to remove.
fn remove_left_over(path: &Path) -> std::io::Result<()> {
    let found = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if !found.file_type().is_socket() {
        let what = "there is a file of that name that is no socket; remove it, or give another name by --socket";
        return Err(std::io::Error::new(ErrorKind::AlreadyExists, what));
    }
    // We hold the lock of this network; but an agent of another network may have been given the same socket.
    match UnixStream::connect(path) {
        Ok(_) => Err(std::io::Error::new(
            ErrorKind::AddrInUse,
            "another program listens on it; give each agent its own by --socket",
        )),
        Err(_) => std::fs::remove_file(path),
    }
}

async fn status(State(server): State<Server>) -> Json<Status> {
    let mut status = server.status.read().served();
    status.data_plane = server.data_plane.status();
    Json(status)
}

async fn status_with_peers(State(server): State<Server>) -> Json<Status> {
    let Json(mut status) = status(State(server)).await;
    let held = status.kernel.held.as_deref();
    let (list, left_out) = status.known.list(held, status.data_plane.as_ref());
    status.peer_list = Some(list);
    status.peers_left_out = left_out;
    Json(status)
}

async fn settings(State(server): State<Server>) -> Json<Told> {
    Json(Told::clone(&server.told))
}

async fn ready(State(server): State<Server>) -> (StatusCode, String) {
    let status = server.status.read().served();
    if status.ready {
        (StatusCode::OK, "tweedd is ready".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, status.not_ready.join("\n"))
    }
}

async fn render_metrics(State(server): State<Server>) -> Response {
    let mut text = String::new();
    if let Err(error) = prometheus_client::encoding::text::encode(&mut text, &server.registry) {
        return (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response();
    }
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], text).into_response()
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
            let reasons = server.status.read().not_ready.join("; ");
            (
                StatusCode::CONFLICT,
                format!("nothing to compare with yet: {reasons}"),
            )
                .into_response()
        }
    }
}

async fn confirm(State(server): State<Server>) -> Response {
    let Some(confirmed) = server.status.read().kernel.held else {
        return (StatusCode::CONFLICT, "no deletions are held back").into_response();
    };
    match server.kernel.send(Wake::Confirm) {
        Ok(()) => {
            tracing::info!(held = confirmed, "the operator has confirmed the deletions");
            Json(Confirmed { confirmed }).into_response()
        }
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_socket_is_its_owners_alone() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("run/tweed.sock");
        let _listener = bind_unix(&path).expect("nothing is there");
        let found = std::fs::metadata(&path).expect("it is there");
        assert_eq!(found.permissions().mode() & 0o777, 0o600);
    }

    #[tokio::test]
    async fn only_a_socket_that_nobody_listens_on_is_replaced() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("run/tweed.sock");
        let listener = bind_unix(&path).expect("nothing is there");
        let taken = bind_unix(&path).expect_err("somebody listens");
        assert!(taken.to_string().contains("--socket"), "{taken}");
        drop(listener);
        bind_unix(&path).expect("its owner is gone");

        let file = dir.path().join("notes.txt");
        std::fs::write(&file, "precious").expect("written");
        let refused = bind_unix(&file).expect_err("a file");
        assert!(refused.to_string().contains("no socket"), "{refused}");
        let text = std::fs::read_to_string(&file).expect("it is still there");
        assert_eq!(text, "precious");
    }
}
