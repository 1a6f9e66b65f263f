//! Which agent a command is about, where its flags don't say: the one that runs here; else the one that has run here;
//! else the one that the unit's file describes. What the command line and the environment give wins over all of these.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use tweed_host::bounded_file::{self, Links, MIB};

use crate::config::environment_file;
use crate::config::flags::{self, Flag, Flags};
use crate::config::instance::Instance;
use crate::config::options::{HostOptions, StoreOptions};
use crate::config::settings::{Elsewhere, Environment, Settings, UsageError};
use crate::daemon::published::PublishedSettings;
use crate::files::state_dir::StateDir;
use crate::host::lock;
use crate::operator::client::{Agent, is_late};

/// How long an agent may take to say what it was given, which needs neither kernel nor store.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The file that the unit reads its variables from.
pub const UNIT_FILE: &str = "/etc/tweed/tweedd.env";

/// What a command works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// The agent and its host.
    Host,
    /// The store alone.
    Store,
}

/// Flags that say which agent is meant.
static NAMES_AGENT: &[&Flag] = &[
    &flags::SOCKET,
    &flags::INSTANCE,
    &flags::ETCD_PREFIX,
    &flags::STORE_DIR,
    &flags::STORE,
    &flags::KUBE_SUBNET_MGR,
    &flags::KUBE_ANNOTATION_PREFIX,
];

/// Flags with which a store is named as a whole.
static NAMES_STORE: &[&Flag] = &[
    &flags::STORE,
    &flags::STORE_DIR,
    &flags::ETCD_ENDPOINTS,
    &flags::KUBE_SUBNET_MGR,
    &flags::KUBE_API,
    &flags::KUBE_API_URL,
    &flags::KUBECONFIG_FILE,
];

