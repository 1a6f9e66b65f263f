//! `tweedd connectivity tx-checksum`: whether pods of two nodes are faster when the kernel makes the checksums of what a
//! VXLAN device carries. No sign of a host tells, so both are measured, in turns; the devices are left as they were found.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use tweed_connectivity::{Carried, Key, carry};
use tweed_netlink::{Ethtool, TX_CHECKSUM};

use super::{find, print};
use crate::config::cli::TxChecksumArgs;
use crate::config::options::Options;
use crate::daemon;
use crate::daemon::status::{Status, TxChecksumStatus};
use crate::runtime;
use verdict::{Measured, Turn, Verdict};

mod verdict;

/// Pairs of transfers. Each must say the same before a switch is advised.
const TURNS: usize = 3;
/// Exit code where a switch is advised.
const BETTER_OFF: u8 = 2;

/// Measures and prints. Exit code 2 if off is the better choice.
///
/// # Errors
/// When no agent of VXLAN with `auto` runs here, the devices can't be switched, or nothing is answered.
pub fn measure(options: &Options, args: &TxChecksumArgs) -> Result<ExitCode> {
    let key = Key::read(&args.shared.token_file)?;
    let text = find::connect(&options.host)?.ask("GET", "/v1/status")?;
    let status: Status = serde_json::from_str(&text).context("read the agent's answer")?;
    let names = switchable(status.tx_checksum.as_ref())?;
    let to = SocketAddr::new(args.pod, args.shared.port);
    let turns = runtime::block_on(async {
        let mut devices = Devices::open(names)?;
        tokio::select! {
            // First, so that nothing is switched before signals are waited for.
            biased;
            told = daemon::told_to_stop() => {
                told?;
                bail!("interrupted; the devices are as they were")
            }
            turns = turns(&mut devices, to, &key) => turns,
        }
    })?;
    let measured = Measured::of(turns);
    print::print(args.output.output, &measured, || measured.to_string())?;
    match measured.verdict {
        Verdict::Leave => Ok(ExitCode::SUCCESS),
        Verdict::Off => Ok(ExitCode::from(BETTER_OFF)),
        Verdict::Nothing => bail!("nothing arrives at {to} either way"),
    }
}

/// The devices of an agent that doesn't switch them itself.
fn switchable(status: Option<&TxChecksumStatus>) -> Result<Vec<&str>> {
    let status = status.context("this node has no VXLAN device: there is nothing to switch")?;
    ensure!(
        status.choice == "auto",
        "Backend.TxChecksum is {}, and the agent would put that back: set it to auto for the measurement",
        status.choice
    );
    ensure!(
        !status.devices.is_empty(),
        "no VXLAN device is there, or none can be asked: see `tweedd status`"
    );
    Ok(status.devices.keys().map(String::as_str).collect())
}

/// The devices, with what they had. It is put back when this goes, whatever the reason.
struct Devices {
    socket: Ethtool,
    found: BTreeMap<String, bool>,
}

impl Devices {
    /// Asks the kernel what they have: the agent looks every ten seconds.
    fn open(names: Vec<&str>) -> Result<Self> {
        let mut socket = Ethtool::open().context("switch checksums of VXLAN devices")?;
        let mut found = BTreeMap::new();
        for name in names {
            found.insert(name.to_owned(), socket.feature(name, TX_CHECKSUM)?);
        }
        Ok(Self { socket, found })
    }

    fn switch(&mut self, on: bool) -> Result<()> {
        for name in self.found.keys() {
            self.socket.set_feature(name, TX_CHECKSUM, on)?;
        }
        Ok(())
    }

    /// Bytes that have left by them so far.
    fn sent(&self) -> Result<u64> {
        let file = "/proc/self/net/dev";
        let table = std::fs::read_to_string(file).with_context(|| format!("read {file}"))?;
        let sent = self.found.keys().filter_map(|name| sent_by(&table, name));
        Ok(sent.sum())
    }
}

impl Drop for Devices {
    fn drop(&mut self) {
        for (name, on) in &self.found {
            if let Err(error) = self.socket.set_feature(name, TX_CHECKSUM, *on) {
                eprintln!("tweedd: {name} is not as it was: {error}");
            }
        }
    }
}

/// The ninth number of a device's line.
fn sent_by(table: &str, name: &str) -> Option<u64> {
    let mut lines = table.lines().filter_map(|line| line.trim().split_once(':'));
    let (_, numbers) = lines.find(|(device, _)| *device == name)?;
    numbers.split_ascii_whitespace().nth(8)?.parse().ok()
}

async fn turns(devices: &mut Devices, to: SocketAddr, key: &Key) -> Result<Vec<Turn>> {
    let mut turns = Vec::new();
    for turn in 0..TURNS {
        // What is first in one turn is second in the next: a path that slows down favours neither.
        let on_first = turn % 2 == 0;
        let first = transfer(devices, on_first, to, key).await?;
        let second = transfer(devices, !on_first, to, key).await?;
        let (on, off) = if on_first {
            (first, second)
        } else {
            (second, first)
        };
        turns.push(Turn {
            on: on.rate(),
            off: off.rate(),
        });
    }
    Ok(turns)
}

async fn transfer(devices: &mut Devices, on: bool, to: SocketAddr, key: &Key) -> Result<Carried> {
    devices.switch(on)?;
    let before = devices.sent()?;
    let carried = carry(to, key).await;
    let carried = carried.with_context(|| format!("send to {to}"))?;
    let names: Vec<_> = devices.found.keys().map(String::as_str).collect();
    ensure!(
        devices.sent()?.saturating_sub(before) >= carried.bytes,
        "what is sent to {to} does not leave by {}: name a pod of another node",
        names.join(" or ")
    );
    Ok(carried)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_device_has_sent_is_read_and_of_no_other() {
        let table = "Inter-|   Receive                            |  Transmit\n face |bytes    packets\n    lo:  1 2 3 4 5 6 7 8 9 0\nflannel.1:1 2 3 4 5 6 7 8 77 10 0 0\nflannel.12: 1 1 1 1 1 1 1 1 5 5\n";
        assert_eq!(sent_by(table, "flannel.1"), Some(77));
        assert_eq!(sent_by(table, "lo"), Some(9));
        assert_eq!(sent_by(table, "flannel"), None);
        assert_eq!(sent_by("flannel.1: 1 2", "flannel.1"), None);
    }

    #[test]
    fn devices_that_the_agent_switches_itself_are_left_to_it() {
        let status = |choice: &str, devices: &[(&str, bool)]| TxChecksumStatus {
            choice: choice.to_owned(),
            reason: String::new(),
            devices: devices
                .iter()
                .map(|(name, on)| ((*name).to_owned(), *on))
                .collect(),
        };
        let refused = |status: Option<TxChecksumStatus>| {
            switchable(status.as_ref())
                .map(drop)
                .unwrap_err()
                .to_string()
        };
        assert!(refused(None).contains("no VXLAN device"));
        assert!(refused(Some(status("auto", &[]))).contains("can be asked"));
        for choice in ["on", "off"] {
            let refused = refused(Some(status(choice, &[("flannel.1", true)])));
            assert!(refused.contains("set it to auto"), "{refused}");
        }
        let auto = status("auto", &[("flannel.1", true)]);
        assert_eq!(switchable(Some(&auto)).unwrap(), ["flannel.1"]);
    }
}
