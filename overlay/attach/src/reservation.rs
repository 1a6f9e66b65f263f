//! The files of `host-local`'s reservations: Go's form, and beside it a note of ours in `.netns/`. Pure.

/// The folder, within that of a network's reservations, of notes where they are for.
pub const NOTES: &str = ".netns";

/// Container and interface in a reservation's file. Plugins of long ago wrote no interface.
pub fn holder(text: &str) -> Option<(&str, Option<&str>)> {
    let mut lines = text.trim().lines().map(str::trim);
    let container = lines.next().filter(|container| !container.is_empty())?;
    Some((container, lines.next().filter(|ifname| !ifname.is_empty())))
}

/// Which network namespace an address was reserved for. Go's plugin reads every file below the network's folder and removes
/// one that holds just container and interface, which this never does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note<'t> {
    /// Id of the container.
    pub container_id: &'t str,
    /// The interface in it.
    pub ifname: &'t str,
    /// The mount namespace in which the path counts, as `/proc/<pid>/ns/mnt` names it.
    pub mounts: &'t str,
    /// The path of the network namespace.
    pub netns: &'t str,
}

impl<'t> Note<'t> {
    /// Reads a file's text. `None` when it is no note.
    pub fn parse(text: &'t str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let mut next = || lines.next().filter(|line| !line.is_empty());
        let note = Self {
            container_id: next()?,
            ifname: next()?,
            mounts: next()?,
            netns: next()?,
        };
        lines.next().is_none().then_some(note)
    }

    /// The file's text; `None` where a part can't stand in it.
    pub fn render(&self) -> Option<String> {
        let parts = [self.container_id, self.ifname, self.mounts, self.netns];
        let fits = parts.iter().all(|part| !part.contains('\n'));
        fits.then(|| parts.map(|part| format!("{part}\n")).concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reservation_of_any_age_names_its_holder() {
        assert_eq!(holder("abc\r\neth0"), Some(("abc", Some("eth0"))));
        assert_eq!(holder("abc\n"), Some(("abc", None)));
        assert_eq!(holder("\r\n"), None);
    }

    #[test]
    fn a_note_survives_its_file() {
        let note = Note {
            container_id: "abc",
            ifname: "eth0",
            mounts: "mnt:[4026531841]",
            netns: "/run/netns/a",
        };
        let text = note.render().unwrap();
        assert_eq!(text, "abc\neth0\nmnt:[4026531841]\n/run/netns/a\n");
        assert_eq!(Note::parse(&text), Some(note));
        assert_eq!(Note::parse(&text[..20]), None);
        let note = Note {
            netns: "/a\nb",
            ..note
        };
        assert_eq!(note.render(), None);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_readers_panic(text in "(?s).{0,80}") {
            let _ = holder(&text);
            let _ = Note::parse(&text);
        }
    }
}
