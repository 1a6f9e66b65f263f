//! Where networks are configured: a folder of files, or one file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tweed_host::bounded_file::{self, Links, MIB};
use tweed_model::plugins::BINARY;

use super::failure::Failure;
use super::list::{Entry, NetworkList};
use crate::runtime::log;

/// The folder that runtimes read.
pub(crate) const FOLDER: &str = "/etc/cni/net.d";

/// The longest file that is read, in bytes.
const LONGEST: usize = 8 * MIB;

/// A list of plugins, in a file's name.
const LIST: &str = "conflist";

/// A single plugin, the older form.
const SINGLE: [&str; 2] = ["conf", "json"];

/// Finds a network by its name in the folder, or reads it from the file that is named instead.
///
/// # Errors
/// There is none, or it is of no use.
pub(crate) fn load(folder: &Path, network: &str) -> Result<NetworkList, Failure> {
    let path = Path::new(network);
    if network.contains('/') || is(path, &[LIST, SINGLE[0], SINGLE[1]]) && path.is_file() {
        return of_file(path).map_err(|failure| failure.context(path.display()));
    }
    let mut lists = Vec::new();
    for (extensions, read) in [
        (
            &[LIST][..],
            of_list as fn(&Path) -> Result<NetworkList, Failure>,
        ),
        (&SINGLE[..], of_single),
    ] {
        for path in files(folder, extensions)? {
            // Another network's mistake is none of this one's.
            match read(&path) {
                Ok(list) if list.name == network => return Ok(list),
                Ok(list) => lists.push(list),
                Err(failure) => {
                    log::line(format_args!("{}: {failure}; passed over", path.display()))
                }
            }
        }
    }
    let names: Vec<&str> = lists.iter().map(|list| list.name.as_str()).collect();
    let has = match names.as_slice() {
        [] => "no network".to_owned(),
        names => names.join(", "),
    };
    let dir = folder.display();
    let msg = format!(
        "there is no network {network} in {dir}, which has {has}; NETCONFPATH or --conf-dir names another folder"
    );
    // The network of the agent, whatever its list is called.
    lists.retain(|list| network == BINARY && is_agents(list));
    match lists.len() {
        1 => Ok(lists.swap_remove(0)),
        _ => Err(Failure::network(msg)),
    }
}

fn is_agents(list: &NetworkList) -> bool {
    let first = list.plugins.first();
    first.is_some_and(|entry| [BINARY, "flannel"].contains(&entry.program.as_str()))
}

/// By what stands in it: the name of a file that is named itself says nothing.
fn of_file(path: &Path) -> Result<NetworkList, Failure> {
    let failed = match of_list(path) {
        Ok(list) => return Ok(list),
        Err(failure) => failure,
    };
    // What has a type is a single plugin.
    of_single(path).map_err(|single| if is(path, &SINGLE) { single } else { failed })
}

fn of_list(path: &Path) -> Result<NetworkList, Failure> {
    let mut list = NetworkList::from_bytes(read(path)?)?;
    if !list.only_inlined {
        let folder = path.parent().unwrap_or(Path::new("")).join(&list.name);
        for path in files(&folder, &SINGLE[..1])? {
            let entry = Entry::from_bytes(&read(&path)?);
            let entry = entry.map_err(|failure| failure.context(path.display()))?;
            list.plugins.push(entry);
        }
    }
    if list.plugins.is_empty() {
        return Err(Failure::network("it has no plugins"));
    }
    Ok(list)
}

fn of_single(path: &Path) -> Result<NetworkList, Failure> {
    NetworkList::from_single(&read(path)?)
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    bounded_file::read(path, Links::Followed, LONGEST).map_err(Failure::network)
}

fn is(path: &Path, extensions: &[&str]) -> bool {
    let extension = path.extension().unwrap_or_default();
    extensions.iter().any(|known| extension == *known)
}

