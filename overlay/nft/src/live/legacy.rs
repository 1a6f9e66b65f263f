//! Legacy iptables, read by the two questions that `iptables-legacy` itself asks. They need `CAP_NET_ADMIN` and no raw
//! socket: any socket of the family will do.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsRawFd, OwnedFd};
use std::{fs, io};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use tweed_model::Family;

use crate::legacy::LegacyTable;

/// `IPT_SO_GET_INFO` and `IP6T_SO_GET_INFO`; the next number asks for the rules.
const GET_INFO: libc::c_int = 64;
const GET_ENTRIES: libc::c_int = 65;
/// Length of the name that both questions begin with.
const NAME: usize = 32;
/// Length of `struct ipt_getinfo`: name, hooks, five beginnings, five policies, number and size of all rules.
const INFO: usize = NAME + 52;
/// Where the rules begin in an answer to the second question: behind name and size, where a rule may stand.
const ENTRIES: usize = 40;
/// A table of more bytes than this is not read.
const LIMIT: usize = 64 << 20;

/// The legacy iptables tables in use in this network namespace.
///
/// # Errors
/// When the kernel's list can't be read for another reason than that the module isn't loaded.
pub fn legacy_tables() -> io::Result<BTreeMap<Family, BTreeSet<String>>> {
    let mut found = BTreeMap::new();
    for family in Family::BOTH {
        // Of the calling thread: it may stand in another namespace than the process.
        let list = match family {
            Family::V4 => "/proc/thread-self/net/ip_tables_names",
            Family::V6 => "/proc/thread-self/net/ip6_tables_names",
        };
        let names = match fs::read_to_string(list) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            text => text?,
        };
        let names: BTreeSet<String> = names.lines().map(str::to_owned).collect();
        if !names.is_empty() {
            found.insert(family, names);
        }
    }
    Ok(found)
}

/// The legacy filter table of a family. To be asked for only where [`legacy_tables`] has it: the question would make it.
///
/// # Errors
/// When the kernel refuses: `CAP_NET_ADMIN` is needed.
pub fn legacy_filter(family: Family) -> io::Result<LegacyTable> {
    legacy_table(family, "filter")
}

/// A legacy table by its name, likewise.
pub fn legacy_table(family: Family, name: &str) -> io::Result<LegacyTable> {
    let (domain, level) = match family {
        Family::V4 => (AddressFamily::Inet, libc::IPPROTO_IP),
        Family::V6 => (AddressFamily::Inet6, libc::IPPROTO_IPV6),
    };
    let socket = socket(domain, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    loop {
        let mut info = question(name, INFO);
        ask(&socket, level, GET_INFO, &mut info)?;
        // Hooks, then the beginnings of prerouting, input, forward.
        let input = number(&info, NAME + 4 + 4) as usize;
        let forward = number(&info, NAME + 4 + 8) as usize;
        let size = number(&info, INFO - 4) as usize;
        if size > LIMIT {
            return Err(io::Error::other(format!("{size} bytes of rules")));
        }
        let mut entries = question(name, ENTRIES + size);
        entries[NAME..NAME + 4].copy_from_slice(&(size as u32).to_ne_bytes());
        match ask(&socket, level, GET_ENTRIES, &mut entries) {
            // Somebody has just changed the table.
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => {}
            answer => {
                answer?;
                let rules = entries.split_off(ENTRIES);
                return Ok(LegacyTable {
                    family,
                    input,
                    forward,
                    rules,
                });
            }
        }
    }
}

fn question(name: &str, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    bytes
}

fn number(bytes: &[u8], at: usize) -> u32 {
    let bytes = bytes
        .get(at..at + 4)
        .and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, u32::from_ne_bytes)
}

#[expect(unsafe_code, reason = "these socket options have no safe wrapper")]
fn ask(
    socket: &OwnedFd,
    level: libc::c_int,
    what: libc::c_int,
    bytes: &mut [u8],
) -> io::Result<()> {
    let mut length = libc::socklen_t::try_from(bytes.len()).map_err(io::Error::other)?;
    // SAFETY: the buffer is as long as `length` says, and the kernel writes no more than that.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            what,
            bytes.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
