//! Which store, and how to reach it.

use std::path::{Path, PathBuf};

use tweed_host::bounded_file::{self, KIB, Links};
use tweed_model::annotations::Prefix;
use tweed_model::wire::EtcdKeys;
use tweed_store::kube;

use crate::config::flags;
use crate::config::instance::Instance;
use crate::config::secret::Secret;
use crate::config::settings::{Settings, UsageError};

use super::note::Note;

/// Where leases come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreOptions {
    /// An etcd cluster.
    Etcd(EtcdOptions),
    /// The Kubernetes API.
    Kube(kube::KubeOptions),
    /// A folder.
    File {
        /// The folder.
        dir: PathBuf,
    },
}

/// How to reach etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdOptions {
    /// URLs with scheme, all `http://` or all `https://`. Never empty.
    pub endpoints: Vec<String>,
    /// Prefix of all keys, as given.
    pub prefix: String,
    /// Certificates; `Some` exactly when the endpoints are `https://`.
    pub tls: Option<TlsOptions>,
    /// User and password.
    pub user: Option<(String, Secret)>,
}

/// Certificates, as files in PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// Authorities that sign the servers' certificates; the system's list where absent.
    pub ca: Option<PathBuf>,
    /// Certificate and key of the client.
    pub client: Option<(PathBuf, PathBuf)>,
}

impl StoreOptions {
    /// Reads the flags that name a store.
    ///
    /// # Errors
    /// If one of them is unusable.
    pub fn read(settings: &Settings<'_>) -> Result<Self, UsageError> {
        read(settings, &mut Vec::new())
    }

    /// The instance name of this store's network.
    pub fn instance(&self) -> Instance {
        match self {
            Self::Etcd(etcd) => Instance::derived(
                etcd.keys().config(),
                EtcdKeys::new(flags::ETCD_PREFIX.default).config(),
            ),
            Self::Kube(kube) => {
                Instance::derived(&kube.prefix.to_string(), &Prefix::default().to_string())
            }
            Self::File { dir } => Instance::derived(
                &dir.components().collect::<PathBuf>().to_string_lossy(),
                flags::STORE_DIR.default,
            ),
        }
    }
}

impl EtcdOptions {
    /// The keys below the prefix.
    pub fn keys(&self) -> EtcdKeys {
        EtcdKeys::new(&self.prefix)
    }
}

pub(super) fn read(
    settings: &Settings<'_>,
    notes: &mut Vec<Note>,
) -> Result<StoreOptions, UsageError> {
    let kinds = "a store; there are: etcd, kube, file";
    let kind = settings.required(&flags::STORE, kinds, |text| match text {
        "etcd" => Some(Kind::Etcd),
        "kube" => Some(Kind::Kube),
        "file" => Some(Kind::File),
        _ => None,
    })?;
    match flannels(settings, kind)? {
        Kind::Etcd => Ok(StoreOptions::Etcd(etcd(settings, notes)?)),
        Kind::Kube => Ok(StoreOptions::Kube(super::kube::read(settings, notes)?)),
        Kind::File => {
            let dir = settings
                .text(&flags::STORE_DIR)
                .map_or_else(|| flags::STORE_DIR.default.to_owned(), |(_, dir)| dir);
            Ok(StoreOptions::File { dir: dir.into() })
        }
    }
}

/// What `--store` takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Etcd,
    Kube,
    File,
}

/// flannel has a switch for Kubernetes. It must not contradict `--store`.
fn flannels(settings: &Settings<'_>, kind: Kind) -> Result<Kind, UsageError> {
    if !settings.switch(&flags::KUBE_SUBNET_MGR)? {
        return Ok(kind);
    }
    match (settings.given(&flags::STORE), kind) {
        (Some(source), Kind::Etcd | Kind::File) => Err(UsageError(format!(
            "{source} and --kube-subnet-mgr name two stores; leave one of them out"
        ))),
        _ => Ok(Kind::Kube),
    }
}

fn etcd(settings: &Settings<'_>, notes: &mut Vec<Note>) -> Result<EtcdOptions, UsageError> {
    let certificates = certificates(settings)?;
    let (endpoints, encrypted) = endpoints(settings, certificates.is_some(), notes)?;
    if !encrypted && certificates.is_some() {
        notes.push(Note::new(
            "--etcd-cafile, --etcd-certfile and --etcd-keyfile",
            "have no effect: the first of --etcd-endpoints is http://, so that everything goes in plain text",
        ));
    }
    Ok(EtcdOptions {
        endpoints,
        prefix: settings
            .text(&flags::ETCD_PREFIX)
            .map_or_else(|| flags::ETCD_PREFIX.default.to_owned(), |(_, text)| text),
        tls: encrypted.then(|| certificates.unwrap_or_default()),
        user: user(settings, notes)?,
    })
}

fn certificates(settings: &Settings<'_>) -> Result<Option<TlsOptions>, UsageError> {
    let file = |flag| settings.text(flag).map(|(_, path)| PathBuf::from(path));
    let ca = file(&flags::ETCD_CAFILE);
    let client = match (file(&flags::ETCD_CERTFILE), file(&flags::ETCD_KEYFILE)) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        (Some(_), None) => return Err(alone("--etcd-certfile", "--etcd-keyfile")),
        (None, Some(_)) => return Err(alone("--etcd-keyfile", "--etcd-certfile")),
    };
    let some = ca.is_some() || client.is_some();
    Ok(some.then_some(TlsOptions { ca, client }))
}

