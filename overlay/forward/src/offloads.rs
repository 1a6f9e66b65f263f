//! What the kernel does for us. It is tried at the start, and given up where it fails later.

/// The offloads that are in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offloads {
    /// The device gives super-packets of TCP and takes them (TSO and GRO).
    pub tcp: bool,
    /// The same for UDP (USO), which came with Linux 6.2.
    pub udp: bool,
    /// A socket takes several datagrams at once (`UDP_SEGMENT`).
    pub send: bool,
    /// A socket gives several datagrams at once (`UDP_GRO`).
    pub receive: bool,
}

impl Offloads {
    /// All of them, as long as nothing is known to the contrary.
    pub const ALL: Self = Self {
        tcp: true,
        udp: true,
        send: true,
        receive: true,
    };

    /// Those that both have.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            tcp: self.tcp && other.tcp,
            udp: self.udp && other.udp,
            send: self.send && other.send,
            receive: self.receive && other.receive,
        }
    }

    /// Each with its label.
    pub fn each(&self) -> [(&'static str, bool); 4] {
        [
            ("tcp", self.tcp),
            ("udp", self.udp),
            ("send", self.send),
            ("receive", self.receive),
        ]
    }
}
