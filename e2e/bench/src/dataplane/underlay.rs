//! An underlay that loses packets or changes their order. What TCP keeps of its speed is compared, not the speed.

use std::process::Command;
use std::time::Duration;
use std::{env, iter, ptr};

use anyhow::{Context, Result};

use super::iperf::{Load, Transfer};
use super::paths::{Mode, Path, Running};
use super::shuffle;
use crate::row::median;
use tweed_lab::report::Table;
use tweed_lab::topology::UPLINK;
use tweed_lab::wait::eventually;

/// What is compared.
const MODES: [Mode; 2] = [Mode::Udp, Mode::Vxlan];
/// Measurements of each kind.
const ROUNDS: usize = 9;
/// Length of one, in seconds.
const SPAN: u32 = 2;
/// Packets lost of a thousand.
const LOST: [u32; 3] = [0, 1, 10];
/// Every how many frames one is overtaken.
const OVERTAKEN: [u32; 2] = [0, 100];
/// The share that ours keeps, as a multiple of VXLAN's. Two runs of the same differ by some per cent.
const GOAL: f64 = 0.9;

/// Results of one setting, for both modes.
struct Setting {
    name: String,
    /// Whether the ones that follow are compared with it.
    clean: bool,
    transfers: [Vec<Transfer>; 2],
}

