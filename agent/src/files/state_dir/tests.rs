use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;
use serde_json::json;
use tweed_model::lease::Term;
use tweed_model::{Dual, Lease, LeaseAttrs, Mac};

use super::*;
use crate::events::kind::Kind;

fn lease() -> Lease {
    Lease {
        key: "10.5.34.0-24&fd00:5:34::-64".parse().expect("a key"),
        attrs: LeaseAttrs {
            public: Dual::of_addrs(["192.0.2.1".parse().expect("an address")]),
            backend_type: "vxlan".to_owned(),
            data: Dual {
                v4: Some(json!({"VNI": 1, "VtepMAC": "c6:d2:32:6f:8f:44"}).into()),
                v6: None,
            },
        },
        node: None,
        created: 42,
        term: Term::Reserved,
    }
}

fn identity() -> Identity {
    Identity {
        vtep_mac: Mac([2, 0, 0, 0, 0, 1]),
        vtep_mac_v6: Mac([2, 0, 0, 0, 0, 2]),
    }
}

#[test]
fn what_was_saved_is_there_after_a_restart() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("lib/tweed/tweed");
    let state = StateDir::open(&path).expect("opened");
    assert_eq!(state.lease().expect("readable"), None);
    assert_eq!(state.identity().expect("readable"), None);
    assert_eq!(state.peers().expect("readable"), []);

    let config = r#"{"Network":"10.5.0.0/16"}"#;
    state
        .save_lease(&SavedLease::new(&lease(), config, Dual::default()))
        .expect("saved");
    state.save_identity(&identity()).expect("saved");
    state
        .save_peers([SavedPeer::new(&lease(), Dual::default())].into_iter())
        .expect("saved");

    let state = StateDir::open(&path).expect("opened again");
    let saved = state.lease().expect("readable").expect("there");
    assert_eq!(saved, SavedLease::new(&lease(), config, Dual::default()));
    assert_eq!(
        (saved.key, saved.created, saved.term),
        (lease().key, 42, Term::Reserved)
    );
    assert_eq!(state.identity().expect("readable"), Some(identity()));
    let peers = state.peers().expect("readable");
    let term = Term::Leased;
    assert_eq!(peers[0].lease(), Ok(Lease { term, ..lease() }));
}

#[test]
fn only_the_owner_may_read_it_and_nothing_is_left_beside_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("tweed");
    let state = StateDir::open(&path).expect("opened");
    state.save_identity(&identity()).expect("saved");
    state.save_identity(&identity()).expect("saved again");
    let mode = |path: &Path| path.metadata().expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    assert_eq!(mode(&path.join("identity.json")), 0o600);
    let names: Vec<_> = std::fs::read_dir(&path).expect("readable").collect();
    assert_eq!(names.len(), 1);
}

#[test]
fn a_file_that_cannot_be_understood_is_kept_aside_and_counts_as_absent() {
    let dir = tempfile::tempdir().expect("a folder");
    let state = StateDir::open(dir.path()).expect("opened");
    for text in ["", "{", "[]", "null", "{\"vtep_mac\":1}", "\0\0\0\0"] {
        std::fs::write(dir.path().join("identity.json"), text).expect("written");
        assert_eq!(state.identity().expect("readable"), None, "{text:?}");
        let kept = std::fs::read_to_string(dir.path().join("identity.json.bad"));
        assert_eq!(kept.expect("kept"), text);
        assert!(!dir.path().join("identity.json").exists());
    }
    state.save_identity(&identity()).expect("saved anew");
    assert_eq!(state.identity().expect("readable"), Some(identity()));
}

#[test]
fn a_peer_that_cannot_be_understood_is_told_from_the_others() {
    let mut peer = SavedPeer::new(&lease(), Dual::default());
    peer.key = "10.5.34.0".to_owned();
    assert!(peer.lease().is_err());
    let mut peer = SavedPeer::new(&lease(), Dual::default());
    peer.value = "{".to_owned();
    assert!(peer.lease().is_err());
}

proptest! {
    #[test]
    fn no_content_makes_reading_panic(text in prop::collection::vec(any::<u8>(), 0..64)) {
        let dir = tempfile::tempdir().expect("a folder");
        let state = StateDir::open(dir.path()).expect("opened");
        for name in [LEASE, IDENTITY, PEERS] {
            std::fs::write(dir.path().join(name), &text).expect("written");
        }
        let _ = (state.lease(), state.identity(), state.peers());
    }
}

