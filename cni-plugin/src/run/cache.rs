//! Results of ADD, kept for CHECK, DEL and GC in the files and the form of libcni, so that every runtime detaches what
//! another has attached.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use tweed_host::bounded_file::{self, Links, MIB};
use tweed_host::whole_file::OnDisk;

use super::base64;
use super::endpoint::{Endpoint, Given};
use super::failure::{Failure, Reason};
use super::go_json;
use super::list::NetworkList;
use crate::spec::args::Args;
use crate::spec::call::validate;
use crate::spec::{Attachment, json};
use crate::state::file;

/// Where libcni keeps results if its caller names no other folder.
pub(crate) const FOLDER: &str = "/var/lib/cni";

const KIND: &str = "cniCacheV1";

/// The longest file that is read, in bytes.
const LONGEST: usize = 8 * MIB;

pub(crate) struct Cache {
    results: PathBuf,
}

/// What is kept of an attachment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Kept {
    pub(crate) endpoint: Endpoint,
    pub(crate) result: Option<Value>,
    /// The list with which it was attached.
    config: Vec<u8>,
}

impl Cache {
    pub(crate) fn new(folder: &Path) -> Self {
        Self {
            results: folder.join("results"),
        }
    }

    /// For messages.
    pub(crate) fn folder(&self) -> std::path::Display<'_> {
        self.results.display()
    }

    /// Keeps a result, in place of an earlier one.
    ///
    /// # Errors
    /// When it can't be written.
    pub(crate) fn keep(
        &self,
        list: &NetworkList,
        endpoint: &Endpoint,
        result: &Value,
    ) -> Result<(), Failure> {
        let path = self.path(&list.name, &endpoint.key);
        let mut builder = fs::DirBuilder::new();
        let made = builder.recursive(true).mode(0o700).create(&self.results);
        let text = go_json::line(&written(list, endpoint, result));
        made.and_then(|()| {
            let unfinished = file::unfinished(&path);
            file::replace(&path, &unfinished, &text, OnDisk::Nothing)
        })
        .map_err(|error| {
            let msg = format!("keep the result in {}: {error}", path.display());
            Failure::new(Reason::Other, msg)
        })
    }

    /// What is kept of one attachment. An older form of the file has the result alone.
    pub(crate) fn of(&self, network: &str, key: &Attachment) -> Option<Kept> {
        let value = read(&self.path(network, key)).ok()?;
        if kind(&value) == Some(KIND) {
            return kept(&value).map(|(_, kept)| kept);
        }
        let endpoint = Endpoint {
            key: key.clone(),
            netns: String::new(),
            given: Given::default(),
            container: None,
        };
        Some(Kept {
            endpoint,
            result: value.is_object().then_some(value),
            config: Vec::new(),
        })
    }

    /// All of one network, in the order of their names. What can't be read is passed over.
    ///
    /// # Errors
    /// When the folder can't be read.
    pub(crate) fn of_network(&self, network: &str) -> Result<Vec<Kept>, Failure> {
        let failed = |error: io::Error| {
            let msg = format!("read {}: {error}", self.results.display());
            Failure::new(Reason::Other, msg)
        };
        let entries = match fs::read_dir(&self.results) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed)?,
        };
        let start = format!("{network}-");
        let names = entries.map(|entry| entry.map(|entry| entry.file_name()));
        let mut names: Vec<_> = names.collect::<io::Result<_>>().map_err(failed)?;
        names.retain(|name| name.to_string_lossy().starts_with(&start));
        names.sort();
        let values = names.iter().map(|name| read(&self.results.join(name)));
        let all = values.filter_map(|value| kept(&value.ok()?));
        let ours = all.filter(|(name, _)| name == network);
        Ok(ours.map(|(_, kept)| kept).collect())
    }

    /// Removes what is kept, if anything is.
    ///
    /// # Errors
    /// When it is there and can't be removed.
    pub(crate) fn forget(&self, network: &str, key: &Attachment) -> Result<(), Failure> {
        Ok(file::forget(&self.path(network, key))?)
    }

    fn path(&self, network: &str, key: &Attachment) -> PathBuf {
        let name = format!("{network}-{}-{}", key.container_id, key.ifname);
        self.results.join(name)
    }
}

impl Kept {
    /// The list with which it was attached, less the plugins that other files add to it.
    pub(crate) fn list(&self) -> Option<NetworkList> {
        NetworkList::from_bytes(self.config.clone()).ok()
    }
}

