//! Where the API server is and what proves who we are: from a kubeconfig, or from a pod's service account. What of it is
//! read from files may end in a line break, and data in base64 may have several, as with client-go.

use std::path::Path;

use kube::Config;
use kube::config::{AuthInfo, Cluster, KubeConfigOptions, Kubeconfig};
use secrecy::{ExposeSecret, SecretString};
use tweed_host::bounded_file::{self, Links};

use super::bearer::bearer;
use super::causes::chain;
use super::options::KubeOptions;
use super::program;
use super::token::Token;
use crate::StoreError;
use crate::tls::{Material, Pem};

/// How to reach an API server.
#[derive(Clone, Debug)]
pub(super) struct Access {
    /// All but what stands below.
    pub(super) config: Config,
    pub(super) material: Material,
    pub(super) token: Option<Token>,
    /// Where it is from, for messages.
    pub(super) origin: String,
    /// What messages call the places: authorities, client, server.
    pub(super) names: [&'static str; 3],
}

const OF_A_KUBECONFIG: [&str; 3] = [
    "certificate-authority in the kubeconfig",
    "client-certificate and client-key in the kubeconfig",
    "server and tls-server-name in the kubeconfig",
];
const OF_A_POD: [&str; 3] = [
    "ca.crt of the pod's service account",
    "the pod's service account",
    "--kube-api",
];

/// Reads what the options name.
pub(super) async fn access(options: &KubeOptions) -> Result<Access, StoreError> {
    if let Some(file) = &options.kubeconfig {
        return of_kubeconfig(file)
            .await
            .map_err(|why| StoreError::Refused(format!("kubeconfig {}: {why}", file.display())));
    }
    let Some(first) = options.servers.first() else {
        let config = Config::incluster().map_err(|error| {
            StoreError::Refused(format!(
                "this is no pod with a service account ({}): give --kubeconfig-file",
                chain(&error)
            ))
        })?;
        return of_pod(config);
    };
    // With an address of its own, all that a pod's surroundings have to give is the credentials.
    match (Config::incluster_dns(), first.parse()) {
        (Ok(config), _) => of_pod(config),
        (Err(_), Ok(url)) => of_pod(Config::new(url)),
        (Err(_), Err(error)) => Err(StoreError::Refused(format!(
            "API server {first:?} is not a URL: {error}"
        ))),
    }
}

fn of_pod(mut config: Config) -> Result<Access, StoreError> {
    let ca = config.root_cert_file.take();
    let ca = ca.map(|file| Pem::read("ca.crt of the service account", &file));
    let token = config.auth_info.token_file.take();
    let token = token.map(|file| Token::of_file(Path::new(&file)));
    config.root_cert = None;
    Ok(Access {
        config,
        material: Material {
            ca: ca.transpose().map_err(StoreError::Refused)?,
            ..Material::default()
        },
        token: token.transpose().map_err(StoreError::Refused)?,
        origin: "API server".to_owned(),
        names: OF_A_POD,
    })
}

async fn of_kubeconfig(file: &Path) -> Result<Access, String> {
    // Named by the operator; but a FIFO would keep us for ever.
    bounded_file::open(file, Links::Followed).map_err(|error| chain(&error))?;
    let mut text = Kubeconfig::read_from(file).map_err(|error| chain(&error))?;
    let (cluster, user) = chosen(&mut text);
    let mut material = Material::default();
    if let Some(cluster) = cluster {
        no_password(cluster)?;
        material.ca = authority(cluster)?;
    }
    let mut token = None;
    if let Some(user) = user {
        material.client = client(user)?;
        token = token_of(user)?;
    }
    let config = Config::from_custom_kubeconfig(text, &KubeConfigOptions::default()).await;
    let config = config.map_err(|error| chain(&error))?;
    material.insecure = config.accept_invalid_certs;
    Ok(Access {
        config,
        material,
        token,
        origin: format!("kubeconfig {}", file.display()),
        names: OF_A_KUBECONFIG,
    })
}

impl Access {
    /// Runs the program that gives credentials, where the kubeconfig names one and no other ones.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) async fn run_program(&mut self) -> Result<(), StoreError> {
        let user = &mut self.config.auth_info;
        let Some(exec) = user.exec.take() else {
            return Ok(());
        };
        let password = user.username.is_some() && user.password.is_some();
        let token = user.token.is_some() || self.token.is_some();
        if user.auth_provider.is_some() || password || token {
            return Ok(());
        }
        let given = program::run(&exec).await;
        let given = given.map_err(|why| StoreError::Refused(format!("{}: {why}", self.origin)))?;
        self.material.client = given.client.or(self.material.client.take());
        let token = given.token;
        self.token = token.map(|token| Token::of_program(exec, token, given.expires));
        Ok(())
    }
}