#[test]
fn why_nothing_can_be_saved_is_known_until_it_can_and_the_first_reason_stays() {
    let dir = tempfile::tempdir().expect("a folder");
    let place = dir.path().join("tweed");
    std::fs::write(&place, "a file in the place of the folder").expect("written");
    let error = StateDir::open(&place).expect_err("no folder");
    let state = StateDir::unusable(&place, &error);
    assert_eq!(state.error(), None, "nothing was to be saved yet");
    state.save_identity(&identity()).expect_err("no folder");
    let said = state.error().expect("said");
    assert!(said.contains("create state folder"), "{said}");
    std::fs::remove_file(&place).expect("removed");
    state
        .save_identity(&identity())
        .expect("the folder is made");
    assert_eq!(state.error(), None);
    assert_eq!(state.identity().expect("readable"), Some(identity()));
}

#[test]
fn a_fifo_or_a_link_in_place_of_a_file_keeps_nobody_and_is_replaced() {
    let dir = tempfile::tempdir().expect("a folder");
    let state = StateDir::open(dir.path()).expect("opened");
    for name in [LEASE, IDENTITY, PEERS] {
        nix::unistd::mkfifo(&dir.path().join(name), nix::sys::stat::Mode::S_IRWXU).expect("made");
    }
    let said = [
        state.lease().expect_err("a FIFO"),
        state.identity().map(drop).expect_err("a FIFO"),
        state.peers().map(drop).expect_err("a FIFO"),
    ];
    for error in said {
        assert!(format!("{error:#}").contains("FIFO"), "{error:#}");
    }
    let precious = dir.path().join("precious");
    std::fs::write(&precious, "precious").expect("written");
    std::fs::remove_file(dir.path().join(IDENTITY)).expect("removed");
    std::os::unix::fs::symlink(&precious, dir.path().join(IDENTITY)).expect("linked");
    state.identity().expect_err("a link");
    state.save_identity(&identity()).expect("replaced");
    state.save_peers([].into_iter()).expect("replaced");
    assert_eq!(state.identity().expect("readable"), Some(identity()));
    let text = std::fs::read_to_string(&precious).expect("untouched");
    assert_eq!(text, "precious");
}

#[test]
fn what_is_saved_in_the_background_is_found_at_once_and_on_the_disk_at_the_end() {
    let dir = tempfile::tempdir().expect("a folder");
    let state = StateDir::open(dir.path()).expect("opened");
    let state = state.in_background(Arc::new(Writer::start().expect("a thread")));
    for number in 0..50 {
        let mut identity = identity();
        identity.vtep_mac = Mac([2, 0, 0, 0, 0, number]);
        state.save_identity(&identity).expect("taken");
        assert_eq!(state.identity().expect("readable"), Some(identity));
    }
    drop(state);
    let state = StateDir::open(dir.path()).expect("opened again");
    let mut last = identity();
    last.vtep_mac = Mac([2, 0, 0, 0, 0, 49]);
    assert_eq!(state.identity().expect("readable"), Some(last));
}

#[test]
fn events_are_asked_for_where_they_are_written_and_a_broken_file_is_passed_over() {
    let dir = tempfile::tempdir().expect("a folder");
    let state = StateDir::open(dir.path()).expect("opened");
    assert_eq!(state.events().expect("readable"), []);
    let background = state
        .clone()
        .in_background(Arc::new(Writer::start().expect("a thread")));
    let (asked, answer) = std::sync::mpsc::channel();
    let events = vec![Event::new(Kind::Repair, "put back")];
    let given = events.clone();
    let tell = move || {
        let thread = std::thread::current().name().map(str::to_owned);
        asked.send(thread).expect("the test waits");
        given
    };
    background.save_events(tell).expect("taken");
    drop(background);
    let thread = answer.recv().expect("asked");
    assert_eq!(thread.as_deref(), Some("files"));
    assert_eq!(state.events().expect("readable"), events);
    // Cut off in the middle, as by a disk that was full.
    let file = dir.path().join(EVENTS);
    let text = std::fs::read(&file).expect("there");
    std::fs::write(&file, &text[..text.len() / 2]).expect("written");
    let state = StateDir::at(dir.path());
    assert_eq!(state.events().expect("passed over"), []);
    assert!(dir.path().join("events.json.bad").exists(), "kept aside");
}

#[test]
fn where_a_thread_writes_no_small_file_is_read_twice() {
    let dir = tempfile::tempdir().expect("a folder");
    StateDir::at(dir.path())
        .save_identity(&identity())
        .expect("saved");
    let state = StateDir::at(dir.path());
    let state = state.in_background(Arc::new(Writer::start().expect("a thread")));
    assert_eq!(state.identity().expect("readable"), Some(identity()));
    std::fs::remove_file(dir.path().join(IDENTITY)).expect("removed");
    assert_eq!(state.identity().expect("known"), Some(identity()));
    let mut other = identity();
    other.vtep_mac = Mac([2, 0, 0, 0, 0, 3]);
    state.save_identity(&other).expect("taken");
    assert_eq!(state.identity().expect("known"), Some(other));
    assert_eq!(state.lease().expect("readable"), None);
}
