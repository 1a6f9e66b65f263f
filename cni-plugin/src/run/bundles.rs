//! Containers of containerd, nerdctl and Podman by the files that these keep of what runs, below `root`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tweed_host::bounded_file::{self, KIB, Links, MIB};

use super::found::Container;
use crate::spec::json;

/// A folder for each namespace of containerd, in that one for each container that runs.
const TASKS: &str = "run/containerd/io.containerd.runtime.v2.task";

/// In it a folder for each containerd, with `names/<namespace>/<name>`, files that have the ID.
const NERDCTL: &str = "var/lib/nerdctl";

/// In each a folder for each storage driver, with lists of containers; in the second also the number of each one's
/// process.
const PODMAN: [&str; 2] = ["var/lib/containers/storage", "run/containers/storage"];

/// The second has what a reboot removes, and in most versions what removes itself at its end.
const LISTS: [&str; 2] = ["containers.json", "volatile-containers.json"];

/// A container of Podman's list.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Listed {
    id: String,
    names: Vec<String>,
}

/// One of containerd's, by `[NAMESPACE/]ID`.
pub(crate) fn containerd(root: &Path, name: &str) -> Container {
    let label = format!("containerd://{name}");
    let (namespace, id) = split(name);
    let tasks = below(&root.join(TASKS), namespace)
        .into_iter()
        .flat_map(|folder| below(&folder, None));
    let tasks = tasks
        .filter(|task| is_meant(&file_name(task), id))
        .collect();
    match only(tasks, |task| file_name(task) == id) {
        Ok(task) => {
            let number = number(&task.join("init.pid"));
            Container::of_process(label, file_name(&task), number)
        }
        Err(0) => Container::gone(label, format!("containerd runs no {name} (`ctr task ls`)")),
        Err(count) => several(label, count),
    }
}

/// One of nerdctl's, by `[NAMESPACE/]NAME`.
pub(crate) fn nerdctl(root: &Path, name: &str) -> Container {
    let label = format!("nerdctl://{name}");
    let (namespace, wanted) = split(name);
    let stores = below(&root.join(NERDCTL), None).into_iter();
    let namespaces = stores.flat_map(|store| below(&store.join("names"), namespace));
    let files = namespaces.map(|folder| folder.join(wanted));
    let files = files.filter(|file| file.is_file()).collect();
    let id = match only(files, |_| false) {
        Ok(file) => text(&file).unwrap_or_default(),
        Err(0) => return Container::gone(label, format!("nerdctl has no container {name}")),
        Err(count) => return several(label, count),
    };
    let id = match namespace {
        Some(namespace) => format!("{namespace}/{}", id.trim()),
        None => id.trim().to_owned(),
    };
    Container {
        label: Some(label),
        ..containerd(root, &id)
    }
}

/// One of Podman's, as root, by its name or ID.
pub(crate) fn podman(root: &Path, name: &str) -> Container {
    let folders = PODMAN.map(|folder| root.join(folder));
    let mut found = Vec::new();
    for driver in folders.iter().flat_map(|folder| below(folder, None)) {
        for path in LISTS.map(|list| driver.join(list)) {
            let listed = match listed(&path) {
                Ok(listed) => listed,
                Err(error) => {
                    let why = format!("{}: {error}", path.display());
                    return Container::unknown(format!("podman://{name}"), why);
                }
            };
            let has =
                |one: &Listed| is_meant(&one.id, name) || one.names.iter().any(|it| it == name);
            let ours = listed
                .into_iter()
                .filter(|one| !one.id.is_empty() && has(one));
            found.extend(ours.map(|one| (file_name(&driver), one)));
        }
    }
    let is_exact = |(_, one): &(String, Listed)| one.names.iter().any(|it| it == name);
    match only(found, is_exact) {
        Ok((driver, one)) => {
            let label = format!("podman://{}", one.names.first().unwrap_or(&one.id));
            let folder = folders[1].join(driver).join(&one.id);
            let number = number(&folder.join("userdata/pidfile"));
            Container::of_process(label, one.id, number)
        }
        Err(0) => Container::gone(
            format!("podman://{name}"),
            format!("Podman, as root, has no container {name}; of a user's give pid:NUMBER"),
        ),
        Err(count) => several(format!("podman://{name}"), count),
    }
}

/// A list of Podman's; none is empty.
fn listed(path: &Path) -> io::Result<Vec<Listed>> {
    let list = match bounded_file::read(path, Links::Refused, 64 * MIB) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        list => list?,
    };
    let list = json::parse(&list).and_then(|list| json::read(&list));
    list.map_err(io::Error::other)
}

/// Whether that is the ID, or a beginning of it as engines print them. A container that is gone may have had a shorter
/// name, with which another one's begins.
fn is_meant(id: &str, name: &str) -> bool {
    let is_short = name.len() >= 8 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    id == name || is_short && id.len() == 64 && id.starts_with(name)
}

