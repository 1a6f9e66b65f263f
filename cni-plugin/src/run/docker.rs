//! Docker's containers, by the API at its socket. Podman's socket has the same API: `DOCKER_HOST` names it.

use std::env;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tweed_host::bounded_file::{self, MIB};

use super::found::{Container, State};
use super::process;
use crate::net::namespace::is_same;
use crate::spec::json;

const SOCKET: &str = "/var/run/docker.sock";

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(20);

/// The longest answer, in bytes.
const LONGEST: usize = 8 * MIB;

/// What is used of the answer about a container.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Inspected {
    id: String,
    name: String,
    state: Process,
    network_settings: Network,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Process {
    /// 0 if the container doesn't run.
    pid: u32,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Network {
    /// The path of the namespace, in the mount namespace of dockerd.
    sandbox_key: PathBuf,
}

/// Asks for a container by its name or ID.
pub(crate) fn find(name: &str) -> Container {
    let host = env::var("DOCKER_HOST").unwrap_or_default();
    let label = format!("docker://{name}");
    let socket = match host.strip_prefix("unix://") {
        Some(path) => path,
        None if host.is_empty() => SOCKET,
        None => {
            let why = format!("DOCKER_HOST is {host:?}, want unix://PATH of a socket on this host");
            return Container::unknown(label, why);
        }
    };
    let answer = get(Path::new(socket), &format!("/containers/{name}/json"));
    match answer {
        Ok((200, body)) => of_answer(label, &body),
        Ok((404, _)) => Container::gone(label, format!("Docker has no container {name}")),
        Ok((code, body)) => {
            let told = json::parse(&body).unwrap_or_default();
            let told = json::get_in(&told, "message").and_then(Value::as_str);
            let why = format!("Docker at {socket}: {code} {}", told.unwrap_or_default());
            Container::unknown(label, why)
        }
        Err(error) => {
            let why = format!("Docker at {socket}: {error}; start it, or set DOCKER_HOST=unix://…");
            Container::unknown(label, why)
        }
    }
}

fn of_answer(label: String, body: &[u8]) -> Container {
    let inspected = json::parse(body).and_then(|value| json::read::<Inspected>(&value));
    let inspected = match inspected {
        Ok(inspected) if !inspected.id.is_empty() => inspected,
        Ok(_) => return Container::unknown(label, "Docker's answer has no Id"),
        Err(error) => return Container::unknown(label, format!("Docker's answer: {error}")),
    };
    let Inspected { id, name, .. } = inspected;
    let label = match name.trim_start_matches('/') {
        "" => label,
        name => format!("docker://{name}"),
    };
    let number = inspected.state.pid;
    let key = inspected.network_settings.sandbox_key;
    // The path of the sandbox is never another container's. That of the process is, once its number is used again.
    if number != 0 && is_same(&key, &process::netns(number)) {
        let state = State::Runs(key);
        return Container {
            id: Some(id),
            label: Some(label),
            state,
        };
    }
    Container::of_process(label, id, Some(number).filter(|number| *number != 0))
}

/// The code and the body of the answer to a GET. By HTTP/1.0 the body ends with the connection.
fn get(socket: &Path, path: &str) -> io::Result<(u16, Vec<u8>)> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.set_write_timeout(Some(ANSWER))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n")?;
    let bytes = bounded_file::read_stream(stream, LONGEST)?;
    let read = read(&bytes).map(|(code, body)| (code, body.to_vec()));
    read.ok_or_else(|| io::Error::other("no HTTP"))
}

fn read(bytes: &[u8]) -> Option<(u16, &[u8])> {
    const END: &[u8] = b"\r\n\r\n";
    let end = bytes.windows(END.len()).position(|part| part == END)?;
    let head = str::from_utf8(&bytes[..end]).ok()?;
    let (version, rest) = head.split_once(' ')?;
    let code = rest.get(..3)?.parse().ok()?;
    version
        .starts_with("HTTP/1.")
        .then_some((code, &bytes[end + END.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_a_code_and_a_body() {
        let text = b"HTTP/1.0 404 Not Found\r\nContent-Type: x\r\n\r\n{\"message\":\"no\"}\r\n\r\n";
        let (code, body) = read(text).unwrap();
        assert_eq!((code, body), (404, &b"{\"message\":\"no\"}\r\n\r\n"[..]));
        for none in [
            "",
            "HTTP/1.1",
            "HTTP/1.1 20\r\n\r\n",
            "SSH-2.0 200\r\n\r\n",
            "HTTP/1.1 200 OK\r\n",
        ] {
            assert_eq!(read(none.as_bytes()), None, "{none}");
        }
    }

    #[test]
    fn a_container_that_does_not_run_is_known_by_its_id_and_name() {
        let body = br#"{"Id": "abc", "Name": "/web", "State": {"Pid": 0}, "NetworkSettings": {"SandboxKey": ""}}"#;
        let found = of_answer("docker://ab".into(), body);
        assert_eq!(found.id.as_deref(), Some("abc"));
        assert_eq!(found.label.as_deref(), Some("docker://web"));
        assert!(
            matches!(found.state, State::Stopped(why) if why.contains("docker://web does not run"))
        );
        // A process that is nobody's container: its number has been used again.
        let body = format!(
            r#"{{"Id": "abc", "State": {{"Pid": {}}}}}"#,
            std::process::id()
        );
        let found = of_answer("docker://ab".into(), body.as_bytes());
        assert!(matches!(found.state, State::Stopped(_)));
        for wrong in ["{}", "[]", "", r#"{"Id": 3}"#] {
            let found = of_answer("docker://ab".into(), wrong.as_bytes());
            assert!(matches!(found.state, State::Unknown(_)), "{wrong}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_answer_is_read_or_refused(bytes in proptest::collection::vec(0_u8.., 0..60)) {
            let _ = read(&bytes);
            let _ = of_answer("docker://x".into(), &bytes);
        }
    }
}
