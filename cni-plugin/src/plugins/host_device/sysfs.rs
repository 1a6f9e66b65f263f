//! Which device of the host it is that a configuration names.

use std::fs;
use std::path::{Path, PathBuf};

use tweed_netlink::{LinkInfo, Netlink};

use super::config::Device;
use crate::net::master;
use crate::spec::{CniError, Context};

/// Drivers by which programs work on a device without the kernel: it then has no interface that could be moved.
const USER_SPACE: [&str; 3] = ["vfio-pci", "uio_pci_generic", "igb_uio"];

/// The device.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one at a time, and it is not kept"
)]
pub(super) enum Found {
    /// An interface of the host.
    Link(LinkInfo),
    /// A device of a program in user space.
    UserSpace,
}

/// Looks the device up, with the kernel's lists below `sysfs`.
///
/// # Errors
/// When there is none.
pub(super) fn find(
    sysfs: &Path,
    netlink: &mut Netlink,
    device: &Device,
) -> Result<Found, CniError> {
    if is_user_space(sysfs, device) {
        return Ok(Found::UserSpace);
    }
    let what = || "failed to find host device";
    let found = match device {
        Device::Name(name) => master::named(netlink, name)?,
        Device::Mac(mac) => {
            let links = netlink.links()?.into_iter();
            let same = links.filter(|link| link.mac == Some(*mac));
            // What lies on a device often has its address; the device itself has no kind.
            same.min_by_key(|link| !link.kind.is_empty())
        }
        Device::KernelPath(path) => {
            let name = first_entry(&path.join("net")).context(what)?;
            netlink.link(&name)?
        }
        Device::Pci(_) | Device::Id(_) => {
            let name = interface(&folder(sysfs, device).context(what)?).context(what)?;
            netlink.link(&name)?
        }
    };
    let missing = || {
        let msg = format!(
            "failed to find host device: no interface is {}",
            words(device)
        );
        CniError::failed(msg).details("is it in another container?")
    };
    found.map(Found::Link).ok_or_else(missing)
}

/// Whether a program in user space drives the device.
pub(super) fn is_user_space(sysfs: &Path, device: &Device) -> bool {
    let Ok(folder) = folder(sysfs, device) else {
        return false;
    };
    let driver = fs::read_link(folder.join("driver")).unwrap_or_default();
    let name = driver.file_name().unwrap_or_default();
    USER_SPACE.iter().any(|driver| name == *driver)
}

fn words(device: &Device) -> String {
    match device {
        Device::Name(name) => format!("called {name}"),
        Device::Mac(mac) => format!("of address {mac}"),
        Device::KernelPath(path) => format!("of {}", path.display()),
        Device::Pci(name) | Device::Id(name) => format!("of device {name}"),
    }
}

/// The device's folder on its bus.
fn folder(sysfs: &Path, device: &Device) -> Result<PathBuf, CniError> {
    let on = |bus: &str, name: &str| sysfs.join("bus").join(bus).join("devices").join(name);
    let (buses, name): (&[&str], _) = match device {
        Device::Pci(name) => (&["pci"], name),
        Device::Id(name) => (&["pci", "auxiliary"], name),
        _ => return Err(CniError::failed("the device is not named by a bus")),
    };
    let mut folders = buses.iter().map(|bus| on(bus, name));
    folders.find(|folder| folder.exists()).ok_or_else(|| {
        let msg = format!("device {name} not found or unsupported");
        CniError::failed(msg).details(format!("there is none on the bus {}", buses.join(" or ")))
    })
}

/// The name of a device's interface: its own, or that of the virtio device on it.
fn interface(folder: &Path) -> Result<String, CniError> {
    if folder.join("net").exists() {
        return first_entry(&folder.join("net"));
    }
    let parts = fs::read_dir(folder).context(|| folder.display().to_string())?;
    let virtio = parts.flatten().map(|entry| entry.path()).find(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("virtio") && path.join("net").exists()
    });
    match virtio {
        Some(path) => first_entry(&path.join("net")),
        None => {
            let folder = folder.display();
            let msg = format!("no net directory under device {folder}");
            Err(CniError::failed(msg))
        }
    }
}