/// Measures on our paths by UDP and by VXLAN. They are left as they were but for the cable between the hosts.
///
/// # Errors
/// When a path doesn't carry traffic, or a tool of the kernel refuses.
pub fn run(paths: &[&Path<'_>]) -> Result<Table> {
    let of = |mode: Mode| {
        let path = paths.iter().copied().find(|path| path.mode == mode);
        path.with_context(|| format!("{} is not laid out", mode.name()))
    };
    let paths = [of(MODES[0])?, of(MODES[1])?];
    let mut settings = Vec::new();
    for (name, whole) in [
        ("super-packets, each lost whole", true),
        ("single datagrams", false),
    ] {
        paths.iter().try_for_each(|path| offload(path, whole))?;
        let steps = LOST.map(|share| match share {
            0 => (format!("{name}: none"), 0),
            _ => (format!("{name}: {} %", f64::from(share) / 10.0), share),
        });
        settings.extend(measure(&paths, steps, |path, share| {
            lose(path, share).map(|()| None)
        })?);
        paths.iter().try_for_each(|path| lose(path, 0))?;
    }
    paths.iter().try_for_each(|path| offload(path, true))?;
    paths.iter().try_for_each(|path| cut_cable(path))?;
    let steps = OVERTAKEN.map(|every| match every {
        0 => ("through a relay: in order".to_owned(), 0),
        _ => (
            format!("through a relay: 1 of {every} frames overtaken by 5"),
            every,
        ),
    });
    settings.extend(measure(&paths, steps, |path, every| {
        cable(path, every).map(Some)
    })?);
    Ok(table(&settings))
}

impl Setting {
    /// What share of the rate without loss was kept, in each round of each mode.
    fn kept(&self, clean: &Self) -> [Vec<f64>; 2] {
        let of = |index: usize| {
            let rounds = iter::zip(&self.transfers[index], &clean.transfers[index]);
            rounds
                .map(|(lossy, clean)| lossy.rate / clean.rate)
                .collect()
        };
        [of(0), of(1)]
    }
}

fn measure<const N: usize>(
    paths: &[&Path<'_>; 2],
    steps: [(String, u32); N],
    apply: impl Fn(&Path<'_>, u32) -> Result<Option<Running>>,
) -> Result<Vec<Setting>> {
    let mut settings = steps.map(|(name, value)| {
        let setting = Setting {
            name,
            clean: value == 0,
            transfers: Default::default(),
        };
        (setting, value)
    });
    for round in 0..ROUNDS {
        for (setting, value) in &mut settings {
            for turn in 0..paths.len() {
                let index = (round + turn) % paths.len();
                let path = paths[index];
                let _running = apply(path, *value)?;
                let load = Load::bulk(1, "cubic", SPAN);
                let transfer = load.run(path.from(), path.to());
                let what = || format!("{}, {}", setting.name, path.mode.name());
                setting.transfers[index].push(transfer.with_context(what)?);
            }
        }
    }
    Ok(settings.map(|(setting, _)| setting).into())
}

fn table(settings: &[Setting]) -> Table {
    let mut head = vec!["lost on the underlay".to_owned()];
    for mode in MODES {
        let name = mode.name();
        let of = |figure| format!("{name}, {figure}");
        head.extend([of("Gbit/s"), of("round trip, µs"), "keeps".to_owned()]);
    }
    head.extend(["ratio", "goal", ""].map(str::to_owned));
    let mut table = Table::new(head);
    let mut clean = None;
    for setting in settings {
        if setting.clean {
            clean = Some(setting);
        }
        let clean = clean.filter(|clean| !ptr::eq(*clean, setting));
        let kept = clean.map(|clean| setting.kept(clean));
        let mut row = vec![setting.name.clone()];
        for (index, transfers) in setting.transfers.iter().enumerate() {
            let middle = |figure: fn(&Transfer) -> f64| median(&each(transfers, figure));
            row.push(format!("{:.2}", middle(|of| of.rate) * 1e-9));
            row.push(format!("{:.0}", middle(|of| of.round_trip)));
            let share = |kept: &[Vec<f64>; 2]| format!("{:.0} %", 100.0 * median(&kept[index]));
            row.push(kept.as_ref().map_or(String::new(), share));
        }
        row.extend(kept.map_or([const { String::new() }; 3], |[ours, theirs]| {
            let ratios: Vec<f64> = iter::zip(ours, theirs).map(|(a, b)| a / b).collect();
            let ratio = median(&ratios);
            let met = if ratio >= GOAL { "met" } else { "**missed**" };
            [format!("{ratio:.2}"), format!("≥ {GOAL}"), met.to_owned()]
        }));
        table.row(row);
    }
    table
}

fn each(transfers: &[Transfer], figure: fn(&Transfer) -> f64) -> Vec<f64> {
    transfers.iter().map(figure).collect()
}

/// Whether hosts may hand super-packets to each other. A virtual cable passes them on whole, a real one never.
fn offload(path: &Path<'_>, whole: bool) -> Result<()> {
    let state = if whole { "on" } else { "off" };
    let features = ["gro", "gso", "tso", "tx-udp-segmentation"];
    for host in &path.lab.hosts {
        let settings = features
            .map(|feature| format!("{feature} {state}"))
            .join(" ");
        host.sh(&format!("ethtool -K {UPLINK} {settings}"))?;
    }
    Ok(())
}

/// Lets both hosts lose this many of a thousand of the tunnel's packets.
fn lose(path: &Path<'_>, share: u32) -> Result<()> {
    let port = path.mode.port().context("a tunnel has a port")?;
    let rule = match share {
        0 => String::new(),
        _ => format!("udp dport {port} numgen random mod 1000 < {share} drop;"),
    };
    let script = format!(
        "table inet loss {{ }}\ndelete table inet loss\n\
         table inet loss {{ chain in {{ type filter hook input priority -300; {rule} }}; }}\n"
    );
    for host in &path.lab.hosts {
        let mut nft = Command::new("nft");
        host.place().cmd_with(nft.args(["-f", "-"]), &script)?;
    }
    Ok(())
}

/// Gives the second host a switch of its own, with a pair of TAP devices towards the first one's.
fn cut_cable(path: &Path<'_>) -> Result<()> {
    let switch = path.lab.switch.place();
    for line in [
        "ip link add far type bridge forward_delay 0 mcast_snooping 0",
        "ip link set far up",
        "ip tuntap add dev left mode tap",
        "ip tuntap add dev right mode tap",
        "ip link set left master seg0 up",
        "ip link set right master far up",
        "ip link set to-host2 master far",
    ] {
        switch.sh(line)?;
    }
    Ok(())
}

/// Joins them by a process that lets frames overtake every so-and-so-many one.
fn cable(path: &Path<'_>, every: u32) -> Result<Running> {
    let mut command = Command::new(env::current_exe()?);
    command.args([shuffle::COMMAND, "left", "right", &every.to_string()]);
    let running = Running(path.lab.switch.place().spawn(&mut command)?);
    eventually("hosts reach each other", || {
        let [from, to] = &path.lab.hosts[..] else {
            anyhow::bail!("two hosts");
        };
        tweed_lab::traffic::ping(from.place(), to.v4())
    })?;
    // The connections of the agents, too.
    std::thread::sleep(Duration::from_millis(200));
    Ok(running)
}
