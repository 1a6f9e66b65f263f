//! The program that a kubeconfig names under `exec`. What it gives is looked at before anything is made of it.

use std::collections::HashMap;
use std::process::Stdio;
use std::time::Duration;

use http::HeaderValue;
use k8s_openapi::jiff::Timestamp;
use kube::config::{ExecConfig, ExecInteractiveMode};
use serde::Deserialize;
use serde_json::json;
use tokio::process::Command;
use tokio::time::timeout;

use super::bearer::bearer;
use crate::tls::Pem;

/// How long it may take.
const LONGEST: Duration = Duration::from_secs(60);

/// What a program has given.
pub(super) struct Credential {
    pub(super) token: Option<HeaderValue>,
    /// Certificate and key.
    pub(super) client: Option<(Pem, Pem)>,
    /// When it is to be run again.
    pub(super) expires: Option<Timestamp>,
}

/// What it writes: JSON, or YAML as kubectl takes it too.
#[derive(Deserialize)]
struct Written {
    status: Option<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    token: Option<String>,
    expiration_timestamp: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
}

/// Runs it.
///
/// # Errors
/// What is wrong with it or with what it wrote: by its name, and without what it wrote.
pub(super) async fn run(exec: &ExecConfig) -> Result<Credential, String> {
    let name = exec.command.as_deref().unwrap_or_default();
    let named = |why: String| format!("the program of `exec`, {name}: {why}");
    let output = command(exec, name).map_err(named)?.output();
    let output = timeout(LONGEST, output).await;
    let output = output.map_err(|_| named(format!("it has run for {} s", LONGEST.as_secs())))?;
    let output = output.map_err(|error| named(format!("it can't be run: {error}")))?;
    if !output.status.success() {
        let status = output.status;
        return Err(named(format!(
            "it has failed ({status}; what it wrote is not shown here)"
        )));
    }
    let written: Result<Written, _> = serde_saphyr::from_slice(&output.stdout);
    let status = written.ok().and_then(|written| written.status);
    let Some(status) = status else {
        let why = "what it wrote is no ExecCredential with a status (not shown here)";
        return Err(named(why.to_owned()));
    };
    status.credential(name).map_err(named)
}

fn command(exec: &ExecConfig, name: &str) -> Result<Command, String> {
    if name.is_empty() {
        return Err("it has no name: set `command`".to_owned());
    }
    let interactive = exec.interactive_mode != Some(ExecInteractiveMode::Never);
    let mut spec = json!({ "interactive": interactive });
    if exec.provide_cluster_info {
        spec["cluster"] = json!(exec.cluster);
    }
    let info = json!({ "apiVersion": exec.api_version, "kind": "ExecCredential", "spec": spec });
    let variable = |pair: &HashMap<String, String>| {
        Some((pair.get("name")?.clone(), pair.get("value")?.clone()))
    };
    let mut command = Command::new(name);
    command
        .args(exec.args.iter().flatten())
        .envs(exec.env.iter().flatten().filter_map(variable))
        .env("KUBERNETES_EXEC_INFO", info.to_string())
        .stdin(match interactive {
            true => Stdio::inherit(),
            false => Stdio::null(),
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true);
    Ok(command)
}

impl Status {
    fn credential(self, name: &str) -> Result<Credential, String> {
        let expires = self.expiration_timestamp.map(|text| text.parse());
        let token = self.token.filter(|token| !token.is_empty());
        let pem = |what: &str, data: String| Pem {
            what: format!("{what} of {name}"),
            file: None,
            bytes: data.into_bytes(),
        };
        let certificate = self.client_certificate_data;
        let client = certificate.zip(self.client_key_data).map(|(chain, key)| {
            let chain = pem("clientCertificateData", chain);
            (chain, pem("clientKeyData", key))
        });
        let credential = Credential {
            token: token.map(|token| bearer(&token, "its token")).transpose()?,
            client,
            expires: expires
                .transpose()
                .map_err(|_| "its expirationTimestamp is no date")?,
        };
        match (&credential.token, &credential.client) {
            (None, None) => Err("it gave neither token nor certificate".to_owned()),
            _ => Ok(credential),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of a program that writes this.
    async fn given(text: &str) -> Result<Credential, String> {
        let exec = json!({
            "command": "sh", "args": ["-c", "printf '%s' \"$TEXT\""],
            "env": [{ "name": "TEXT", "value": text }],
        });
        run(&serde_json::from_value(exec).unwrap()).await
    }

    #[tokio::test]
    async fn a_token_of_a_program_with_a_line_break_is_refused_by_the_programs_name() {
        for text in [
            r#"{"status":{"token":"S3CRET\ntok"}}"#,
            r#"{"status":{"token":"S3CRET\u0007","expirationTimestamp":"2030-01-01T00:00:00Z"}}"#,
            "status:\n  token: |\n    S3CRET\n    tok\n",
        ] {
            let said = given(text).await.err().unwrap();
            assert!(
                said.starts_with("the program of `exec`, sh: its token is no token"),
                "{said}"
            );
            assert!(!said.contains("S3CRET"), "{said}");
        }
    }

    #[tokio::test]
    async fn json_and_yaml_are_read_and_blanks_at_the_ends_of_a_token_do_not_count() {
        for text in [
            r#"{"kind":"ExecCredential","status":{"token":"abc\n","expirationTimestamp":"2030-01-01T00:00:00Z"}}"#,
            "kind: ExecCredential\nstatus:\n  token: |\n    abc\n  expirationTimestamp: 2030-01-01T00:00:00Z\n",
        ] {
            let credential = given(text).await.unwrap();
            assert_eq!(credential.token.unwrap(), "Bearer abc");
            assert_eq!(credential.expires, "2030-01-01T00:00:00Z".parse().ok());
        }
        let pair = r#"{"status":{"clientCertificateData":"c","clientKeyData":"k"}}"#;
        assert_eq!(given(pair).await.unwrap().client.unwrap().1.bytes, b"k");
    }

    #[tokio::test]
    async fn what_else_is_wrong_with_a_program_is_said_without_what_it_wrote() {
        for (text, word) in [
            ("S3CRET", "no ExecCredential"),
            (r#"{"kind":"S3CRET"}"#, "no ExecCredential"),
            (r#"{"status":{}}"#, "neither token nor certificate"),
            (
                r#"{"status":{"token":"t","expirationTimestamp":"S3CRET"}}"#,
                "is no date",
            ),
        ] {
            let said = given(text).await.err().unwrap();
            assert!(said.contains(word) && !said.contains("S3CRET"), "{said}");
        }
        let missing = json!({ "command": "/nowhere/program" });
        let said = run(&serde_json::from_value(missing).unwrap()).await;
        let said = said.err().unwrap();
        assert!(said.contains("/nowhere/program: it can't be run"), "{said}");
    }
}
