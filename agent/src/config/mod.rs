//! What was asked for: the command line, its flags and their variables, files of variables, and what they mean.
//! [`options`] holds the result; nothing after it reads a flag.

pub mod cli;
pub mod cni_names;
pub mod environment_file;
pub mod flags;
pub mod flannel_args;
pub mod go_values;
pub mod instance;
pub mod network_notes;
pub mod options;
pub mod secret;
pub mod settings;
