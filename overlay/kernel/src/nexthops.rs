//! Nexthop objects of ours: adds one under a free number, deletes one.

pub(super) mod numbers;
pub(super) mod seen;

use std::sync::Arc;

use tweed_host::KernelError;
use tweed_netlink::{Netlink, NetlinkError, NextHopSpec, Object};
use tweed_state::{NextHopObject, ROUTE_PROTOCOL};

use super::linux::Linux;
use numbers::{Key, candidates};

/// Adds an object; `None` if there is no such interface. An object that has the number already is never replaced.
pub(super) fn put(linux: &mut Linux, object: &NextHopObject) -> Result<Option<()>, KernelError> {
    let ledger = Arc::clone(&linux.ledger);
    linux.on_dev(&object.dev, |netlink, dev| {
        let key = Key::of(object, dev.index);
        let (known, instance) = {
            let books = ledger.lock();
            (books.nexthops.get(&key), books.scope.table.clone())
        };
        for id in known.into_iter().chain(candidates(&instance, object)) {
            let spec = NextHopSpec {
                id,
                gateway: object.gateway,
                dev,
                onlink: object.onlink,
                protocol: ROUTE_PROTOCOL,
            };
            match netlink.add_nexthop(&spec) {
                Ok(()) => {
                    ledger.lock().nexthops.note(key, id);
                    return Ok(());
                }
                Err(error) if !error.is_exists() => {
                    return Err(of_device(netlink, dev.index, error)?);
                }
                Err(_) if known == Some(id) && is_this(netlink, id, key)? => return Ok(()),
                Err(_) => {}
            }
        }
        Err(NetlinkError {
            what: format!("add nexthop {object}"),
            errno: libc::ENOSPC,
            detail: Some("all numbers are taken, see `ip nexthop`".to_owned()),
            object: Object::NextHop,
        })
    })
}

fn is_this(netlink: &mut Netlink, id: u32, key: Key) -> Result<bool, NetlinkError> {
    let there = netlink.nexthop(id)?;
    Ok(there
        .is_some_and(|there| there.protocol == ROUTE_PROTOCOL && Key::of_info(&there) == Some(key)))
}

/// Gives the error of a missing interface, for which the kernel answers "invalid argument".
fn of_device(
    netlink: &mut Netlink,
    index: u32,
    error: NetlinkError,
) -> Result<NetlinkError, NetlinkError> {
    let gone = error.errno == libc::EINVAL && netlink.link_by_index(index)?.is_none();
    let errno = if gone { libc::ENODEV } else { error.errno };
    Ok(NetlinkError { errno, ..error })
}

/// Deletes an object. One that is gone is no error.
pub(super) fn delete(linux: &mut Linux, object: &NextHopObject) -> Result<(), KernelError> {
    let ledger = Arc::clone(&linux.ledger);
    let done = linux.on_dev(&object.dev, |netlink, dev| {
        let key = Key::of(object, dev.index);
        let id = ledger.lock().nexthops.get(&key);
        match id.map_or(Ok(()), |id| netlink.del_nexthop(id)) {
            Err(error) if !error.is_not_found() => Err(error),
            _ => {
                ledger.lock().nexthops.forget(&key);
                Ok(())
            }
        }
    });
    done.map(drop)
}
