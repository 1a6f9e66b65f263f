//! A way to etcd that can be cut, or stop passing on what the client says.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Forwards connections, until it is cut.
pub(crate) struct Relay {
    pub(crate) url: String,
    task: JoinHandle<()>,
    gate: Arc<watch::Sender<bool>>,
}

impl Relay {
    pub(crate) async fn start(target: &str) -> Self {
        Self::shutting_after(target, usize::MAX).await
    }

    /// Holds back what the client says from the moment on at which it has been sent an answer of `length` bytes.
    pub(crate) async fn shutting_after(target: &str, length: usize) -> Self {
        let target = target.replace("http://", "");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let gate = Arc::new(watch::Sender::new(true));
        let for_task = gate.clone();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (near, _) = listener.accept().await.unwrap();
                let far = TcpStream::connect(&target).await.unwrap();
                let ((from_near, to_near), (from_far, to_far)) =
                    (near.into_split(), far.into_split());
                connections.spawn(pump(from_near, to_far, for_task.clone(), usize::MAX));
                connections.spawn(pump(from_far, to_near, for_task.clone(), length));
            }
        });
        Self { url, task, gate }
    }

    pub(crate) async fn shut(&self) {
        self.gate.subscribe().wait_for(|open| !open).await.unwrap();
    }

    /// Holds back what the client says from now on.
    pub(crate) fn hold(&self) {
        self.gate.send_replace(false);
    }

    pub(crate) fn open(&self) {
        self.gate.send_replace(true);
    }

    pub(crate) fn cut(self) {
        self.task.abort();
    }
}

/// The direction with a limit shuts the gate when it has passed that much; the other one waits at it.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    gate: Arc<watch::Sender<bool>>,
    mut until_shut: usize,
) {
    let towards_server = until_shut == usize::MAX;
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if towards_server {
            gate.subscribe().wait_for(|open| *open).await.unwrap();
        } else if until_shut > 0 {
            until_shut = until_shut.saturating_sub(length);
            if until_shut == 0 {
                gate.send_replace(false);
            }
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
