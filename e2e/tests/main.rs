//! The scenarios. One program, so that they link once and run side by side; one file for each scenario.

mod adoption;
mod adverse;
mod advertised;
mod alone;
mod cleanup;
mod config_change;
mod connectivity;
mod docker;
mod go_plugins;
mod golden;
mod guard;
mod healing;
mod hostile;
mod hostport;
mod identity;
mod lab;
mod mixed;
mod nat;
mod neighbours;
mod operator;
mod outage;
mod reach;
mod restart;
mod routing;
mod udp;
mod uplink;
