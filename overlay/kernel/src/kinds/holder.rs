//! The interface or process that has the name of a device which can't be made or brought up, or the UDP port of a VXLAN
//! device.

use std::fs;
use std::path::Path;

use tweed_netlink::Netlink;
use tweed_state::LinkKind;

use super::tun;

/// In words, with what to do; `None` if the name is free, or a device of the kind has it.
pub(super) fn of_name(netlink: &mut Netlink, name: &str, kind: &LinkKind) -> Option<String> {
    if let Some(other) = netlink.link_by_altname(name).ok()? {
        let other = other.name;
        return Some(format!(
            "{name} is an alternative name of interface {other}; take it away: ip link property del dev {other} altname {name}"
        ));
    }
    let there = netlink.link(name).ok()??;
    let is_tun = matches!(kind, LinkKind::Tun { .. }) && tun::read(&there).is_some();
    let is_vxlan = matches!(kind, LinkKind::Vxlan(_)) && there.kind == "vxlan";
    (!is_tun && !is_vxlan).then(|| {
        let kind = match there.kind.as_str() {
            "" => "a network card",
            kind => kind,
        };
        format!(
            "interface {name} is another kind of device ({kind}); give it another name: ip link set {name} down; ip link set {name} name other0"
        )
    })
}

/// In words, with what to do; `None` if nobody is found.
pub(super) fn of_vxlan(netlink: &mut Netlink, name: &str, vni: u32, port: u16) -> Option<String> {
    device(netlink, name, vni, port).or_else(|| process(port))
}

fn device(netlink: &mut Netlink, name: &str, vni: u32, port: u16) -> Option<String> {
    let links = netlink.links().ok()?;
    let others = links.iter().filter(|link| link.name != name);
    let on_port = others.filter_map(|link| Some((link, link.vxlan.as_ref()?)));
    let mut on_port = on_port.filter(|(_, vxlan)| vxlan.port == port);
    let (other, vxlan) = on_port.find(|(_, vxlan)| vxlan.vni == vni || vxlan.foreign)?;
    let (other, theirs) = (&other.name, vxlan.vni);
    Some(format!(
        "device {other} has VNI {theirs} on UDP port {port}: remove it, or choose another VNI or Port in Backend"
    ))
}

fn process(port: u16) -> Option<String> {
    let inode = ["udp", "udp6"].iter().find_map(|table| {
        let text = fs::read_to_string(format!("/proc/thread-self/net/{table}")).ok()?;
        socket(&text, port)
    })?;
    let who = match owner(&inode) {
        Some((pid, comm)) => format!("process {comm} (pid {pid})"),
        None => format!("a process (ss -lunp sport = :{port} shows it)"),
    };
    Some(format!(
        "{who} has UDP port {port}: end it, or choose another Port in Backend"
    ))
}

/// The inode of the socket that has the port, from the kernel's table.
fn socket(table: &str, port: u16) -> Option<String> {
    let ending = format!(":{port:04X}");
    let mut sockets = table.lines().skip(1).map(|line| line.split_whitespace());
    sockets.find_map(|mut words| {
        let local = words.nth(1)?;
        let inode = words.nth(7)?;
        // Sockets of the kernel's own, such as those of VXLAN devices, have none.
        (local.ends_with(&ending) && inode != "0").then(|| inode.to_owned())
    })
}

fn owner(inode: &str) -> Option<(u32, String)> {
    let wanted = format!("socket:[{inode}]");
    let has_it = |process: &Path| {
        let files = fs::read_dir(process.join("fd")).into_iter().flatten();
        files.flatten().any(|file| {
            fs::read_link(file.path()).is_ok_and(|target| target.as_os_str() == wanted.as_str())
        })
    };
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let process = entry.path();
        if !has_it(&process) {
            return None;
        }
        let comm = fs::read_to_string(process.join("comm")).unwrap_or_default();
        Some((pid, comm.trim_end().to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_found_by_its_port_and_the_kernels_own_are_passed_over() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n \
            1: 00000000:2118 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 0 2 0 0\n \
            2: 0100007F:2118 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4711 2 0 0\n";
        assert_eq!(socket(table, 8472).as_deref(), Some("4711"));
        assert_eq!(socket(table, 8473), None);
    }
}
