//! The Kubernetes store: how to reach the API server, and which node this is.

use tweed_model::annotations::Prefix;
use tweed_store::kube::{KubeOptions, NodeName};

use crate::config::flags;
use crate::config::settings::{Settings, UsageError};

use super::note::Note;
use super::values::path;

pub(super) fn read(
    settings: &Settings<'_>,
    notes: &mut Vec<Note>,
) -> Result<KubeOptions, UsageError> {
    let prefix = settings.required(
        &flags::KUBE_ANNOTATION_PREFIX,
        "a prefix of annotations: a lower-case DNS name with a dot in it, perhaps with a word behind a slash",
        |text| Prefix::parse(text).ok(),
    )?;
    Ok(KubeOptions {
        servers: servers(settings, notes)?,
        kubeconfig: settings
            .text(&flags::KUBECONFIG_FILE)
            .map(|(_, file)| file.into()),
        prefix,
        config_file: path(settings, &flags::NET_CONFIG_PATH),
        node: node(settings),
        set_condition: settings.switch(&flags::SET_NODE_NETWORK_UNAVAILABLE)?,
        remove_taints: settings
            .text(&flags::REMOVE_NODE_TAINTS)
            .map(|(_, keys)| words(&keys))
            .unwrap_or_default(),
    })
}

fn servers(settings: &Settings<'_>, notes: &mut Vec<Note>) -> Result<Vec<String>, UsageError> {
    let expected = "a list of addresses such as https://10.0.0.1:6443,https://10.0.0.2:6443";
    for flag in [&flags::KUBE_API, &flags::KUBE_API_URL] {
        if let Some((source, text)) = settings.text(flag)
            && text.contains('@')
        {
            return Err(UsageError(format!(
                "{source}: an address has no user and password in it (not shown here); they go into the file of --kubeconfig-file"
            )));
        }
    }
    let list = |flag| settings.parsed(flag, expected, urls);
    let ours = list(&flags::KUBE_API)?;
    let flannels = list(&flags::KUBE_API_URL)?;
    if let (Some(_), Some(source)) = (&ours, settings.given(&flags::KUBE_API_URL)) {
        notes.push(Note::new(source, "has no effect beside --kube-api"));
    }
    Ok(ours.or(flannels).unwrap_or_default())
}

fn words(text: &str) -> Vec<String> {
    let words = text.split(',').map(str::trim);
    words
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Addresses of API servers; one without a scheme is `https://`.
fn urls(text: &str) -> Option<Vec<String>> {
    let urls = words(text).into_iter().map(|word| {
        let (scheme, rest) = word.split_once("://").unwrap_or(("https", &word));
        let host = rest.trim_end_matches('/');
        let fine = matches!(scheme, "http" | "https")
            && !host.is_empty()
            && !host.contains(['@', '?', '#', ' ']);
        fine.then(|| format!("{scheme}://{host}"))
    });
    let urls: Vec<String> = urls.collect::<Option<_>>()?;
    (!urls.is_empty()).then_some(urls)
}

/// By name, or by the pod in which the agent runs. The variables are those of flannel's manifests.
fn node(settings: &Settings<'_>) -> NodeName {
    if let Some((_, name)) = settings.text(&flags::NODE_NAME) {
        return NodeName::Known(name);
    }
    if let Some(name) = settings.variable("NODE_NAME") {
        return NodeName::Known(name);
    }
    match (
        settings.variable("POD_NAMESPACE"),
        settings.variable("POD_NAME"),
    ) {
        (Some(namespace), Some(pod)) => NodeName::OfPod { namespace, pod },
        _ => NodeName::Unknown,
    }
}
