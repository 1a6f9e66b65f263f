//! One operation, one request (a device takes two). Puts replace, deletes tolerate that there is nothing left to do.

use std::io;
use std::sync::Arc;

use tweed_host::{KernelError, sysctl};
use tweed_model::Mac;
use tweed_netlink::{
    AddrSpec, Dev, LinkChange, LinkInfo, Netlink, NetlinkError, RouteKind, RouteSpec, TX_CHECKSUM,
};
use tweed_state::{Link, NextHop, ObjectRef, Op, Route, RouteKey, may_be_absent};

use super::connected::is_kernels;
use super::linux::Linux;
use super::nexthops::numbers::Key;
use super::{kinds, nexthops};

/// Number 1 in every namespace.
const LOOPBACK: Dev<'static> = Dev {
    index: 1,
    name: "lo",
};

pub(super) fn apply(linux: &mut Linux, op: &Op) -> Result<(), KernelError> {
    attempt(linux, op).map_err(|error| match op {
        Op::AddLink(name, link) | Op::SetLink(name, link) => {
            with_obstacle(linux, name, link, error)
        }
        _ => error,
    })
}

/// Says what is in the way, where that is known.
fn with_obstacle(linux: &mut Linux, name: &str, link: &Link, error: KernelError) -> KernelError {
    match kinds::obstacle(linux, name, link, &error.source) {
        Some(what) => KernelError {
            source: io::Error::new(error.source.kind(), format!("{}: {what}", error.source)),
            ..error
        },
        None => error,
    }
}

fn attempt(linux: &mut Linux, op: &Op) -> Result<(), KernelError> {
    match op {
        Op::AddLink(name, link) => add_link(linux, op, name, link),
        Op::SetLink(name, link) => set_link(linux, op, name, link),
        Op::DelLink(name) => {
            let result = delete(linux, name, |netlink, dev| netlink.del_link(dev));
            linux.devices.forget(name);
            result
        }
        Op::AddAddr(name, net) => {
            let spec = AddrSpec::plain(*net);
            put(linux, op, name, |netlink, dev| netlink.put_addr(dev, &spec))
        }
        Op::DelAddr(name, net) => delete(linux, name, |netlink, dev| netlink.del_addr(dev, *net)),
        Op::PutNeigh((name, addr), mac) => put(linux, op, name, |netlink, dev| {
            netlink.put_neigh(dev, *addr, *mac)
        }),
        Op::DelNeigh((name, addr)) => {
            delete(linux, name, |netlink, dev| netlink.del_neigh(dev, *addr))
        }
        Op::PutFdb((name, mac), dst) => put(linux, op, name, |netlink, dev| {
            netlink.put_fdb(dev, *mac, *dst)
        }),
        Op::DelFdb((name, mac), _) => {
            delete(linux, name, |netlink, dev| netlink.del_fdb(dev, *mac))
        }
        Op::SetTxChecksum(name, on) => linux
            .ethtool()?
            .set_feature(name, TX_CHECKSUM, *on)
            .map_err(Into::into),
        Op::PutNextHop(object) => {
            nexthops::put(linux, object)?.ok_or_else(|| absent(&object.dev, op))
        }
        Op::DelNextHop(object) => nexthops::delete(linux, object),
        Op::PutRoute(key, route) => put_route(linux, op, key, route),
        Op::DelRoute(key, route) => del_route(linux, key, route),
        Op::SetSysctl(key, value) => set_sysctl(key, value),
        Op::Firewall(change) => linux.firewall.apply(change),
        Op::ForeignForward(family, wanted) => linux.firewall.put_foreign_forward(*family, wanted),
        Op::Sweep(instance) => linux.firewall.sweep(instance),
        Op::Attached(repair) => super::attached::apply(linux, repair),
    }
}

fn set_sysctl(key: &str, value: &str) -> Result<(), KernelError> {
    if may_be_absent(key) && matches!(sysctl::read(key), Ok(None)) {
        return Ok(());
    }
    match sysctl::write(key, value) {
        Ok(_) => Ok(()),
        Err(source) => Err(KernelError {
            what: format!("set sysctl {key} = {value}"),
            source,
        }),
    }
}