/// The one of several that is meant; else how many there are.
fn only<T>(mut found: Vec<T>, is_exact: impl Fn(&T) -> bool) -> Result<T, usize> {
    if let Some(exact) = found.iter().position(&is_exact) {
        let rest = found.iter().filter(|one| is_exact(one)).count();
        return match rest {
            1 => Ok(found.swap_remove(exact)),
            count => Err(count),
        };
    }
    match found.len() {
        1 => Ok(found.swap_remove(0)),
        count => Err(count),
    }
}

fn several(label: String, count: usize) -> Container {
    let why =
        format!("{count} containers are meant by {label}: give more of its ID, or its namespace");
    Container::unknown(label, why)
}

fn split(name: &str) -> (Option<&str>, &str) {
    match name.split_once('/') {
        Some((namespace, name)) => (Some(namespace), name),
        None => (None, name),
    }
}

/// The folders in a folder, or the one of that name.
fn below(folder: &Path, name: Option<&str>) -> Vec<PathBuf> {
    if let Some(name) = name {
        return vec![folder.join(name)];
    }
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut folders: Vec<_> = entries.map(|entry| entry.path()).collect();
    folders.retain(|path| path.is_dir());
    folders
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn text(path: &Path) -> Option<String> {
    bounded_file::read_text(path, Links::Refused, KIB).ok()
}

fn number(path: &Path) -> Option<u32> {
    text(path)?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::found::State;
    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn id(container: &Container) -> &str {
        container.id.as_deref().unwrap_or_default()
    }

    fn why(container: &Container) -> &str {
        match &container.state {
            State::Stopped(why) => why,
            other => panic!("{other:?}"),
        }
    }

    /// An ID as engines make them.
    fn long(start: &str) -> String {
        format!("{start:0<64}")
    }

    fn unknown(container: &Container) -> String {
        match &container.state {
            State::Unknown(failure) => failure.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_task_of_containerd_is_found_by_its_id_or_the_printed_beginning_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let ids = [long("01234567aa"), long("01234567ab")];
        for (namespace, id) in [("a", "web2"), ("b", "web2"), ("a", &ids[0]), ("b", &ids[1])] {
            write(
                dir.path(),
                &format!("{TASKS}/{namespace}/{id}/init.pid"),
                "1",
            );
        }
        let find = |name: &str| containerd(dir.path(), name);
        assert_eq!(id(&find("a/web2")), "web2");
        assert_eq!(id(&find("01234567aa")), ids[0]);
        assert_eq!(id(&find("b/01234567")), ids[1]);
        for several in ["web2", "01234567"] {
            let why = unknown(&find(several));
            assert!(why.contains("2 containers are meant"), "{why}");
        }
        for none in ["web", "0123456", "c/web2"] {
            assert!(why(&find(none)).contains("containerd runs no"), "{none}");
        }
        assert!(
            why(&find("a/web2")).contains("does not run"),
            "1 is no child of a shim"
        );
    }

    #[test]
    fn nerdctls_names_lead_to_containerds_tasks() {
        let dir = tempfile::tempdir().unwrap();
        write(
            dir.path(),
            &format!("{NERDCTL}/1935db59/names/default/web"),
            "abc",
        );
        write(dir.path(), &format!("{TASKS}/default/abc/init.pid"), "1");
        for name in ["web", "default/web"] {
            let found = nerdctl(dir.path(), name);
            assert_eq!(id(&found), "abc");
            assert_eq!(found.label, Some(format!("nerdctl://{name}")));
        }
        assert!(why(&nerdctl(dir.path(), "other")).contains("nerdctl has no container other"));
    }

    #[test]
    fn podmans_containers_are_found_by_name_and_id_in_both_lists() {
        let dir = tempfile::tempdir().unwrap();
        let (web, db) = (long("0123456789ab"), long("ab"));
        let list = format!(r#"[{{"id": "{web}", "names": ["web"], "more": 1}}]"#);
        let path = |list: &str| format!("{}/overlay-containers/{list}", PODMAN[0]);
        write(dir.path(), &path(LISTS[0]), &list);
        let list = format!(r#"[{{"id": "{db}", "names": ["db", "01234567"]}}]"#);
        write(dir.path(), &path(LISTS[1]), &list);
        for (name, expected) in [
            ("web", &web),
            ("0123456789", &web),
            ("01234567", &db),
            (&db, &db),
        ] {
            assert_eq!(
                id(&podman(dir.path(), name)),
                expected,
                "a name goes before an ID"
            );
        }
        let label = podman(dir.path(), "0123456789ab").label;
        assert_eq!(label.as_deref(), Some("podman://web"));
        assert!(why(&podman(dir.path(), "we")).contains("as root, has no container we"));
        // What can't be read says nothing of any container.
        write(dir.path(), &path(LISTS[1]), "[");
        assert!(unknown(&podman(dir.path(), "web")).contains("volatile-containers.json"));
    }
}
