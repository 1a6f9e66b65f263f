//! The page is for a browser on this host, or one that comes through a tunnel that ends here; and not for a page of a
//! stranger, whose name server could lead a name of its own here.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, header};

/// Where a connection comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Visitor {
    from_here: bool,
}

/// An address of a connection's other end.
pub(super) trait Origin {
    /// The visitor behind it.
    fn visitor(&self) -> Visitor;
}

impl Origin for SocketAddr {
    fn visitor(&self) -> Visitor {
        let from_here = self.ip().to_canonical().is_loopback();
        Visitor { from_here }
    }
}

impl Origin for tokio::net::unix::SocketAddr {
    fn visitor(&self) -> Visitor {
        Visitor { from_here: true }
    }
}

impl Visitor {
    /// Why a request doesn't get the page, if it doesn't.
    pub(super) fn refused(self, headers: &HeaderMap) -> Option<&'static str> {
        if !self.from_here {
            return Some(
                "the page is for browsers on the node itself: ssh -L 8081:127.0.0.1:8081 NODE, or kubectl port-forward\n",
            );
        }
        let host = headers.get(header::HOST)?;
        let host = host.to_str().unwrap_or("?");
        // A page of a stranger could have its own name lead to this host, and read what a browser here gets.
        let is_known = host.parse::<SocketAddr>().is_ok() || is_here(host);
        (!is_known).then_some("ask for the page by an address or as localhost\n")
    }
}

fn is_here(host: &str) -> bool {
    let name = host.split_once(':').map_or(host, |(name, _)| name);
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok()
        || bare.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(from: &str, host: &str) -> bool {
        let from: SocketAddr = from.parse().expect("an address");
        let host = (header::HOST, host.parse().expect("a value"));
        let headers: HeaderMap = [host].into_iter().collect();
        from.visitor().refused(&headers).is_some()
    }

    #[test]
    fn the_page_is_for_browsers_of_this_host_that_ask_for_it_by_address() {
        for host in [
            "127.0.0.1:8081",
            "127.0.0.1",
            "localhost:8081",
            "LOCALHOST",
            "[::1]:8081",
            "[::1]",
            "192.0.2.1:80",
        ] {
            assert!(!refused("127.0.0.1:5000", host), "{host}");
            assert!(!refused("[::1]:5000", host), "{host}");
            assert!(!refused("[::ffff:127.0.0.1]:5000", host), "{host}");
            assert!(refused("192.0.2.7:5000", host), "{host}");
        }
        for host in ["evil.example:8081", "localhost.evil.example", "", "x y"] {
            assert!(refused("127.0.0.1:5000", host), "{host}");
        }
        let here: SocketAddr = "127.0.0.1:5000".parse().expect("an address");
        assert!(here.visitor().refused(&HeaderMap::new()).is_none());
    }
}
