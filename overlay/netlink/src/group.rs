//! Groups of interfaces (`IFLA_GROUP`), by which several are deleted in one request. The kernel waits for all readers of
//! an interface before it frees one: 14 to 40 ms for each request, whether it deletes one or fifty (seen on Linux 6.18).

use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use rtnetlink::LinkUnspec;

use super::error::{NetlinkError, Object};
use super::{Dev, LinkInfo, Netlink};

/// The most that one request deletes: the kernel does nothing else with interfaces meanwhile, 0.15 ms for each.
const MOST: usize = 256;

/// Groups from here on are for deleting. People number theirs from the other end.
const FIRST: u32 = 0x8000_0000;

impl Netlink {
    /// Deletes interfaces, with everything that hangs on them, in as few requests as possible. What is gone is no error.
    ///
    /// # Errors
    /// The first one that can't be deleted; the others are.
    pub fn del_links(&mut self, links: &[LinkInfo]) -> Result<(), NetlinkError> {
        let mut result = Ok(());
        for links in links.chunks(MOST) {
            let deleted = match links {
                [link] => self.del_if_there(link),
                links => self.del_together(links),
            };
            result = result.and(deleted);
        }
        result
    }

    /// Nobody else knows the group's number, which is drawn anew each time: what somebody has put into a group with a fixed
    /// one would be deleted too.
    fn del_together(&mut self, links: &[LinkInfo]) -> Result<(), NetlinkError> {
        let group = FIRST | tweed_host::random::bits() as u32;
        let mut set = links.iter().map(|link| self.set_group(link.dev(), group));
        let refused =
            |result: Result<(), NetlinkError>| result.is_err_and(|error| !error.is_not_found());
        // The kernel refuses a group as a whole.
        if set.any(refused) || refused(self.del_group(group)) {
            let deleted = links.iter().map(|link| self.del_if_there(link));
            return deleted.fold(Ok(()), Result::and);
        }
        Ok(())
    }

    fn del_if_there(&mut self, link: &LinkInfo) -> Result<(), NetlinkError> {
        match self.del_link(link.dev()) {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }

    fn set_group(&mut self, dev: Dev<'_>, group: u32) -> Result<(), NetlinkError> {
        let message = LinkUnspec::new_with_index(dev.index)
            .append_extra_attribute(LinkAttribute::Group(group))
            .build();
        let what = format_args!("put link {} into group {group}", dev.name);
        self.change(Object::Link, what, Message::NewLink(message), 0)
    }

    fn del_group(&mut self, group: u32) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        message.attributes = vec![LinkAttribute::Group(group)];
        let what = format_args!("delete the links of group {group}");
        self.change(Object::Link, what, Message::DelLink(message), 0)
    }
}