fn first_entry(folder: &Path) -> Result<String, CniError> {
    let entries = fs::read_dir(folder).context(|| folder.display().to_string())?;
    let names = entries.flatten().map(|entry| entry.file_name());
    let first = names.min().ok_or_else(|| {
        let msg = format!("failed to find network device in path {}", folder.display());
        CniError::failed(msg)
    })?;
    Ok(first.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tweed_netlink::lab::sh;
    use tweed_netlink::netns::isolated;

    use super::*;

    fn found(sysfs: &Path, device: &Device) -> Result<Found, String> {
        let mut netlink = Netlink::open().unwrap();
        find(sysfs, &mut netlink, device).map_err(|error| error.to_string())
    }

    fn name(sysfs: &Path, device: &Device) -> String {
        match found(sysfs, device) {
            Ok(Found::Link(link)) => link.name,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_device_is_found_by_name_address_path_and_bus() {
        isolated(|| {
            sh("ip link add nic0 address 02:00:00:00:00:07 type veth peer name nic1");
            sh("ip link property add dev nic0 altname enp0s31f6");
            let sysfs = tempfile::tempdir().unwrap();
            let root = sysfs.path();
            let at = |path: &str| root.join(path);
            fs::create_dir_all(at("bus/pci/devices/0000:00:01.0/net/nic0")).unwrap();
            fs::create_dir_all(at("bus/pci/devices/0000:00:02.0/virtio0/net/nic1")).unwrap();
            fs::create_dir_all(at("bus/auxiliary/devices/mlx5_core.sf.4/net/nic1")).unwrap();
            fs::create_dir_all(at("bus/pci/devices/0000:00:03.0")).unwrap();
            let mac = "02:00:00:00:00:07".parse().unwrap();
            let pci = |name: &str| Device::Pci(name.into());
            let id = |name: &str| Device::Id(name.into());
            for (device, wanted) in [
                (Device::Name("nic0".into()), "nic0"),
                (Device::Name("enp0s31f6".into()), "nic0"),
                (Device::Mac(mac), "nic0"),
                (
                    Device::KernelPath(at("bus/pci/devices/0000:00:01.0")),
                    "nic0",
                ),
                (pci("0000:00:01.0"), "nic0"),
                (pci("0000:00:02.0"), "nic1"),
                (id("0000:00:01.0"), "nic0"),
                (id("mlx5_core.sf.4"), "nic1"),
            ] {
                assert_eq!(name(root, &device), wanted, "{device:?}");
            }
            for (device, text) in [
                (Device::Name("none".into()), "no interface is called none"),
                (pci("0000:00:03.0"), "no net directory under device"),
                (pci("0000:00:04.0"), "device 0000:00:04.0 not found"),
                (pci("mlx5_core.sf.4"), "not found or unsupported"),
                (id("none"), "on the bus pci or auxiliary"),
            ] {
                let error = found(root, &device).unwrap_err();
                assert!(error.contains(text), "{error}");
            }
        });
    }

    #[test]
    fn a_device_of_a_program_in_user_space_has_no_interface() {
        isolated(|| {
            let sysfs = tempfile::tempdir().unwrap();
            let folder = sysfs.path().join("bus/pci/devices/0000:00:01.0");
            fs::create_dir_all(&folder).unwrap();
            symlink("/sys/bus/pci/drivers/vfio-pci", folder.join("driver")).unwrap();
            for device in [
                Device::Pci("0000:00:01.0".into()),
                Device::Id("0000:00:01.0".into()),
            ] {
                let found = found(sysfs.path(), &device);
                assert!(matches!(found, Ok(Found::UserSpace)), "{found:?}");
            }
        });
    }
}