fn put(
    linux: &mut Linux,
    op: &Op,
    name: &str,
    request: impl FnMut(&mut Netlink, Dev<'_>) -> Result<(), NetlinkError>,
) -> Result<(), KernelError> {
    linux.on_dev(name, request)?.ok_or_else(|| absent(name, op))
}

fn delete(
    linux: &mut Linux,
    name: &str,
    mut request: impl FnMut(&mut Netlink, Dev<'_>) -> Result<(), NetlinkError>,
) -> Result<(), KernelError> {
    // An interface that isn't there has nothing to delete.
    linux
        .on_dev(name, |netlink, dev| tolerate_absence(request(netlink, dev)))
        .map(drop)
}

/// Only absence of the object is tolerated: `ENODEV` makes [`Linux::on_dev`] look the interface up again.
fn tolerate_absence(result: Result<(), NetlinkError>) -> Result<(), NetlinkError> {
    match result {
        Err(error) if error.is_not_found() && error.errno != libc::ENODEV => Ok(()),
        result => result,
    }
}

fn absent(name: &str, op: &Op) -> KernelError {
    refused(
        op,
        io::ErrorKind::NotFound,
        format!("there is no interface {name}"),
    )
}

fn refused(op: &Op, kind: io::ErrorKind, why: String) -> KernelError {
    KernelError {
        what: op.to_string(),
        source: io::Error::new(kind, why),
    }
}

/// Creates the device, then sets what creation does not take: the alias, and the state. A device that is there already
/// is brought into form if it is of the right kind.
fn add_link(linux: &mut Linux, op: &Op, name: &str, link: &Link) -> Result<(), KernelError> {
    linux.devices.forget(name);
    kinds::make(linux, &op.to_string(), name, link)?;
    set_link(linux, op, name, link)
}

/// Sends what differs, in one request; nothing if nothing does.
fn set_link(linux: &mut Linux, op: &Op, name: &str, link: &Link) -> Result<(), KernelError> {
    let there = linux.netlink.link(name)?.ok_or_else(|| absent(name, op))?;
    linux.note(&there);
    if let Some(change) = difference(&there, link) {
        linux.netlink.set_link(there.dev(), &change)?;
    }
    Ok(())
}

fn difference<'a>(there: &LinkInfo, link: &'a Link) -> Option<LinkChange<'a>> {
    let mac = (there.mac.unwrap_or(Mac([0; 6])) != link.mac).then_some(link.mac);
    let mtu = (there.mtu != link.mtu).then_some(link.mtu);
    let alias = (there.alias != link.alias).then_some(link.alias.as_str());
    let up = (there.up != link.up).then_some(link.up);
    let txqlen = kinds::queue_length(link, there.txqlen);
    let numbers = mtu.is_some() || txqlen.is_some();
    let any = mac.is_some() || numbers || alias.is_some() || up.is_some();
    any.then_some(LinkChange {
        mac,
        mtu,
        txqlen,
        alias,
        up,
        ..LinkChange::default()
    })
}

/// Puts a route in the first place of its key, which another may have: a flannel route of the same destination is replaced.
/// The kernel's own routes, as to the network on a link, are left alone.
fn put_route(linux: &mut Linux, op: &Op, key: &RouteKey, route: &Route) -> Result<(), KernelError> {
    let add = |netlink: &mut Netlink, spec: &RouteSpec<'_>| match netlink.add_route(spec) {
        Err(error) if error.is_exists() || error.errno == libc::EINVAL && spec.onlink => Ok(false),
        result => result.map(|()| true),
    };
    let why = "the kernel's own route to a network on its links stands there".to_owned();
    let kernels = refused(op, io::ErrorKind::AlreadyExists, why);
    if linux.connected.yield_to(key) && kernels_own(linux, key)? {
        return Err(kernels);
    }
    match with_route(linux, key, route, add)? {
        Some(true) => Ok(()),
        Some(false) if kernels_own(linux, key)? => Err(kernels),
        Some(false) => replace_route(linux, op, key, route),
        None => Err(absent(device_of(route), op)),
    }
}

fn kernels_own(linux: &mut Linux, key: &RouteKey) -> Result<bool, KernelError> {
    is_kernels(&mut linux.connected, &mut linux.netlink, key)
}

