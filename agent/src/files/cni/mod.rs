//! The CNI plugin's files on this host: the plugin, its links, and the network configuration list. Runtimes start pods
//! the moment the list is there, so that it comes last. Every file appears whole, by rename.
//!
//! A file is ours if it is what an earlier run put there, which a record beside it tells. Anything else of the same name
//! belongs to somebody and is left alone, and so is what others have appended to our list.

pub mod conflist;
mod folder;
mod layout;
mod limits;
mod list;
mod merge;
mod networks;
mod record;
mod source;

pub use folder::{Folder, Outcome, Placed, Replace};
pub use layout::settle;
pub use limits::{LIST_LIMIT, PLUGIN_LIMIT};
pub use networks::networks;
pub use source::source;
