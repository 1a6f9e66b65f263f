//! Lists and watches of Nodes over HTTP/1.1, with versions that a test moves forth and back.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

pub(crate) struct Fake {
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    version: u64,
    nodes: Vec<Value>,
    /// Connections of an earlier start end.
    start: u64,
    requests: usize,
    authorization: Option<String>,
}

impl Fake {
    pub(crate) async fn start(version: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State {
            version,
            ..State::default()
        }));
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                // A client that goes away is none of its concern.
                tokio::spawn(async move { drop(serve(stream, &state).await) });
            }
        });
        Self { url, state }
    }

    pub(crate) fn put(&self, name: &str, number: u8, version: u64) {
        let mut state = self.state.lock().unwrap();
        state.version = state.version.max(version);
        state.nodes.retain(|node| node["metadata"]["name"] != name);
        state.nodes.push(json!({
            "metadata": {
                "name": name, "uid": name, "resourceVersion": version.to_string(),
                "creationTimestamp": "2026-01-02T03:04:05Z",
                "annotations": {
                    "flannel.alpha.coreos.com/kube-subnet-manager": "true",
                    "flannel.alpha.coreos.com/backend-type": "vxlan",
                    "flannel.alpha.coreos.com/public-ip": format!("10.0.0.{number}"),
                }
            },
            "spec": {"podCIDRs": [format!("10.244.{number}.0/24")]},
        }));
    }

    /// Starts again at this version, without these nodes.
    pub(crate) fn restore(&self, version: u64, without: &[&str]) {
        let mut state = self.state.lock().unwrap();
        state.version = version;
        state.start += 1;
        state.nodes.retain(|node| {
            let name = node["metadata"]["name"].as_str().unwrap();
            !without.contains(&name)
        });
    }

    pub(crate) fn requests(&self) -> usize {
        self.state.lock().unwrap().requests
    }

    pub(crate) fn authorization(&self) -> Option<String> {
        self.state.lock().unwrap().authorization.clone()
    }
}

async fn serve(mut stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let start = state.lock().unwrap().start;
    loop {
        let Some(head) = head(&mut stream, state, start).await? else {
            return Ok(());
        };
        let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
        {
            let mut state = state.lock().unwrap();
            state.requests += 1;
            let header = head
                .lines()
                .find_map(|line| line.strip_prefix("authorization: "));
            state.authorization = header.map(str::to_owned);
        }
        let parameter = |name: &str| {
            let query = target.split_once('?').map_or("", |(_, query)| query);
            let found = query.split('&').find_map(|part| part.strip_prefix(name));
            found.map(|value| value.replace("%3D", "="))
        };
        let only = parameter("fieldSelector=metadata.name=")
            .or(parameter("fieldSelector=metadata.name%3D"));
        let wanted = |node: &Value| {
            only.as_ref()
                .is_none_or(|name| node["metadata"]["name"] == **name)
        };
        if target.contains("watch=true") {
            let from = parameter("resourceVersion=").unwrap_or_default();
            return events(&mut stream, state, start, from.parse().unwrap_or(0), wanted).await;
        }
        let body = {
            let state = state.lock().unwrap();
            let items: Vec<_> = state.nodes.iter().filter(|node| wanted(node)).collect();
            json!({
                "kind": "NodeList", "apiVersion": "v1", "items": items,
                "metadata": {"resourceVersion": state.version.to_string()},
            })
            .to_string()
        };
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(answer.as_bytes()).await?;
    }
}

/// The next request's head; nothing once the server has started again.
async fn head(
    stream: &mut TcpStream,
    state: &Mutex<State>,
    start: u64,
) -> std::io::Result<Option<String>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        tokio::select! {
            read = stream.read(&mut byte) => match read? {
                0 => return Ok(None),
                _ => head.push(byte[0]),
            },
            () = sleep(Duration::from_millis(20)) => {}
        }
        if state.lock().unwrap().start != start {
            return Ok(None);
        }
    }
    Ok(Some(String::from_utf8_lossy(&head).into_owned()))
}

async fn events(
    stream: &mut TcpStream,
    state: &Mutex<State>,
    start: u64,
    mut from: u64,
    wanted: impl Fn(&Value) -> bool,
) -> std::io::Result<()> {
    let head =
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await?;
    loop {
        let (news, over) = {
            let state = state.lock().unwrap();
            let version = |node: &Value| -> u64 {
                let text = node["metadata"]["resourceVersion"].as_str().unwrap();
                text.parse().unwrap()
            };
            let news: Vec<_> = state
                .nodes
                .iter()
                .filter(|node| version(node) > from && wanted(node))
                .cloned()
                .collect();
            from = news.iter().map(version).max().unwrap_or(from);
            (news, state.start != start)
        };
        if over {
            return Ok(());
        }
        for node in news {
            let mut node = node;
            node["kind"] = json!("Node");
            node["apiVersion"] = json!("v1");
            let event = format!("{}\n", json!({"type": "ADDED", "object": node}));
            let chunk = format!("{:x}\r\n{event}\r\n", event.len());
            stream.write_all(chunk.as_bytes()).await?;
        }
        sleep(Duration::from_millis(20)).await;
    }
}