/// The files of a folder with these endings, in the order of their names. A folder that isn't there has none.
fn files(folder: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>, Failure> {
    let failed = |error: io::Error| Failure::network(format!("read {}: {error}", folder.display()));
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if is(&path, extensions) && !path.is_dir() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn of(files: &[(&str, &str)]) -> Self {
            let dir = tempfile::tempdir().unwrap();
            for (name, text) in files {
                let path = dir.path().join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            Self(dir)
        }

        /// The types of a network's plugins.
        fn plugins(&self, network: &str) -> Result<Vec<String>, String> {
            let list = load(self.0.path(), network).map_err(|failure| failure.to_string())?;
            Ok(list
                .plugins
                .into_iter()
                .map(|entry| entry.program)
                .collect())
        }
    }

    const FILES: &[(&str, &str)] = &[
        ("05-broken.conflist", "{"),
        (
            "10-a.conflist",
            r#"{"name": "a", "plugins": [{"type": "first"}]}"#,
        ),
        (
            "20-a.conflist",
            r#"{"name": "a", "plugins": [{"type": "second"}]}"#,
        ),
        ("a/20-y.conf", r#"{"type": "y"}"#),
        ("a/10-x.conf", r#"{"type": "x"}"#),
        ("a/30-z.json", r#"{"type": "z"}"#),
        (
            "30-b.conflist",
            r#"{"name": "b", "loadOnlyInlinedPlugins": true, "plugins": [{"type": "b"}]}"#,
        ),
        ("b/10-x.conf", r#"{"type": "x"}"#),
        ("40-c.conflist", r#"{"name": "c"}"#),
        ("c/10-x.conf", r#"{"type": "x"}"#),
        ("01-d.json", r#"{"name": "d", "type": "single"}"#),
        ("02-b.conf", r#"{"name": "b", "type": "single"}"#),
        ("50-e.conflist", r#"{"name": "e"}"#),
        ("60-f.txt", r#"{"name": "f", "plugins": [{"type": "x"}]}"#),
    ];

    #[test]
    fn a_network_is_found_by_its_name_lists_first_with_the_plugins_of_its_folder() {
        let folder = Folder::of(FILES);
        for (network, plugins) in [
            ("a", &["first", "x", "y"][..]),
            ("b", &["b"]),
            ("c", &["x"]),
            ("d", &["single"]),
        ] {
            assert_eq!(folder.plugins(network).unwrap(), plugins, "{network}");
        }
        for network in ["e", "f", "tweed"] {
            let why = folder.plugins(network).unwrap_err();
            assert!(why.contains("which has a, a, b, c, d, b;"), "{why}");
        }
    }

    #[test]
    fn a_file_is_read_by_what_stands_in_it() {
        let folder = Folder::of(FILES);
        let path = |name: &str| folder.0.path().join(name).to_string_lossy().into_owned();
        assert_eq!(folder.plugins(&path("60-f.txt")).unwrap(), ["x"]);
        assert_eq!(folder.plugins(&path("01-d.json")).unwrap(), ["single"]);
        for (name, why) in [
            ("05-broken.conflist", "no JSON"),
            ("50-e.conflist", "it has no plugins"),
            ("a/10-x.conf", "name is \"\""),
            ("none.conflist", "No such file"),
            ("a", "regular file"),
        ] {
            let error = folder.plugins(&path(name)).unwrap_err();
            assert!(error.contains(why) && error.contains(name), "{error}");
        }
    }

    #[test]
    fn the_agents_network_is_also_found_by_the_plugins_name() {
        let ours = r#"{"name": "cbr0", "plugins": [{"type": "flannel"}, {"type": "portmap"}]}"#;
        let files = [("10-flannel.conflist", ours), FILES[1]];
        assert_eq!(Folder::of(&files).plugins("tweed").unwrap()[0], "flannel");
        assert!(Folder::of(&files).plugins("flannel").is_err());
        let two = [files[0], ("20-x.conflist", &ours.replace("cbr0", "cbr1"))];
        assert!(Folder::of(&two).plugins("tweed").is_err(), "which of them?");
    }
}
