//! Connections to a server, by TLS or in plain text as the URL says. What fails is said in words.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_rustls::{
    FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream,
};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tower::Service;

use super::explain::{Fault, Names};

type Failure = Box<dyn Error + Send + Sync>;
type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;

/// A connection whose other end acknowledges nothing for this long is dead: the kernel probes it while it is idle. That
/// asks nothing of the server's program.
const SILENCE: Duration = Duration::from_secs(8);

/// Makes connections.
#[derive(Clone)]
pub(crate) struct Connector {
    https: HttpsConnector<HttpConnector>,
    names: Arc<Names>,
}

/// A maker of connections, for HTTP/2 or HTTP/1. `server_name` is what the certificate is for, where that is not the
/// URL's host.
pub(crate) fn connector(
    config: ClientConfig,
    http2: bool,
    server_name: Option<&str>,
    names: Arc<Names>,
) -> Result<Connector, String> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(SILENCE / 2));
    tcp.set_keepalive_interval(Some(SILENCE / 4));
    tcp.set_keepalive_retries(Some(2));
    tcp.set_tcp_user_timeout(Some(SILENCE));
    let mut builder = HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_or_http();
    if let Some(name) = server_name {
        let name = ServerName::try_from(name.to_owned())
            .map_err(|error| format!("server name {name:?}: {error}"))?;
        builder = builder.with_server_name_resolver(FixedServerNameResolver::new(name));
    }
    let https = match http2 {
        true => builder.enable_http2().wrap_connector(tcp),
        false => builder.enable_http1().wrap_connector(tcp),
    };
    Ok(Connector { https, names })
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, Failure>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.https.poll_ready(cx)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let connecting = self.https.call(to);
        let names = Arc::clone(&self.names);
        Box::pin(async move {
            connecting.await.map_err(|error| {
                let fault = Fault::of(error.as_ref(), &names);
                fault.map_or(error, Into::into)
            })
        })
    }
}
