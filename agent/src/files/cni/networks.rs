//! The networks of the lists in a folder whose first plugin is flannel's or ours.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tweed_host::bounded_file::{self, Links};

use super::conflist::{is_configuration, is_flannels};
use super::limits::LIST_LIMIT;
use crate::config::cni_names;

/// A network of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    pub name: String,
    /// Folders that the list names for reservations.
    pub reservations: Vec<PathBuf>,
}

/// The networks as they are now. What can't be read is none.
pub fn networks(conf_dir: &Path) -> Vec<Network> {
    let entries = std::fs::read_dir(conf_dir).into_iter().flatten().flatten();
    let files = entries.filter(|entry| is_configuration(&entry.file_name().to_string_lossy()));
    files
        .filter_map(|entry| {
            let content = bounded_file::read(&entry.path(), Links::Followed, LIST_LIMIT).ok()?;
            network(&content)
        })
        .collect()
}

fn network(content: &[u8]) -> Option<Network> {
    let list: Value = serde_json::from_slice(content).ok()?;
    // A file with one plugin has no list.
    let plugins = match list["plugins"].as_array() {
        Some(plugins) if is_flannels(content) => plugins.as_slice(),
        None if matches!(list["type"].as_str(), Some("flannel" | cni_names::PLUGIN)) => {
            std::slice::from_ref(&list)
        }
        _ => return None,
    };
    let name = list["name"].as_str()?;
    cni_names::file_name(name).ok()?;
    let folders = plugins.iter().flat_map(|plugin| {
        let ipam = [&plugin["ipam"], &plugin["delegate"]["ipam"]];
        ipam.map(|ipam| ipam["dataDir"].as_str())
    });
    let folders = folders.flatten().filter(|folder| folder.starts_with('/'));
    Some(Network {
        name: name.to_owned(),
        reservations: folders.map(PathBuf::from).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_those_of_our_lists_alone() {
        let dir = tempfile::tempdir().expect("a folder");
        for (file, text) in [
            (
                "10-a.conflist",
                r#"{"name":"a","plugins":[{"type":"tweed"},{"type":"istio-cni"}]}"#,
            ),
            (
                "20-b.conf",
                r#"{"name":"b","type":"flannel","ipam":{"dataDir":"/b"}}"#,
            ),
            (
                "30-c.conflist",
                r#"{"name":"c","plugins":[{"type":"bridge"},{"type":"tweed"}]}"#,
            ),
            (
                "40-d.conflist",
                r#"{"name":"../d","plugins":[{"type":"tweed"}]}"#,
            ),
            ("50-e.txt", r#"{"name":"e","plugins":[{"type":"tweed"}]}"#),
            ("60-f.conflist", "{"),
            (
                ".10-g.conflist.withdrawn",
                r#"{"name":"g","plugins":[{"type":"tweed"}]}"#,
            ),
        ] {
            std::fs::write(dir.path().join(file), text).expect("written");
        }
        let mut found = networks(dir.path());
        found.sort_by(|a, b| a.name.cmp(&b.name));
        let names: Vec<&str> = found.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(found[1].reservations, [Path::new("/b")]);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "(?s).{0,60}", plugins in "null|1|\\[1\\]|\\[\\{\"type\":\"tweed\",\"ipam\":[0-9]\\}\\]") {
            for text in [text, format!(r#"{{"name":"n","plugins":{plugins}}}"#)] {
                let _ = network(text.as_bytes());
            }
        }
    }
}
