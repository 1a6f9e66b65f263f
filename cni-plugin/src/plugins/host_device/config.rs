//! The keys of `host-device`. Pure.

use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use tweed_model::Mac;

use crate::net::options;
use crate::spec::{CniError, Dns, NetConf};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DeviceConfig {
    pub(super) device: Device,
    /// Name servers in place of those of the IPAM plugin.
    pub(super) dns: Option<Dns>,
}

/// How the configuration says which device it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Device {
    Name(String),
    Mac(Mac),
    /// A folder of `/sys/devices`.
    KernelPath(PathBuf),
    /// An address on the PCI bus.
    Pci(String),
    /// A device that the runtime names: on the PCI bus, or the auxiliary one.
    Id(String),
}

/// All keys. Their defaults are unset, as in the reference.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Keys {
    device: String,
    hwaddr: String,
    kernelpath: String,
    #[serde(rename = "pciBusID")]
    pci_bus_id: String,
    runtime_config: Runtime,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Runtime {
    #[serde(rename = "deviceID")]
    device_id: String,
}

impl DeviceConfig {
    /// Reads and checks the keys.
    ///
    /// # Errors
    /// Names the key, and what is allowed.
    pub(super) fn parse(conf: &NetConf) -> Result<Self, CniError> {
        let keys: Keys = conf.read()?;
        Ok(Self {
            dns: options::dns(conf)?,
            device: device(&keys)?,
        })
    }
}

/// The first key that is given decides, in the order of the reference; the runtime's device goes before `pciBusID`.
fn device(keys: &Keys) -> Result<Device, CniError> {
    let id = &keys.runtime_config.device_id;
    if !keys.device.is_empty() {
        options::check_interface("device", &keys.device)?;
        Ok(Device::Name(keys.device.clone()))
    } else if !keys.hwaddr.is_empty() {
        let mac = keys.hwaddr.parse();
        mac.map(Device::Mac)
            .map_err(|error| CniError::config(format!("hwaddr: {error}")))
    } else if !keys.kernelpath.is_empty() {
        kernel_path(&keys.kernelpath)
    } else if !id.is_empty() {
        on_a_bus("deviceID", id).map(Device::Id)
    } else if !keys.pci_bus_id.is_empty() {
        on_a_bus("pciBusID", &keys.pci_bus_id).map(Device::Pci)
    } else {
        let msg = "specify either \"device\", \"hwaddr\", \"kernelpath\" or \"pciBusID\"";
        Err(CniError::config(msg).details("or have the runtime set the capability deviceID"))
    }
}

fn kernel_path(text: &str) -> Result<Device, CniError> {
    let path = Path::new(text);
    let leaves = path.components().any(|part| part == Component::ParentDir);
    if leaves || !path.starts_with("/sys/devices") || path == Path::new("/sys/devices") {
        let msg = format!("kernelpath {text:?} is not a folder below /sys/devices/");
        return Err(CniError::config(msg));
    }
    Ok(Device::KernelPath(path.to_owned()))
}

/// The name of a device on a bus is the name of a folder, and must not lead elsewhere.
fn on_a_bus(key: &str, name: &str) -> Result<String, CniError> {
    let wrong = |c: char| !(c.is_ascii_alphanumeric() || ":._-".contains(c));
    if name.contains(wrong) || name.starts_with('.') {
        let msg = format!("{key} {name:?} is not the name of a device, such as 0000:00:1f.6");
        return Err(CniError::config(msg));
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::spec::Version;

    fn parse(mut keys: Value) -> Result<Device, String> {
        keys["name"] = json!("net");
        keys["cniVersion"] = json!("1.0.0");
        let conf = NetConf::from_value(keys, Version::V0_1_0.and_newer()).unwrap();
        let config = DeviceConfig::parse(&conf);
        config
            .map(|config| config.device)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_first_key_of_the_references_order_decides() {
        let mut keys = json!({
            "device": "eth9", "hwaddr": "02:00:00:00:00:01", "kernelpath": "/sys/devices/pci0/0000:00:1f.6",
            "pciBusID": "0000:00:1f.6", "runtimeConfig": {"deviceID": "mlx5_core.sf.4"},
        });
        let mac = Mac([2, 0, 0, 0, 0, 1]);
        let path = PathBuf::from("/sys/devices/pci0/0000:00:1f.6");
        for (key, wanted) in [
            ("device", Device::Name("eth9".into())),
            ("hwaddr", Device::Mac(mac)),
            ("kernelpath", Device::KernelPath(path)),
            ("runtimeConfig", Device::Id("mlx5_core.sf.4".into())),
            ("pciBusID", Device::Pci("0000:00:1f.6".into())),
        ] {
            assert_eq!(parse(keys.clone()), Ok(wanted));
            keys.as_object_mut().unwrap().remove(key);
        }
        assert!(parse(keys).unwrap_err().contains("specify either"));
    }

    #[test]
    fn what_leads_out_of_the_kernels_folders_is_refused() {
        for (key, value) in [
            ("kernelpath", "/etc"),
            ("kernelpath", "/sys/devices/../../etc"),
            ("kernelpath", "/sys/devices"),
            ("kernelpath", "sys/devices/x"),
            ("pciBusID", "../../../etc"),
            ("pciBusID", ".."),
            ("device", "a/b"),
            ("hwaddr", "02:00"),
        ] {
            let error = parse(json!({key: value})).unwrap_err();
            assert!(error.starts_with(key), "{error}");
        }
        let error = parse(json!({"runtimeConfig": {"deviceID": "a/b"}})).unwrap_err();
        assert!(error.starts_with("deviceID"), "{error}");
    }
}
