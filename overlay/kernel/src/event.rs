//! What the monitor tells the kernel thread.

/// An event of the monitor. It carries no data: a look at the kernel follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// An object of ours may differ from what we last knew, or notifications were lost.
    Dirty,
    /// An object of a container's attachment may have changed.
    Attached,
    /// An address of an interface that isn't ours has come or gone.
    Host,
    /// The uplink has changed: an address, MTU, Ethernet address, up or down, gone or back. [`Event::Dirty`] follows:
    /// going down and losing its last IPv4 address, it loses its routes, and the kernel does not report those.
    Uplink,
}
