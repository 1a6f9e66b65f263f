//! `tweed run`: attaches containers by hand, as a container runtime does, with anybody's plugins. The same by the name
//! `cnitool`.

mod arguments;
mod attach;
mod base64;
mod bundles;
mod cache;
mod container;
mod docker;
mod endpoint;
mod failure;
mod folder;
mod found;
mod go_json;
mod input;
mod list;
mod network;
mod process;
mod programs;

use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;
use tweed_model::plugins::BINARY;

use self::arguments::{Order, Style};
use self::attach::Wanted;
use self::cache::Cache;
use self::container::Named;
use self::endpoint::{Endpoint, Given, absolute, id_of_path};
use self::failure::{Failure, Reason};
use self::found::{Container, State};
use self::list::NetworkList;
use self::network::Network;
use self::programs::Programs;
use crate::runtime::log;
use crate::runtime::plugin::Registry;
use crate::spec::call::validate;
use crate::spec::{Attachment, Verb, wire};
use crate::state::lock;

/// The folder of plugins unless `CNI_PATH` names others.
const PLUGINS: &str = "/opt/cni/bin";

/// Runs what the command line asks for, if it asks for this program, and answers the exit code.
pub(crate) fn run(argv0: &OsStr, arguments: &[String], ours: Registry) -> Option<u8> {
    let name = Path::new(argv0).file_name().unwrap_or_default();
    let (style, arguments) = match arguments {
        _ if name == "cnitool" => (Style::Cnitool, arguments),
        [first, rest @ ..] if name == BINARY && first == "run" => (Style::Run, rest),
        _ => return None,
    };
    let done = match Order::parse(style, arguments) {
        Ok(Some(order)) => carry_out(&order, ours),
        Ok(None) => print(style.help()),
        Err(failure) => Err(failure),
    };
    let Err(failure) = done else { return Some(0) };
    let program = match style {
        Style::Run => "tweed run",
        Style::Cnitool => "cnitool",
    };
    log::line(format_args!("{program}: {failure}"));
    Some(match style {
        Style::Run => failure.reason.exit_code(),
        Style::Cnitool => 1,
    })
}

fn carry_out(order: &Order, ours: Registry) -> Result<(), Failure> {
    let conf_dir = order
        .conf_dir
        .clone()
        .or_else(|| var("NETCONFPATH").map(PathBuf::from));
    let conf_dir = conf_dir.unwrap_or_else(|| folder::FOLDER.into());
    let path = var("CNI_PATH").unwrap_or_else(|| PLUGINS.to_owned());
    let programs = Programs {
        path: env::split_paths(&path).collect(),
        deadline: order.deadline,
        ours,
    };
    let cache = Cache::new(cache_dir(order));
    let given = Given::parse(
        &var("CNI_ARGS").unwrap_or_default(),
        &var("CAP_ARGS").unwrap_or_default(),
    )?;
    let loaded = folder::load(&conf_dir, &order.network);
    let network = |list| Network {
        list,
        programs: &programs,
        cache: &cache,
    };
    if order.style == Style::Cnitool {
        return as_cnitool(order, &network(&loaded?), given);
    }
    if !order.verb.has_attachment() {
        let list = loaded?;
        return about_network(order, &network(&list));
    }
    let _lock = exclusive(order)?;
    let wanted = wanted(order, given)?;
    let list = match loaded {
        // A network that is no more is detached as it was attached.
        Err(failure) if order.verb == Verb::Del => {
            kept_list(&cache, order, &wanted).ok_or(failure)?
        }
        loaded => loaded?,
    };
    let network = network(&list);
    let done = match order.verb {
        Verb::Add => attach::add(&network, &wanted).and_then(|result| show(&result)),
        Verb::Del => attach::del(&network, &wanted),
        _ => attach::check(&network, &wanted),
    };
    done.map_err(|failure| {
        let container = match &wanted.container.label {
            Some(label) => label,
            None => &order.container,
        };
        let (verb, name) = (order.verb.name().to_lowercase(), &list.name);
        failure.context(format!("{verb} {name} {container}"))
    })
}

