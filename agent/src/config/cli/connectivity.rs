//! What can be typed after `tweedd connectivity`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use tweed_connectivity::{Endpoint, PORT, Side};

use super::output::OutputArgs;
use super::pages;
use crate::config::flags::AgentFlags;

/// `tweedd connectivity`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct ConnectivityArgs {
    /// The other half of the test, or a look at what agents know anyway; the test itself where there is none
    #[command(subcommand)]
    pub command: Option<ConnectivityCommand>,
    /// The test's own arguments
    #[command(flatten)]
    pub test: ConnectivityTestArgs,
}

/// `tweedd connectivity …`
#[derive(Debug, Subcommand)]
pub enum ConnectivityCommand {
    /// Answer probes, and probe other responders when the test says so. One has to run on each node
    Serve(ConnectivityServeArgs),
    /// Which nodes don't reach each other, as their agents see it, by what the bad pairs have in common
    Views(ConnectivityViewsArgs),
    /// Measure whether pods are faster with `Backend.TxChecksum` off, by switching it on this node in turns. Exit code 2
    /// if so
    #[command(after_help = pages::OTHER_FLAGS, after_long_help = pages::TX_CHECKSUM)]
    TxChecksum {
        /// Where to
        #[command(flatten)]
        args: TxChecksumArgs,
        /// The flags with which the agent runs
        #[command(flatten)]
        flags: AgentFlags,
    },
}

/// Arguments of the test.
#[derive(Debug, Args)]
pub struct ConnectivityTestArgs {
    /// A responder on a host outside Kubernetes, once for each; without any the cluster's own are found
    #[arg(long = "host", value_name = "HOST=ADDR[,ADDR]", value_parser = on_host)]
    pub hosts: Vec<Endpoint>,
    /// A responder in a pod of a host outside Kubernetes, once for each
    #[arg(long = "pod", value_name = "HOST=ADDR[,ADDR]", value_parser = in_pod)]
    pub pods: Vec<Endpoint>,
    /// How many other nodes each node probes at most, evenly chosen
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    pub peers: u16,
    /// How many seconds to wait for responders that are not ready
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    pub wait: Duration,
    /// What test and responders share
    #[command(flatten)]
    pub shared: SharedArgs,
    /// How to print
    #[command(flatten)]
    pub output: OutputArgs,
}

/// The responder.
#[derive(Debug, Args)]
pub struct ConnectivityServeArgs {
    /// Addresses on which to answer, and no others
    #[arg(
        long = "address",
        value_name = "ADDR",
        value_delimiter = ',',
        required = true
    )]
    pub addresses: Vec<IpAddr>,
    /// The name by which to answer: in Kubernetes the pod's; default: the host's
    #[arg(long)]
    pub name: Option<String>,
    /// What test and responders share
    #[command(flatten)]
    pub shared: SharedArgs,
}

/// The views of all nodes.
#[derive(Debug, Args)]
pub struct ConnectivityViewsArgs {
    /// What `tweedd status --output json` prints on each node, one document after the other; - is standard input
    #[arg(value_name = "FILE", default_value = "-")]
    pub files: Vec<PathBuf>,
    /// How to print
    #[command(flatten)]
    pub output: OutputArgs,
}

/// A measurement of what checksums cost.
#[derive(Debug, Args)]
pub struct TxChecksumArgs {
    /// The address of a responder in a pod of another node
    #[arg(value_name = "ADDR")]
    pub pod: IpAddr,
    /// What test and responders share
    #[command(flatten)]
    pub shared: SharedArgs,
    /// How to print
    #[command(flatten)]
    pub output: OutputArgs,
}

/// What is the same on both sides.
#[derive(Debug, Args)]
pub struct SharedArgs {
    /// Port of the responders, TCP and UDP
    #[arg(long, default_value_t = PORT, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,
    /// File whose content test and responders share; responders act on no request without it
    #[arg(long, default_value = "/run/secrets/tweed-connectivity/token")]
    pub token_file: PathBuf,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<u16>().map_err(|error| error.to_string())?;
    Ok(Duration::from_secs(u64::from(seconds)))
}

fn on_host(text: &str) -> Result<Endpoint, String> {
    endpoint(Side::Node, text)
}

fn in_pod(text: &str) -> Result<Endpoint, String> {
    endpoint(Side::Pod, text)
}

fn endpoint(side: Side, text: &str) -> Result<Endpoint, String> {
    let expected =
        "a host's name, an equals sign, and an address or two: host1=192.0.2.1,2001:db8::1";
    let (node, addrs) = text.split_once('=').ok_or(expected)?;
    let addrs: Vec<IpAddr> = addrs
        .split(',')
        .map(|addr| addr.parse().map_err(|_| expected))
        .collect::<Result<_, _>>()?;
    let twice = addrs.len() > 2 || addrs.len() == 2 && addrs[0].is_ipv4() == addrs[1].is_ipv4();
    if node.is_empty() || twice {
        return Err(expected.to_owned());
    }
    Ok(Endpoint {
        node: node.to_owned(),
        side,
        name: None,
        addrs,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_responder_by_hand_is_a_name_and_an_address_of_each_family() {
        let end = in_pod("host1=10.244.1.2,2001:db8::1").unwrap();
        assert_eq!((end.node.as_str(), end.addrs.len()), ("host1", 2));
        for wrong in ["host1", "=192.0.2.1", "a=", "a=x", "a=192.0.2.1,192.0.2.2"] {
            let refused = on_host(wrong).unwrap_err();
            assert!(refused.contains("equals sign"), "{wrong}: {refused}");
        }
    }
}