/// What the agent was given that a command is about. Nothing, where the command line says it all or nobody knows.
///
/// # Errors
/// When several agents could be meant; or one runs that may not be asked.
pub fn agent(flags: &Flags, environment: Environment<'_>, about: About) -> Result<Elsewhere> {
    let own = Settings::new(flags, environment);
    let given = |flags: &[&'static Flag]| flags.iter().any(|flag| own.given(flag).is_some());
    let store_is_named = given(NAMES_STORE);
    if about == About::Store && store_is_named {
        return Ok(Elsewhere::default());
    }
    let host = HostOptions::read(&own, &StoreOptions::read(&own)?)?;
    let named = given(NAMES_AGENT).then_some(&host.instance);
    let mut found = match running(&own, &host, named, about)? {
        Some(agent) => agent,
        None => without_agent(&host, named, about)?,
    };
    if store_is_named {
        // A store comes from one place: credentials of another would go to the wrong server.
        let groups = [&flags::STORE_GROUP, &flags::ETCD_GROUP, &flags::KUBE_GROUP];
        for flag in groups.iter().flat_map(|group| group.flags) {
            found.values.remove(flag.name);
        }
    }
    Ok(found)
}

/// An agent that listens.
struct Running {
    socket: PathBuf,
    told: PublishedSettings,
    /// That it doesn't answer.
    silent: Option<String>,
}

/// The one agent that runs here, or that is named and runs.
fn running(
    own: &Settings<'_>,
    host: &HostOptions,
    named: Option<&Instance>,
    about: About,
) -> Result<Option<Elsewhere>> {
    let sockets = match own.given(&flags::SOCKET) {
        Some(_) => vec![host.socket.clone()],
        None => sockets(&host.run_dir),
    };
    let mut agents = Vec::new();
    let mut refused = None;
    for socket in sockets {
        match ask(&socket) {
            Ok(Some((told, silent))) => agents.push(Running {
                socket,
                told,
                silent,
            }),
            Ok(None) => {}
            // A user that may not ask the agent may still ask the store.
            Err(error) if about == About::Host => return Err(error),
            Err(error) => refused = Some(error),
        }
    }
    if own.given(&flags::SOCKET).is_none()
        && let Some(name) = named
    {
        agents.retain(|agent| agent.told.instance == name.as_str());
    }
    match &agents[..] {
        // What nobody may read is no reason to ask the store of the built-in defaults: that is another one.
        [] if unit_file().values.is_empty() => refused.map_or(Ok(None), |error| {
            Err(error.context("which store is meant isn't known; name it by its flags, or"))
        }),
        [] => Ok(None),
        [agent] => Ok(Some(agent.elsewhere(host, about))),
        several => {
            let lines = several.iter().map(Running::line);
            Err(choose("several agents run here", lines))
        }
    }
}

fn choose(what: &str, lines: impl Iterator<Item = String>) -> anyhow::Error {
    let lines: Vec<String> = lines.collect();
    let text = format!("{what}; choose one by --instance:\n{}", lines.join("\n"));
    UsageError(text).into()
}

impl Running {
    fn elsewhere(&self, host: &HostOptions, about: About) -> Elsewhere {
        let mut found = match &self.silent {
            None => Elsewhere {
                place: format!("as the running agent {} has it", self.told.instance),
                values: self.told.given.clone(),
                silent: None,
            },
            Some(_) => of_silent(host, self, about),
        };
        found.silent.clone_from(&self.silent);
        let socket = self.socket.to_string_lossy().into_owned();
        found
            .values
            .insert(flags::SOCKET.name.to_owned(), vec![socket]);
        add_password(&mut found);
        found
    }

    fn line(&self) -> String {
        let (instance, store) = (&self.told.instance, &self.told.store);
        format!(
            "  --instance={instance}: {store}, {}",
            self.socket.display()
        )
    }
}

/// No agent tells its password. The unit's file has it, if it is not in a file of its own.
fn add_password(found: &mut Elsewhere) {
    let (user, password) = (&flags::ETCD_USERNAME, &flags::ETCD_PASSWORD);
    let lacks = [password, &flags::ETCD_PASSWORD_FILE]
        .iter()
        .all(|flag| !found.values.contains_key(flag.name));
    if !lacks || !found.values.contains_key(user.name) {
        return;
    }
    let file = unit_file();
    if file.values.get(user.name) == found.values.get(user.name)
        && let Some(text) = file.values.get(password.name)
    {
        let text = text.clone();
        found.values.insert(password.name.to_owned(), text);
    }
}

/// What is known of an agent that doesn't answer: what its files say. Its socket is called after it, unless it was given
/// another path.
fn of_silent(host: &HostOptions, agent: &Running, about: About) -> Elsewhere {
    let folders = host.state_dir.parent().map(entries).unwrap_or_default();
    let all: Vec<Elsewhere> = folders.iter().filter_map(|dir| saved(dir)).collect();
    let socket = agent.socket.to_string_lossy();
    let says = |one: &Elsewhere, flag: &Flag, text: &str| {
        let values = one.values.get(flag.name);
        values.is_some_and(|values| values.iter().eq([text]))
    };
    let by_name = |one: &&Elsewhere| says(one, &flags::INSTANCE, &agent.told.instance);
    let by_socket = |one: &&Elsewhere| says(one, &flags::SOCKET, &socket);
    let found = all.iter().find(by_socket);
    let found = found.or_else(|| all.iter().find(by_name));
    let saved = found.or(match &all[..] {
        [one] => Some(one),
        _ => None,
    });
    let name = saved.and_then(|one| one.values.get(flags::INSTANCE.name)?.first());
    let name = Instance::named(name.unwrap_or(&agent.told.instance));
    let unit = || unit_file().of(name.as_ref());
    let found = match about {
        About::Host => saved.cloned().or_else(unit),
        About::Store => unit().or(saved.cloned()),
    };
    found.unwrap_or_default()
}

/// What an agent says of itself, and that it says nothing; `None` if nobody listens. One of an earlier version is known by
/// its socket alone.
fn ask(socket: &Path) -> Result<Option<(PublishedSettings, Option<String>)>> {
    let Some(agent) = Agent::connect(socket)? else {
        return Ok(None);
    };
    let name = socket.file_stem().unwrap_or_default().to_string_lossy();
    let unknown = PublishedSettings {
        instance: name.into_owned(),
        ..PublishedSettings::default()
    };
    // One that hangs is the agent all the same.
    let answer = agent.within(TIMEOUT).ask("GET", "/v1/settings");
    Ok(Some(match answer {
        Ok(text) => (serde_json::from_str(&text).unwrap_or(unknown), None),
        Err(error) if is_late(&error) => {
            let silent = silent(socket, &unknown.instance);
            (unknown, Some(silent))
        }
        Err(_) => (unknown, None),
    }))
}

/// That an agent runs and doesn't answer.
fn silent(socket: &Path, instance: &str) -> String {
    let holder = socket.parent().zip(Instance::named(instance));
    let pid = holder.and_then(|(folder, instance)| lock::held_by(folder, &instance));
    let pid = pid.map_or_else(String::new, |pid| format!(" (pid {pid})"));
    let seconds = TIMEOUT.as_secs();
    format!(
        "the agent{pid} does not answer: it has said nothing for {seconds} s on {}",
        socket.display()
    )
}

/// The sockets in a folder, in the order of their names.
fn sockets(run_dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = entries(run_dir);
    found.retain(|path| path.extension().is_some_and(|ending| ending == "sock"));
    found
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    found.sort();
    found
}

/// What is known where no agent answers. The saved state says what this host had; the unit's file, what is meant to be.
fn without_agent(host: &HostOptions, named: Option<&Instance>, about: About) -> Result<Elsewhere> {
    let saved = match named {
        Some(_) => saved(&host.state_dir).into_iter().collect(),
        None => {
            let folders = host.state_dir.parent().map(entries).unwrap_or_default();
            folders
                .iter()
                .filter_map(|dir| saved(dir))
                .collect::<Vec<_>>()
        }
    };
    let unit = unit_file().of(named);
    match (about, &saved[..], unit) {
        (About::Host, [one], _) | (About::Store, [one], None) => Ok(one.clone()),
        (_, _, Some(unit)) => Ok(unit),
        (_, [], None) => Ok(Elsewhere::default()),
        (_, several, None) => {
            let lines = several.iter().map(|one| {
                let name = one.values.get(flags::INSTANCE.name);
                format!(
                    "  --instance={}",
                    name.map_or(String::new(), |name| name.join(""))
                )
            });
            Err(choose("no agent runs here, and several have run", lines))
        }
    }
}

/// What the agent with this state folder was given.
fn saved(dir: &Path) -> Option<Elsewhere> {
    let run = StateDir::at(dir).run().ok()??;
    let mut values = run.given;
    values.insert(flags::INSTANCE.name.to_owned(), vec![run.instance.clone()]);
    let mut found = Elsewhere {
        place: format!("as the agent {} had it", run.instance),
        values,
        silent: None,
    };
    add_password(&mut found);
    Some(found)
}

fn unit_file() -> Elsewhere {
    let file = Path::new(UNIT_FILE);
    let text = bounded_file::read_text(file, Links::Followed, MIB).unwrap_or_default();
    let variables = environment_file::parse(&text);
    let value = |flag: &'static Flag| {
        let names = flag.variables();
        let mut values = names.iter().filter_map(|name| variables.get(name));
        values.find(|value| !value.is_empty()).cloned()
    };
    let logs = flags::LOG_GROUP.flags;
    let meant = flags::all().filter(|flag| logs.iter().all(|log| log.name != flag.name));
    Elsewhere {
        silent: None,
        place: UNIT_FILE.to_owned(),
        values: meant
            .filter_map(|flag| Some((flag.name.to_owned(), vec![value(flag)?])))
            .collect(),
    }
}