fn replace_route(
    linux: &mut Linux,
    op: &Op,
    key: &RouteKey,
    route: &Route,
) -> Result<(), KernelError> {
    let put = |netlink: &mut Netlink, spec: &RouteSpec<'_>| match netlink.put_route(spec) {
        // Exactly this route is there, but behind another program's of the same key (IPv4 keeps both). Taken out and
        // put again, it replaces that one.
        Err(error) if error.is_exists() => {
            tolerate_absence(netlink.del_route(spec))?;
            netlink.put_route(spec)
        }
        // IPv6 refuses a gateway as onlink while a route to it leads elsewhere: "device mismatch". Our gateways lie
        // within the destination, so that the route to be replaced stands in its own way.
        Err(error) if error.errno == libc::EINVAL && spec.onlink => {
            let any = RouteSpec {
                metric: spec.metric,
                protocol: 0,
                ..RouteSpec::to(spec.dst)
            };
            match netlink.del_route(&any) {
                Ok(()) => netlink.put_route(spec),
                Err(_) => Err(error),
            }
        }
        result => result,
    };
    match with_route(linux, key, route, put)? {
        Some(()) => Ok(()),
        None => Err(absent(device_of(route), op)),
    }
}

fn del_route(linux: &mut Linux, key: &RouteKey, route: &Route) -> Result<(), KernelError> {
    let object = route.next_hop.object();
    let delete = |netlink: &mut Netlink, spec: &RouteSpec<'_>| {
        let mut spec = spec.clone();
        match object {
            ObjectRef::Plain => {}
            // It went with its object.
            ObjectRef::Ours if spec.nexthop.is_none() => return Ok(()),
            ObjectRef::Ours => {}
            // It refers to another program's object: a request with gateway or interface would not match.
            ObjectRef::Other => (spec.gateway, spec.dev, spec.onlink) = (None, None, false),
        }
        if spec.kind == RouteKind::Blackhole && spec.dst.addr().is_ipv6() {
            // IPv6 does not compare the type of route, but its blackholes are on the loopback device.
            spec.dev = Some(LOOPBACK);
        }
        tolerate_absence(netlink.del_route(&spec))
    };
    with_route(linux, key, route, delete).map(drop)
}

fn device_of(route: &Route) -> &str {
    match &route.next_hop {
        NextHop::Via { dev, .. } => dev,
        NextHop::Blackhole => "",
    }
}

/// Makes a request for a route: by the number of its object, or a plain one where there is no such object.
fn with_route<T>(
    linux: &mut Linux,
    key: &RouteKey,
    route: &Route,
    request: impl Fn(&mut Netlink, &RouteSpec<'_>) -> Result<T, NetlinkError>,
) -> Result<Option<T>, KernelError> {
    let spec = RouteSpec {
        metric: (key.metric != 0).then_some(key.metric),
        protocol: route.protocol,
        ..RouteSpec::to(key.dst)
    };
    let NextHop::Via {
        gateway,
        dev,
        onlink,
        object,
    } = &route.next_hop
    else {
        let kind = RouteKind::Blackhole;
        let done = request(&mut linux.netlink, &RouteSpec { kind, ..spec })?;
        return Ok(Some(done));
    };
    let ledger = Arc::clone(&linux.ledger);
    let wanted = route.next_hop.as_object();
    let wanted = wanted.filter(|_| *object == ObjectRef::Ours);
    linux.on_dev(dev, |netlink, dev| {
        let hop = wanted.as_ref().map(|object| Key::of(object, dev.index));
        let number = hop.and_then(|hop| ledger.lock().nexthops.get(&hop));
        if let (Some(hop), Some(id)) = (hop, number) {
            let nexthop = number;
            let done = request(
                netlink,
                &RouteSpec {
                    nexthop,
                    ..spec.clone()
                },
            );
            let refused = done.as_ref().err().map(|error| error.errno);
            if refused != Some(libc::EINVAL) || netlink.nexthop(id)?.is_some() {
                return done;
            }
            ledger.lock().nexthops.forget(&hop);
        }
        let plain = RouteSpec {
            gateway: *gateway,
            dev: Some(dev),
            onlink: *onlink,
            ..spec.clone()
        };
        request(netlink, &plain)
    })
}
