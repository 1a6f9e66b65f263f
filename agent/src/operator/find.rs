//! Which agent a command is about, where its flags don't say: the one that runs here; else the one that has run here;
//! else the one that the unit's file describes. What the command line and the environment give wins over all of these.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tweed_host::bounded_file::{self, Links, MIB};

use crate::config::environment_file;
use crate::config::flags::{self, Flag, Flags};
use crate::config::instance::Instance;
use crate::config::options::{HostOptions, StoreOptions};
use crate::config::settings::{Elsewhere, Environment, Settings, UsageError};
use crate::daemon::told::Told;
use crate::files::state_dir::StateDir;
use crate::operator::client::Agent;

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

/// An agent that answered.
struct Running {
    socket: PathBuf,
    told: Told,
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
    for socket in sockets {
        match ask(&socket) {
            Ok(Some(told)) => agents.push(Running { socket, told }),
            Ok(None) => {}
            // A user that may not ask the agent may still ask the store.
            Err(error) if about == About::Host => return Err(error),
            Err(error) => tracing::debug!(error = format!("{error:#}"), "agent not asked"),
        }
    }
    if own.given(&flags::SOCKET).is_none()
        && let Some(name) = named
    {
        agents.retain(|agent| agent.told.instance == name.as_str());
    }
    match &agents[..] {
        [] => Ok(None),
        [agent] => Ok(Some(agent.elsewhere())),
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
    fn elsewhere(&self) -> Elsewhere {
        let mut values = self.told.given.clone();
        let socket = self.socket.to_string_lossy().into_owned();
        values.insert(flags::SOCKET.name.to_owned(), vec![socket]);
        let mut found = Elsewhere {
            place: format!("as the running agent {} has it", self.told.instance),
            values,
        };
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

/// What an agent says of itself; `None` if nobody listens. One of an earlier version is known by its socket alone.
fn ask(socket: &Path) -> Result<Option<Told>> {
    let Some(agent) = Agent::connect(socket)? else {
        return Ok(None);
    };
    let name = socket.file_stem().unwrap_or_default().to_string_lossy();
    let unknown = Told {
        instance: name.into_owned(),
        ..Told::default()
    };
    // One that hangs is the agent all the same.
    let answer = agent.ask("GET", "/v1/settings");
    Ok(Some(match answer {
        Ok(text) => serde_json::from_str(&text).unwrap_or(unknown),
        Err(_) => unknown,
    }))
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
