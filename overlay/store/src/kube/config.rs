//! The network configuration: a file, and what it says.

use std::path::Path;

use tweed_host::bounded_file::{self, Links, MIB};
use tweed_model::{Dual, NetworkConfig, Pool, Subnets};

/// Its raw text, where it can be read.
pub(super) fn read(file: &Path) -> Option<String> {
    bounded_file::read_text(file, Links::Followed, MIB).ok()
}

/// The families of a network: both, where its configuration can't be read.
pub(super) fn families(config: Option<&str>) -> Dual<()> {
    let both = Dual {
        v4: Some(()),
        v6: Some(()),
    };
    pools(config).map_or(both, |pools| pools.map(|_, _| ()))
}

/// The pod networks of a configuration that can be read.
pub(super) fn pools(config: Option<&str>) -> Option<Dual<Pool>> {
    let parsed = NetworkConfig::parse_for(Subnets::Assigned, config?).ok();
    parsed.map(|(config, _)| config.pools)
}