impl Elsewhere {
    /// The file, if it says anything: all of it if it is about this agent, else how to reach its store.
    fn of(mut self, named: Option<&Instance>) -> Option<Self> {
        if let Some(name) = named {
            let nothing = Flags::default();
            let alone = Settings::new(&nothing, &|_| None);
            let alone = alone.or(&self);
            let instance = StoreOptions::read(&alone)
                .and_then(|store| HostOptions::read(&alone, &store))
                .map(|host| host.instance);
            if instance.as_ref() != Ok(name) {
                let groups = [&flags::ETCD_GROUP, &flags::KUBE_GROUP];
                let store: Vec<_> = groups.iter().flat_map(|group| group.flags).collect();
                self.values
                    .retain(|key, _| store.iter().any(|flag| flag.name == key));
            }
        }
        (!self.values.is_empty()).then_some(self)
    }
}

/// Connects to the agent that was found.
///
/// # Errors
/// When nobody listens, with what to do.
pub fn connect(host: &HostOptions) -> Result<Agent> {
    let agent = Agent::connect(&host.socket)?;
    agent.with_context(|| {
        format!(
            "no agent listens on {}; `systemctl status tweedd` says why, and --instance or --socket names another one",
            host.socket.display()
        )
    })
}

#[cfg(test)]
mod tests;
