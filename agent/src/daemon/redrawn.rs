//! Other VTEP MACs than those that this node had.

use std::time::Instant;

use tweed_model::Identity;

/// MACs that this process has drawn because another node had the old ones first.
#[derive(Clone, Debug)]
pub struct Redrawn {
    pub(super) identity: Identity,
    pub(super) former: Identity,
    pub(super) at: Instant,
}
