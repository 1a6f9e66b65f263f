//! The flags as clap arguments, and what clap read of them.

use std::collections::BTreeMap;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use super::cni::CNI_PLACES_GROUP;
use super::flag::{Flag, Group, Takes};
use super::table::{
    ETCD_ENDPOINTS, ETCD_GROUP, ETCD_PREFIX, GROUPS, INSTANCE, KUBE_GROUP, KUBECONFIG_FILE,
    LOG_GROUP, RUN_DIR, SOCKET, STATE_DIR, STORE, STORE_DIR, STORE_GROUP,
};

/// All flags of the daemon, as typed: values by flag name, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub BTreeMap<&'static str, Vec<String>>);

/// All flags of the daemon where they say which agent is meant. Its help shows those alone that name one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentFlags(pub Flags);

/// All flags of the daemon beside its commands. The short help leaves them out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DaemonFlags(pub Flags);

/// The flags that name a store, for commands that work on one.
#[derive(Clone, Debug, Default)]
pub struct StoreFlags(pub Flags);

/// The flags that say what is placed for the container runtime, and where.
#[derive(Clone, Debug, Default)]
pub struct CniFlags(pub Flags);

static CNI_GROUPS: &[&Group] = &[&CNI_PLACES_GROUP];
static STORE_GROUPS: &[&Group] = &[
    &STORE_GROUP,
    &KUBE_GROUP,
    &ETCD_GROUP,
    &AGENT_GROUP,
    &LOG_GROUP,
];

/// The flags that name an agent, whose store is then meant.
static AGENT_GROUP: Group = Group {
    heading: "Host",
    flags: &[&RUN_DIR, &STATE_DIR, &SOCKET, &INSTANCE],
};

/// Those of the store's flags that the short help shows.
static SHORT: &[&Flag] = &[
    &STORE,
    &STORE_DIR,
    &ETCD_ENDPOINTS,
    &ETCD_PREFIX,
    &KUBECONFIG_FILE,
    &INSTANCE,
];

/// The helps that show a flag.
#[derive(Clone, Copy)]
enum Shown {
    /// `-h` and `--help`.
    Both,
    /// `--help`.
    Long,
    /// None: it is accepted all the same.
    Nowhere,
}

fn everywhere(_: &Flag) -> Shown {
    Shown::Both
}

fn in_long_help(_: &Flag) -> Shown {
    Shown::Long
}

fn if_it_names_an_agent(flag: &Flag) -> Shown {
    match AGENT_GROUP.flags.contains(&flag) {
        true => Shown::Both,
        false => Shown::Nowhere,
    }
}

fn if_it_names_a_store(flag: &Flag) -> Shown {
    match SHORT.contains(&flag) {
        true => Shown::Both,
        false => Shown::Long,
    }
}

impl Flags {
    /// The values given for a flag, in their order; none if it wasn't given.
    pub fn values(&self, flag: &Flag) -> Option<&[String]> {
        self.0.get(flag.name).map(Vec::as_slice)
    }

    fn read(groups: &[&Group], matches: &ArgMatches) -> Self {
        let flags = groups.iter().flat_map(|group| group.flags);
        Self(
            flags
                .filter_map(|flag| {
                    let values = matches.get_many::<String>(flag.name)?;
                    Some((flag.name, values.cloned().collect()))
                })
                .collect(),
        )
    }
}

fn augment(
    groups: &'static [&'static Group],
    shown: fn(&Flag) -> Shown,
    mut command: Command,
) -> Command {
    for group in groups {
        for flag in group.flags {
            let arg = argument(flag).help_heading(group.heading);
            command = command.arg(match shown(flag) {
                Shown::Both => arg,
                Shown::Long => arg.hide_short_help(true),
                Shown::Nowhere => arg.hide(true),
            });
        }
    }
    command
}

fn argument(flag: &'static Flag) -> Arg {
    let arg = Arg::new(flag.name)
        .long(flag.name)
        .help(flag.help)
        .long_help(long_help(flag))
        .action(ArgAction::Append);
    // The command that places files had these flags without the prefix first.
    let arg = match flag.name.strip_prefix("cni-") {
        Some(short) if CNI_PLACES_GROUP.flags.contains(&flag) => arg.alias(short),
        _ => arg,
    };
    match flag.takes {
        Takes::Switch => arg
            .value_name("true|false")
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true"),
        Takes::One(name) | Takes::Many(name) => arg.value_name(name).allow_hyphen_values(true),
    }
}

fn long_help(flag: &Flag) -> String {
    let mut text = flag.help.to_owned();
    if let Some(reason) = flag.inert {
        text += &format!(". Accepted without effect: {reason}");
    }
    text += "\n";
    if !flag.default.is_empty() {
        text += &format!("[default: {}] ", flag.default);
    }
    text + &format!("[env: {}]", flag.variables().join(", "))
}

macro_rules! arguments {
    ($type:ty, $groups:expr, $shown:expr, $wrap:expr) => {
        impl Args for $type {
            fn augment_args(command: Command) -> Command {
                augment($groups, $shown, command)
            }

            fn augment_args_for_update(command: Command) -> Command {
                augment($groups, $shown, command)
            }
        }

        impl FromArgMatches for $type {
            fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
                Ok($wrap(Flags::read($groups, matches)))
            }

            fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
                *self = Self::from_arg_matches(matches)?;
                Ok(())
            }
        }
    };
}

arguments!(Flags, GROUPS, everywhere, std::convert::identity);
arguments!(DaemonFlags, GROUPS, in_long_help, DaemonFlags);
arguments!(AgentFlags, GROUPS, if_it_names_an_agent, AgentFlags);
arguments!(StoreFlags, STORE_GROUPS, if_it_names_a_store, StoreFlags);
arguments!(CniFlags, CNI_GROUPS, everywhere, CniFlags);
