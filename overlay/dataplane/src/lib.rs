//! The shell of the TUN/UDP data plane: the device ([`tun`]), the sockets ([`socket`]), and the workers that carry
//! packets between them ([`worker`]). What happens to a packet is decided in `tweed-forward`.

pub mod socket;
pub mod tun;
pub mod worker;
