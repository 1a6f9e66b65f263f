//! A scenario that holds for every backend is written once, and run for each row of this table.

/// Makes a test of each scenario for each backend: `reach::vxlan::tcp_carries_megabytes`. The second list is of those
/// that are about the backend's device.
macro_rules! each_backend {
    (all: $all:tt, $(with_a_device: $device:tt,)?) => {
        each_backend! { row vxlan VXLAN device $all $($device)? }
        each_backend! { row direct_routing DIRECT device $all $($device)? }
        each_backend! { row host_gw HOST_GW plain $all $($device)? }
        each_backend! { row udp UDP device $all $($device)? }
    };
    (row $name:ident $backend:ident device [$($all:ident),* $(,)?] $([$($device:ident),* $(,)?])?) => {
        each_backend! { tests $name $backend $($all)* $($($device)*)? }
    };
    (row $name:ident $backend:ident plain [$($all:ident),* $(,)?] $($device:tt)?) => {
        each_backend! { tests $name $backend $($all)* }
    };
    (tests $name:ident $backend:ident $($scenario:ident)*) => {
        mod $name {
            $(
                #[test]
                fn $scenario() -> anyhow::Result<()> {
                    super::$scenario(&tweed_lab::backend::$backend)
                }
            )*
        }
    };
}
pub(crate) use each_backend;