fn alone(given: &str, missing: &str) -> UsageError {
    UsageError(format!("{given} needs {missing} beside it"))
}

/// The endpoints with one scheme for all, and whether it is the encrypted one. As in flannel the first endpoint
/// decides; without a scheme there, the certificates do.
fn endpoints(
    settings: &Settings<'_>,
    certificates: bool,
    notes: &mut Vec<Note>,
) -> Result<(Vec<String>, bool), UsageError> {
    let expected = "a list of endpoints such as https://10.0.0.1:2379,https://10.0.0.2:2379";
    if let Some((source, text)) = settings.text(&flags::ETCD_ENDPOINTS)
        && text.contains('@')
    {
        return Err(UsageError(format!(
            "{source}: an endpoint has no user and password in it (not shown here); they go into --etcd-username and --etcd-password-file"
        )));
    }
    if let Some((source, text)) = settings.text(&flags::ETCD_ENDPOINTS)
        && let Some(endpoint) = text.split(',').map(str::trim).find(|one| has_no_port(one))
    {
        let whole = endpoint.trim_end_matches('/');
        return Err(UsageError(format!(
            "{source}: {endpoint:?} has no port; etcd's is 2379 unless it was set up otherwise: {whole}:2379"
        )));
    }
    let given = settings.required(&flags::ETCD_ENDPOINTS, expected, |text| {
        let list: Vec<String> = text
            .split(',')
            .map(str::trim)
            .filter(|endpoint| !endpoint.is_empty())
            .map(str::to_owned)
            .collect();
        let fine = !list.is_empty() && list.iter().all(|endpoint| authority(endpoint).is_some());
        fine.then_some(list)
    })?;
    let encrypted = match given[0].split_once("://") {
        Some((scheme, _)) => scheme.eq_ignore_ascii_case("https"),
        None => certificates,
    };
    let scheme = if encrypted { "https" } else { "http" };
    let mut changed = Vec::new();
    let endpoints = given
        .iter()
        .filter_map(|endpoint| {
            let url = format!("{scheme}://{}", authority(endpoint)?);
            let own = endpoint.split_once("://");
            if own.is_some_and(|(own, _)| !own.eq_ignore_ascii_case(scheme)) {
                changed.push(endpoint.clone());
            }
            Some(url)
        })
        .collect();
    if !changed.is_empty() {
        let text = format!(
            "takes the scheme of its first endpoint, {scheme}://, for {} too",
            changed.join(", ")
        );
        notes.push(Note::new("--etcd-endpoints", text));
    }
    Ok((endpoints, encrypted))
}

/// Whether an endpoint is right but for its port. Without one the scheme's would be taken, where no etcd listens.
fn has_no_port(endpoint: &str) -> bool {
    let Some(authority) = authority(endpoint) else {
        return false;
    };
    let host_ends = authority.rfind(']').map_or(0, |at| at + 1);
    let port = authority
        .get(host_ends..)
        .and_then(|rest| rest.rsplit_once(':'));
    !matches!(port, Some((_, port)) if !port.is_empty())
}

/// `host:port` of an endpoint; `None` if there is more or less than that, or another scheme.
fn authority(endpoint: &str) -> Option<&str> {
    let authority = match endpoint.split_once("://") {
        Some((scheme, rest)) => {
            let known = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
            known.then_some(rest)?
        }
        None => endpoint,
    };
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    let bare = !authority.is_empty() && !authority.contains(['/', '@', '?', '#', ' ', ';']);
    bare.then_some(authority)
}

fn user(
    settings: &Settings<'_>,
    notes: &mut Vec<Note>,
) -> Result<Option<(String, Secret)>, UsageError> {
    let name = settings.text(&flags::ETCD_USERNAME).map(|(_, name)| name);
    let password = match settings.text(&flags::ETCD_PASSWORD_FILE) {
        Some((source, file)) => Some(password_file(&source.to_string(), &file)?),
        None => settings
            .text(&flags::ETCD_PASSWORD)
            .map(|(_, text)| Secret::new(text)),
    };
    match (name, password) {
        (Some(name), Some(password)) => Ok(Some((name, password))),
        (None, None) => Ok(None),
        (name, _) => {
            let (given, missing) = match name {
                Some(_) => ("--etcd-username", "a password"),
                None => ("--etcd-password", "--etcd-username"),
            };
            let text =
                format!("has no effect without {missing}: etcd is used without authentication");
            notes.push(Note::new(given, text));
            Ok(None)
        }
    }
}

fn password_file(source: &str, file: &str) -> Result<Secret, UsageError> {
    let text = bounded_file::read_text(Path::new(file), Links::Followed, 64 * KIB)
        .map_err(|error| UsageError(format!("{source}: read {file}: {error}")))?;
    let password = text.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(UsageError(format!("{source}: {file} is empty")));
    }
    Ok(Secret::new(password))
}
