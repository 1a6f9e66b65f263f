//! The file `subnet.env`: what the agent tells the CNI plugin.
