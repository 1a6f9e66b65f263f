//! Kernel modules with those that they need, in the order in which they can be loaded. Debian's packages have no
//! `modules.dep`, which `depmod` makes at installation, but each module names what it needs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// What tests and programs use. The guest loads nothing on demand.
const WANTED: &[&str] = &[
    // Interfaces.
    "bridge",
    "br_netfilter",
    "veth",
    "dummy",
    "macvlan",
    "ipvlan",
    "8021q",
    "vrf",
    "vxlan",
    "ipip",
    "tun",
    "ifb",
    "wireguard",
    // Traffic control.
    "sch_ingress",
    "sch_htb",
    "sch_tbf",
    "sch_netem",
    "sch_fq_codel",
    "cls_u32",
    "cls_matchall",
    "act_mirred",
    // The packet filter.
    "nf_tables",
    "nf_conntrack_netlink",
    "nft_chain_nat",
    "nft_nat",
    "nft_masq",
    "nft_redir",
    "nft_ct",
    "nft_fib_inet",
    "nft_reject_inet",
    "nft_limit",
    "nft_log",
    "nft_compat",
    "nft_hash",
    "nft_numgen",
    "nft_meta_bridge",
    "nft_reject_bridge",
    "xt_comment",
    "xt_conntrack",
    "xt_addrtype",
    "xt_mark",
    "xt_MASQUERADE",
    "xt_nat",
    "xt_multiport",
    "xt_tcpudp",
    "xt_limit",
    "ipt_REJECT",
    "iptable_filter",
    "iptable_nat",
    "ip6table_filter",
    "ip6table_nat",
    // Protocols.
    "sctp",
];

/// The files of all wanted modules, each after those that it needs.
///
/// # Errors
/// When the kernel has one neither as a file nor built in.
pub(super) fn in_order(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = BTreeMap::new();
    collect(folder, &mut files)?;
    let built_in = fs::read_to_string(folder.join("modules.builtin")).unwrap_or_default();
    let built_in: Vec<String> = built_in
        .lines()
        .map(|line| name_of(Path::new(line)))
        .collect();
    let mut order = Vec::new();
    for name in WANTED {
        load(&name_of(Path::new(name)), &files, &built_in, &mut order)?;
    }
    Ok(order)
}

fn collect(folder: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|ending| ending == "ko") {
            files.insert(name_of(&path), path);
        }
    }
    Ok(())
}

/// The kernel takes a dash in a file's name for an underscore.
fn name_of(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    stem.replace('-', "_")
}

fn load(
    name: &str,
    files: &BTreeMap<String, PathBuf>,
    built_in: &[String],
    order: &mut Vec<PathBuf>,
) -> Result<()> {
    let Some(file) = files.get(name) else {
        if built_in.iter().any(|there| there == name) {
            return Ok(());
        }
        bail!("the guest's kernel has no module {name}");
    };
    if order.contains(file) {
        return Ok(());
    }
    let bytes = fs::read(file).with_context(|| format!("read {}", file.display()))?;
    for needed in needed_by(&bytes) {
        load(&needed, files, built_in, order)?;
    }
    order.push(file.clone());
    Ok(())
}

/// What stands after `depends=` in the module's list of facts.
fn needed_by(bytes: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"depends=";
    let places = bytes.windows(KEY.len()).enumerate();
    let mut values = places
        .filter(|(_, window)| *window == KEY)
        .filter_map(|(place, _)| {
            let value = bytes[place + KEY.len()..].split(|byte| *byte == 0).next()?;
            let text = std::str::from_utf8(value).ok()?;
            let fits = |letter: char| letter.is_ascii_alphanumeric() || "_-,".contains(letter);
            text.chars().all(fits).then(|| text.to_owned())
        });
    let value = values.next().unwrap_or_default();
    let names = value.split(',').filter(|name| !name.is_empty());
    names.map(|name| name.replace('-', "_")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_comes_after_what_it_needs_and_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = BTreeMap::new();
        for (name, needs) in [("a", "b,c-d"), ("b", "c-d"), ("c-d", "")] {
            let path = folder.path().join(format!("{name}.ko"));
            fs::write(
                &path,
                format!("\u{7f}ELF\0license=GPL\0depends={needs}\0name={name}\0"),
            )
            .unwrap();
            files.insert(name_of(&path), path);
        }
        let mut order = Vec::new();
        load("a", &files, &[], &mut order).unwrap();
        let names: Vec<String> = order.iter().map(|path| name_of(path)).collect();
        assert_eq!(names, ["c_d", "b", "a"]);
        assert!(load("e", &files, &["e".to_owned()], &mut order).is_ok());
        assert!(load("e", &files, &[], &mut order).is_err());
    }
}