/// What the current context names. What is missing is said by the library.
fn chosen(text: &mut Kubeconfig) -> (Option<&mut Cluster>, Option<&mut AuthInfo>) {
    let current = text.current_context.as_ref();
    let context = text
        .contexts
        .iter()
        .find(|context| Some(&context.name) == current);
    let Some(context) = context.and_then(|found| found.context.clone()) else {
        return (None, None);
    };
    let cluster = text
        .clusters
        .iter_mut()
        .find(|cluster| cluster.name == context.cluster);
    let user = text
        .auth_infos
        .iter_mut()
        .find(|user| Some(&user.name) == context.user.as_ref());
    (
        cluster.and_then(|found| found.cluster.as_mut()),
        user.and_then(|found| found.auth_info.as_mut()),
    )
}

/// The address of a server gets into messages.
fn no_password(cluster: &Cluster) -> Result<(), String> {
    match &cluster.server {
        Some(server) if server.contains('@') => Err(
            "its server has no user and password in it (not shown here); they are the user's `username` and `password`"
                .to_owned(),
        ),
        _ => Ok(()),
    }
}

fn authority(cluster: &mut Cluster) -> Result<Option<Pem>, String> {
    let data = cluster.certificate_authority_data.take();
    let file = cluster.certificate_authority.take();
    pem("certificate-authority", data, file)
}

fn client(user: &mut AuthInfo) -> Result<Option<(Pem, Pem)>, String> {
    let certificate = pem(
        "client-certificate",
        user.client_certificate_data.take(),
        user.client_certificate.take(),
    )?;
    let key = user.client_key_data.take();
    let key = key.map(|data| data.expose_secret().to_owned());
    let key = pem("client-key", key, user.client_key.take())?;
    match (certificate, key) {
        (Some(certificate), Some(key)) => Ok(Some((certificate, key))),
        (None, None) => Ok(None),
        (Some(_), None) => Err("client-certificate needs client-key beside it".to_owned()),
        (None, Some(_)) => Err("client-key needs client-certificate beside it".to_owned()),
    }
}

/// From data in base64, which win as with client-go, or from a file.
fn pem(key: &str, data: Option<String>, file: Option<String>) -> Result<Option<Pem>, String> {
    let data = data.filter(|data| !data.trim().is_empty());
    let file = file.filter(|file| !file.is_empty());
    match (data, file) {
        (Some(data), _) => {
            let what = format!("{key}-data");
            let bytes = base64(&data).ok_or_else(|| format!("{what} is not base64"))?;
            Ok(Some(Pem {
                what,
                file: None,
                bytes,
            }))
        }
        (None, Some(file)) => Pem::read(key, Path::new(&file)).map(Some),
        (None, None) => Ok(None),
    }
}

/// Line breaks and blanks within are passed over, as Go does.
fn base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let (mut bits, mut held) = (0u32, 0u32);
    let text = text.trim_end_matches(|letter: char| letter == '=' || letter.is_whitespace());
    for letter in text.bytes().filter(|letter| !letter.is_ascii_whitespace()) {
        let digit = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(digit);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    (held < 6).then_some(bytes)
}

/// The token that the user has, as long as nothing else goes before it. A file wins, since it may be renewed.
fn token_of(user: &mut AuthInfo) -> Result<Option<Token>, String> {
    if let Some(provider) = &user.auth_provider {
        for (key, text) in &provider.config {
            if key.ends_with("-token") {
                bearer(text, key)?;
            }
        }
        if provider.config.contains_key("cmd-path") {
            return Err(
                "an auth-provider with `cmd-path` can't be used, as with kubectl since 1.26: name the program under `exec`"
                    .to_owned(),
            );
        }
    }
    let other = user.auth_provider.is_some() || user.username.is_some() && user.password.is_some();
    if other {
        return Ok(None);
    }
    if let Some(token) = &mut user.token {
        let bare = token.expose_secret().trim().to_owned();
        *token = SecretString::from(bare);
    }
    let Some(file) = user.token_file.take().filter(|file| !file.is_empty()) else {
        if let Some(token) = &user.token {
            bearer(token.expose_secret(), "its token")?;
        }
        return Ok(None);
    };
    user.token = None;
    Token::of_file(Path::new(&file)).map(Some)
}

#[cfg(test)]
mod tests;
