//! What a flag is.

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// A boolean by Go's rules: alone it means true, and a value needs the equals sign.
    Switch,
    /// One value; the word names it in the help.
    One(&'static str),
    /// One value each time it is given; the order counts.
    Many(&'static str),
}

/// Where a flag comes from, which decides the environment variables that set it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// One of flanneld's: `FLANNELD_…` and `TWEED_…`.
    Flannel,
    /// Ours alone: `TWEED_…`.
    Tweed,
}

/// A flag of the daemon.
#[derive(Debug, PartialEq, Eq)]
pub struct Flag {
    /// The long name, without dashes.
    pub name: &'static str,
    /// What it takes.
    pub takes: Takes,
    /// Where it comes from.
    pub origin: Origin,
    /// The value that holds when nobody gives one; empty for none.
    pub default: &'static str,
    /// One or two sentences for the help.
    pub help: &'static str,
    /// Why it has no effect here, where that is so. Said once at start when somebody gives it.
    pub inert: Option<&'static str>,
}

impl Flag {
    pub(super) const fn new(name: &'static str, takes: Takes, help: &'static str) -> Self {
        Self {
            name,
            takes,
            origin: Origin::Flannel,
            default: "",
            help,
            inert: None,
        }
    }

    pub(super) const fn default(self, default: &'static str) -> Self {
        Self { default, ..self }
    }

    pub(super) const fn ours(self) -> Self {
        Self {
            origin: Origin::Tweed,
            ..self
        }
    }

    pub(super) const fn inert(self, reason: &'static str) -> Self {
        Self {
            inert: Some(reason),
            ..self
        }
    }

    /// The environment variables that set the flag, the one that wins first.
    pub fn variables(&self) -> Vec<String> {
        let suffix = self.name.replace('-', "_").to_uppercase();
        let ours = format!("TWEED_{suffix}");
        match self.origin {
            Origin::Tweed => vec![ours],
            Origin::Flannel => vec![ours, format!("FLANNELD_{suffix}")],
        }
    }
}

/// Flags that stand together in the help.
#[derive(Debug)]
pub struct Group {
    pub heading: &'static str,
    /// The flags, in the order of the help.
    pub flags: &'static [&'static Flag],
}
