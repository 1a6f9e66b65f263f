//! The holder of an address, as it stands in a reservation file.

use tweed_attach::reservation;

use crate::spec::Attachment;
use crate::spec::call::is_identifier;

/// A container's interface.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Holder {
    pub(super) container_id: String,
    /// The interface; plugins of long ago did not write it.
    pub(super) ifname: Option<String>,
}

impl Holder {
    /// Reads a reservation file. `None` for any other text: a crash has left it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (container_id, ifname) = reservation::holder(text)?;
        is_identifier(container_id).then(|| Self {
            container_id: container_id.to_owned(),
            ifname: ifname.map(str::to_owned),
        })
    }

    /// The text of a reservation file.
    pub(super) fn render(&self) -> String {
        match &self.ifname {
            Some(ifname) => format!("{}\r\n{ifname}", self.container_id),
            None => self.container_id.clone(),
        }
    }

    /// The same as an old plugin would have written it.
    pub(super) fn without_ifname(&self) -> Self {
        Self {
            container_id: self.container_id.clone(),
            ifname: None,
        }
    }

    /// Whether the file is this attachment's, perhaps written by a plugin that knew no interfaces.
    pub(super) fn is_or_was(&self, holder: &Self) -> bool {
        self.container_id == holder.container_id
            && (self.ifname.is_none() || self.ifname == holder.ifname)
    }

    /// The attachment, where the file names its interface.
    pub(super) fn into_attachment(self) -> Option<Attachment> {
        Some(Attachment {
            container_id: self.container_id,
            ifname: self.ifname?,
        })
    }

    /// Whether the attachment is this one's.
    pub(super) fn is_of(&self, attachment: &Attachment) -> bool {
        self.container_id == attachment.container_id
            && self
                .ifname
                .as_ref()
                .is_none_or(|ifname| *ifname == attachment.ifname)
    }
}

impl From<&Attachment> for Holder {
    fn from(attachment: &Attachment) -> Self {
        Self {
            container_id: attachment.container_id.clone(),
            ifname: Some(attachment.ifname.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reservation_is_passed_over_or_written_as_it_was_read() {
        let texts = ["abc\r\neth0", "abc", " abc-1.2_x \n eth0\n", "abc\n\n"];
        tweed_fuzz::fuzz("reservation", 20, |source| {
            let read = Holder::parse(&tweed_fuzz::changed(source, &texts));
            let again = read.as_ref().map(|read| Holder::parse(&read.render()));
            assert_eq!(again.flatten(), read);
            read.is_some()
        });
    }
}
