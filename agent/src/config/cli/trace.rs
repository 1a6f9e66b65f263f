//! `tweedd trace`

use std::net::IpAddr;
use std::str::FromStr;

use clap::Args;
use ipnet::IpNet;

use super::output::OutputArgs;

/// What `trace` shows.
#[derive(Clone, Copy, Debug, Args)]
pub struct TraceArgs {
    /// Packets to or from here: an address, or a prefix
    #[arg(value_name = "PREFIX")]
    pub prefix: Prefix,
    /// Of these, one in so many
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub every: u64,
    /// End after so many
    #[arg(long, default_value_t = 100)]
    pub count: usize,
    /// End after so many seconds
    #[arg(long, default_value_t = 10)]
    pub seconds: u64,
    /// How to print: text, or a JSON document a line
    #[command(flatten)]
    pub output: OutputArgs,
}

/// A prefix, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix(pub IpNet);

impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let addr = text.parse::<IpAddr>().map(IpNet::from);
        let prefix = addr.or_else(|_| text.parse::<IpNet>());
        let prefix = prefix.map_err(|_| "an address or a prefix, such as 10.244.2.0/24".to_owned());
        prefix.map(Self)
    }
}
