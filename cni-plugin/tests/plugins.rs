//! The plugins as a runtime meets them: the real binary, the real kernel, in namespaces of the test's own.

mod plugins {
    mod lab;

    mod bridge;
    mod bridge_faults;
    mod delegate;
    mod flannel;
    mod host_local;
    mod interop;
    mod loopback;
    mod skel;
}
