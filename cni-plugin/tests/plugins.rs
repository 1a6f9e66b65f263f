//! The plugins as a runtime meets them: the real binary, the real kernel, in namespaces of the test's own.
#![allow(clippy::unwrap_used, reason = "a test fails where it fails")]

mod plugins {
    mod chained;
    mod lab;
    mod mishaps;
    mod runner;
    mod subjects;

    mod bandwidth;
    mod bandwidth_traffic;
    mod bridge;
    mod bridge_container;
    mod bridge_faults;
    mod bridge_masquerade;
    mod bridge_records;
    mod cnitool;
    mod crash_points;
    mod delegate;
    mod dhcp;
    mod dhcp_daemon;
    mod dhcp_lab;
    mod fast_del;
    mod firewall;
    mod flannel;
    mod foreign_files;
    mod fuzz;
    mod host_device;
    mod host_local;
    mod host_local_dead;
    mod interop;
    mod link_faults;
    mod link_interop;
    mod loopback;
    mod macvlan;
    mod matrix;
    mod model;
    mod portmap;
    mod portmap_again;
    mod portmap_conditions;
    mod portmap_faults;
    mod portmap_loopback;
    mod portmap_results;
    mod portmap_tunnel;
    mod process;
    mod ptp;
    mod recursion;
    mod routed;
    mod run;
    mod run_faults;
    mod sample;
    mod sbr;
    mod source;
    mod stacked;
    mod static_ipam;
    mod tap;
    mod traffic;
    mod tuning;
    mod tweed;
    mod vlan;
    mod vrf;
}