fn written(list: &NetworkList, endpoint: &Endpoint, result: &Value) -> Value {
    let mut file = Map::new();
    let mut put = |key: &str, value: Value| file.insert(key.to_owned(), value);
    put("kind", KIND.into());
    put("containerId", endpoint.key.container_id.as_str().into());
    put("config", base64::encode(&list.bytes).into());
    put("ifName", endpoint.key.ifname.as_str().into());
    put("networkName", list.name.as_str().into());
    if !endpoint.netns.is_empty() {
        put("netns", endpoint.netns.as_str().into());
    }
    if !endpoint.given.args.is_empty() {
        let pairs = endpoint.given.args.pairs().iter();
        put("cniArgs", pairs.map(|(k, v)| vec![k.as_str(), v]).collect());
    }
    if !endpoint.given.values.is_empty() {
        let values = Value::Object(endpoint.given.values.clone());
        put("capabilityArgs", json::sorted(&values));
    }
    put("result", json::sorted(result));
    // Ours alone; other readers pass over it.
    if let Some(container) = &endpoint.container {
        put(CONTAINER, container.as_str().into());
    }
    file.into()
}

const CONTAINER: &str = "tweedContainer";

fn read(path: &Path) -> io::Result<Value> {
    let bytes = bounded_file::read(path, Links::Refused, LONGEST)?;
    json::parse(&bytes).map_err(io::Error::other)
}

fn kind(value: &Value) -> Option<&str> {
    json::get_in(value, "kind")?.as_str()
}

/// The network and the rest of a file.
fn kept(value: &Value) -> Option<(String, Kept)> {
    if kind(value) != Some(KIND) {
        return None;
    }
    let text = |key: &str| json::get_in(value, key).and_then(Value::as_str);
    let full = |key: &str| text(key).filter(|text| !text.is_empty());
    let pair = |pair: &Value| match pair.as_array()?.as_slice() {
        [key, value] => Some((key.as_str()?.to_owned(), value.as_str()?.to_owned())),
        _ => None,
    };
    let pairs = json::get_in(value, "cniArgs").and_then(Value::as_array);
    let pairs = pairs.into_iter().flatten().filter_map(pair).collect();
    let object = |key: &str| json::get_in(value, key).and_then(Value::as_object).cloned();
    let endpoint = Endpoint {
        key: Attachment {
            container_id: full("containerId")?.to_owned(),
            ifname: full("ifName")?.to_owned(),
        },
        netns: text("netns").unwrap_or_default().to_owned(),
        given: Given {
            args: Args::of_pairs(pairs),
            values: object("capabilityArgs").unwrap_or_default(),
        },
        container: text(CONTAINER).map(str::to_owned),
    };
    // They become parts of paths.
    validate(&endpoint.key).ok()?;
    let kept = Kept {
        endpoint,
        result: object("result").map(Value::Object),
        config: text("config").and_then(base64::decode).unwrap_or_default(),
    };
    Some((full("networkName")?.to_owned(), kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_reads_as_the_same_and_goes() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path());
        let list = br#"{"cniVersion":"1.0.0","name":"net","plugins":[{"type":"t"}]}"#;
        let list = NetworkList::from_bytes(list.to_vec()).unwrap();
        let endpoint = Endpoint {
            key: Attachment {
                container_id: "abc".into(),
                ifname: "net1".into(),
            },
            netns: "/run/netns/x".into(),
            given: Given::parse("A=1;B=2", r#"{"mac": "02:00:00:00:00:01"}"#).unwrap(),
            container: Some("docker://web".into()),
        };
        let result = serde_json::json!({"cniVersion": "1.0.0"});
        cache.keep(&list, &endpoint, &result).unwrap();
        let kept = cache.of("net", &endpoint.key).unwrap();
        assert_eq!(kept.endpoint, endpoint);
        assert_eq!(kept.result, Some(result));
        assert_eq!(kept.list(), Some(list));
        // A network whose name begins likewise is another one.
        fs::copy(
            dir.path().join("results/net-abc-net1"),
            dir.path().join("results/net-x-abc-net1"),
        )
        .unwrap();
        assert_eq!(cache.of_network("net").unwrap().len(), 2);
        assert_eq!(cache.of_network("net-x").unwrap(), []);
        cache.forget("net", &endpoint.key).unwrap();
        cache.forget("net", &endpoint.key).unwrap();
        assert_eq!(cache.of("net", &endpoint.key), None);
    }

    proptest::proptest! {
        #[test]
        fn any_file_is_read_or_passed_over(
            value in crate::arbitrary::json(
                "containerId|config|ifName|networkName|netns|cniArgs|capabilityArgs|result",
                "[a-z]{1,4}|Zm9v",
            ),
        ) {
            let mut value = value;
            if let Some(object) = value.as_object_mut() {
                object.insert("kind".into(), KIND.into());
            }
            let _ = kept(&value);
        }
    }
}