/// The verbs that need no container.
fn about_network(order: &Order, network: &Network<'_>) -> Result<(), Failure> {
    let name = &network.list.name;
    let done = match order.verb {
        Verb::Gc => {
            let _lock = exclusive(order)?;
            if network.list.disable_gc {
                log::line(format_args!("{name} has disableGC: nothing is removed"));
            }
            attach::gc(network, &order.keep, order.all)
        }
        Verb::Status => network.status(),
        _ => network.versions().and_then(|versions| show(&versions)),
    };
    done.map_err(|failure| failure.context(format!("{} {name}", order.verb.name().to_lowercase())))
}

/// Nothing is guarded and nothing taken back.
fn as_cnitool(order: &Order, network: &Network<'_>, given: Given) -> Result<(), Failure> {
    let netns = absolute(&order.container).to_string_lossy().into_owned();
    let endpoint = Endpoint {
        key: Attachment {
            container_id: id_of_path(&netns),
            ifname: ifname(order).unwrap_or_else(|| "eth0".to_owned()),
        },
        netns,
        given,
        container: None,
    };
    match order.verb {
        Verb::Add => {
            let result = network.add(&endpoint)?;
            print(&wire::pretty(&result))
        }
        Verb::Del => network.del(&endpoint),
        Verb::Check => network.check(&endpoint),
        Verb::Gc => {
            let kept = network.cache.of_network(&network.list.name)?;
            let stale: Vec<_> = kept.into_iter().map(|one| one.endpoint).collect();
            network.gc(&stale, None)
        }
        Verb::Status => network.status(),
        Verb::Version => network.versions().and_then(|versions| show(&versions)),
    }
}

fn wanted(order: &Order, given: Given) -> Result<Wanted, Failure> {
    let mut ifname = ifname(order);
    let mut container = match order.container.as_str() {
        "" => Container {
            id: None,
            label: None,
            state: State::Stopped("no container is named".to_owned()),
        },
        text => {
            let named = Named::parse(text)?;
            if matches!(named, Named::Namespace(_)) {
                ifname = ifname.or_else(|| Some("eth0".to_owned()));
            }
            named.find()
        }
    };
    if order.id.is_some() {
        container.id.clone_from(&order.id);
    }
    let named = Attachment {
        container_id: container.id.clone().unwrap_or_default(),
        ifname: ifname.clone().unwrap_or_default(),
    };
    validate(&named).map_err(|error| Failure::new(Reason::Usage, error))?;
    Ok(Wanted {
        container,
        ifname,
        given,
        own_netns_allowed: var("CNI_NETNS_OVERRIDE").is_some(),
    })
}

fn kept_list(cache: &Cache, order: &Order, wanted: &Wanted) -> Option<NetworkList> {
    let kept = attach::kept_of(cache, &order.network, &wanted.container).ok()?;
    let list = kept.iter().find_map(cache::Kept::list)?;
    log::line(format_args!(
        "there is no network {} any more; what ADD had is used",
        list.name
    ));
    Some(list)
}

fn ifname(order: &Order) -> Option<String> {
    order.ifname.clone().or_else(|| var("CNI_IFNAME"))
}

fn cache_dir(order: &Order) -> &Path {
    order
        .cache_dir
        .as_deref()
        .unwrap_or(Path::new(cache::FOLDER))
}

/// By the specification nothing may be attached or detached during GC, and one container is attached by one at a time.
/// The lock is held by `tweed run` alone: runtimes know of none.
fn exclusive(order: &Order) -> Result<File, Failure> {
    let folder = cache_dir(order);
    fs::create_dir_all(folder).map_err(|error| {
        let msg = format!("make {}: {error}", folder.display());
        Failure::new(Reason::Other, msg)
    })?;
    Ok(lock::exclusive(
        &folder.join(".tweed-run.lock"),
        order.deadline,
    )?)
}

/// A variable of the environment that is not empty.
fn var(name: &str) -> Option<String> {
    let value = env::var_os(name).filter(|value| !value.is_empty())?;
    Some(value.to_string_lossy().into_owned())
}

fn show(value: &Value) -> Result<(), Failure> {
    print(&format!("{}\n", wire::pretty(value)))
}

fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout();
    let written = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    written.map_err(|error| Failure::new(Reason::Other, format!("print: {error}")))
}
