//! The changes in the container: made, compared, taken back.

use std::collections::BTreeMap;

use tweed_host::sysctl;
use tweed_netlink::netns::Netns;
use tweed_netlink::{LinkChange, LinkInfo, Netlink};

use super::config::{Attributes, TuningConfig};
use super::saved::{Saved, SavedFile};
use super::switch::{Switch, is_same};
use crate::net::namespace;
use crate::runtime::plugin::Request;
use crate::runtime::removal::Removal;
use crate::runtime::undo::Undo;
use crate::spec::{Call, CniError, Context};

/// Makes the changes, after it has written down what was there.
///
/// # Errors
/// When there is no such switch or interface, or the kernel refuses.
pub(super) fn make(
    request: &Request<'_>,
    config: &TuningConfig,
    undo: &mut Undo,
) -> Result<(), CniError> {
    let Request { call, conf, .. } = request;
    let netns = namespace::open(call)?;
    let mut saved = Saved::of(&conf.name, &call.attachment);
    let (mut inside, container) = match config.link == Attributes::default() {
        true => (None, None),
        false => {
            let mut inside = netns.netlink()?;
            let container = interface(&mut inside, call)?;
            saved.keep(&container, &config.link);
            (Some(inside), Some(container))
        }
    };
    saved.sysctl = netns.run(|| values(&config.sysctls))??;
    if container.is_none() && saved.sysctl.is_empty() {
        return Ok(());
    }
    let file = SavedFile::of(&config.data_dir, &call.attachment);
    let (own_call, own_file) = ((*call).clone(), file.clone());
    undo.push(move || Removal::of(|removal| take_back(&own_call, &own_file, removal)));
    file.write(&match file.read() {
        Some(earlier) => saved.after(earlier),
        None => saved,
    })?;
    let switches = config.sysctls.iter().map(|s| (&s.path, &s.value));
    netns.run(|| set_all(switches).try_for_each(|set| set))??;
    match (&mut inside, container) {
        (Some(inside), Some(container)) => set(inside, &container, &config.link),
        _ => Ok(()),
    }
}

/// Gives back what was there before, and forgets it. What can't be given back is reported once: a container must not
/// stay for ever because of it.
pub(super) fn take_back(
    call: &Call,
    file: &SavedFile,
    removal: &mut Removal,
) -> Result<(), CniError> {
    if let Some(saved) = file.read()
        && let Some(netns) = namespace::open_if_there(call)?
    {
        restore(&netns, &call.attachment.ifname, &saved, removal);
    }
    file.forget()
}

/// The interface first: with a small MTU it has no switches of IPv6.
fn restore(netns: &Netns, ifname: &str, saved: &Saved, removal: &mut Removal) {
    let mut inside = match netns.netlink() {
        // What can be opened but not entered is no network namespace.
        Err(error) if error.is_gone() => return,
        Err(error) => {
            removal.step(Err(error.into()));
            return;
        }
        Ok(inside) => inside,
    };
    let attributes = saved.attributes();
    if attributes != Attributes::default() {
        let restored = match inside.link(ifname) {
            Ok(Some(container)) => set(&mut inside, &container, &attributes),
            Ok(None) => Ok(()),
            Err(error) => Err(error.into()),
        };
        removal.step(restored);
    }
    let restored = netns.run(|| {
        let there = |path: &String| matches!(sysctl::read(path), Ok(Some(_)) | Err(_));
        let saved = saved.sysctl.iter().filter(|(path, _)| there(path));
        set_all(saved).collect::<Vec<_>>()
    });
    for step in restored.unwrap_or_else(|error| vec![Err(error.into())]) {
        removal.step(step);
    }
}

/// Compares with what should be.
///
/// # Errors
/// The first difference.
pub(super) fn check(call: &Call, config: &TuningConfig) -> Result<(), CniError> {
    let netns = namespace::open(call)?;
    let there = netns.run(|| values(&config.sysctls))??;
    for Switch { path, value, .. } in &config.sysctls {
        let found = there.get(path).map(String::as_str).unwrap_or_default();
        if !is_same(found, value) {
            return Err(differs(&format!("value of /proc/sys/{path}"), value, found));
        }
    }
    if config.link == Attributes::default() {
        return Ok(());
    }
    let container = interface(&mut netns.netlink()?, call)?;
    let (name, wanted) = (&container.name, &config.link);
    let mac = container.mac.map(|mac| mac.to_string()).unwrap_or_default();
    for (what, wanted, found) in [
        ("Ethernet address", wanted.mac.map(|v| v.to_string()), mac),
        (
            "promisc",
            text(wanted.promisc),
            container.promisc.to_string(),
        ),
        ("MTU", text(wanted.mtu), container.mtu.to_string()),
        (
            "all-multicast mode",
            text(wanted.allmulti),
            container.allmulti.to_string(),
        ),
        (
            "transmit queue length",
            text(wanted.tx_queue),
            container.txqlen.to_string(),
        ),
    ] {
        if let Some(wanted) = wanted.filter(|wanted| *wanted != found) {
            return Err(differs(&format!("{what} of {name}"), &wanted, &found));
        }
    }
    Ok(())
}

fn text(wanted: Option<impl ToString>) -> Option<String> {
    wanted.map(|wanted| wanted.to_string())
}

fn differs(what: &str, wanted: &str, found: &str) -> CniError {
    CniError::drift(format!(
        "Tuning configured {what} is {wanted}, current value is {found}"
    ))
}

fn interface(netlink: &mut Netlink, call: &Call) -> Result<LinkInfo, CniError> {
    let ifname = &call.attachment.ifname;
    let link = netlink.link(ifname)?;
    link.ok_or_else(|| {
        CniError::failed(format!(
            "failed to get {ifname:?}: no such interface in the container"
        ))
    })
}

fn set(netlink: &mut Netlink, container: &LinkInfo, wanted: &Attributes) -> Result<(), CniError> {
    let change = LinkChange {
        // Even the same address again takes all neighbour entries from the interface, permanent ones too.
        mac: wanted.mac.filter(|mac| container.mac != Some(*mac)),
        mtu: wanted.mtu,
        txqlen: wanted.tx_queue,
        promisc: wanted.promisc,
        allmulti: wanted.allmulti,
        ..LinkChange::default()
    };
    Ok(netlink.set_link(container.dev(), &change)?)
}

/// The values of switches in the namespace of the calling thread.
fn values(switches: &[Switch]) -> Result<BTreeMap<String, String>, CniError> {
    let value = |switch: &Switch| {
        let Switch { key, path, .. } = switch;
        let what = || format!("read sysctl {key}");
        let value = sysctl::read(path).context(what)?.ok_or_else(|| {
            let msg = format!("there is no sysctl {key} in the container");
            CniError::config(msg).details(format!("/proc/sys/{path}"))
        })?;
        Ok((path.clone(), value))
    };
    switches.iter().map(value).collect()
}

fn set_all<'a>(
    switches: impl Iterator<Item = (&'a String, &'a String)>,
) -> impl Iterator<Item = Result<(), CniError>> {
    switches.map(|(path, value)| {
        let what = || format!("set /proc/sys/{path} to {value:?}");
        sysctl::write(path, value).map(drop).context(what)
    })
}
