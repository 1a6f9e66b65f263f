//! The TUN device of the data plane: made, seen, brought into form, and told from a TAP device.

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use tweed_dataplane::tun::Tun;
use tweed_kernel::{Kernel, Linux};
use tweed_model::Mac;
use tweed_netlink::{LinkInfo, Netlink};
use tweed_state::{Link, LinkKind, NextHop, Op, ROUTE_PROTOCOL, Route, RouteKey};

use crate::host::{ALIAS, net, observe, on_host, scope};
use crate::shell::run;

const NAME: &str = "flannel0";

fn wanted() -> Link {
    Link {
        kind: LinkKind::Tun { queues: false },
        mtu: 1472,
        mac: Mac([0; 6]),
        up: true,
        alias: ALIAS.to_owned(),
    }
}

fn index() -> String {
    let line = run("ip -o link show flannel0");
    line.split(':').next().unwrap().to_owned()
}

fn add(linux: &mut Linux) {
    let op = Op::AddLink(NAME.to_owned(), wanted());
    linux.apply(&op).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn a_tun_device_is_what_is_wanted_and_stays_without_a_process_that_has_it_open() {
    on_host(|linux| {
        for _ in 0..2 {
            add(linux);
            let device = run("ip -d link show flannel0");
            for part in ["tun type tun", "persist on", "mtu 1472", ALIAS] {
                assert!(device.contains(part), "{part} is not in {device}");
            }
            assert_eq!(observe(linux).links[NAME], wanted(), "found by its alias");
        }
    });
}

#[test]
fn its_queue_is_long_or_as_somebody_has_chosen() {
    on_host(|linux| {
        let queue = |length: u32| {
            let device = run("ip link show flannel0");
            let part = format!("qlen {length}\n");
            assert!(device.contains(&part), "{part:?} is not in {device}");
        };
        add(linux);
        queue(2000);
        run("ip link set flannel0 txqueuelen 250 mtu 1000");
        let op = Op::SetLink(NAME.to_owned(), wanted());
        linux.apply(&op).unwrap();
        queue(250);
        // As the kernel makes it: by another program, or by a worker that was faster.
        run("ip link del flannel0");
        run("ip tuntap add dev flannel0 mode tun");
        queue(500);
        add(linux);
        queue(2000);
    });
}

#[test]
fn a_device_that_a_worker_has_open_is_left_to_it() {
    on_host(|linux| {
        add(linux);
        let before = index();
        let open = Tun::open(NAME).unwrap();
        add(linux);
        assert_eq!(before, index(), "another device");
        assert!(open.read(&mut [0; 2048]).is_ok(), "it still reads");
        assert_eq!(observe(linux).links[NAME], wanted());
    });
}

#[test]
fn a_device_of_several_queues_is_another_one_and_each_queue_is_opened() {
    on_host(|linux| {
        add(linux);
        let queues = Link {
            kind: LinkKind::Tun { queues: true },
            ..wanted()
        };
        linux.apply(&Op::DelLink(NAME.to_owned())).unwrap();
        let op = Op::AddLink(NAME.to_owned(), queues.clone());
        linux.apply(&op).unwrap();
        assert_eq!(observe(linux).links[NAME], queues);
        let open: Vec<Tun> = (0..4).map(|_| Tun::open_queue(NAME).unwrap()).collect();
        let device = run("ip -d link show flannel0");
        for part in ["multi_queue", "numqueues 4", "persist on"] {
            assert!(device.contains(part), "{part} is not in {device}");
        }
        let error = Tun::open(NAME).unwrap_err().to_string();
        assert!(error.contains(NAME), "{error}");
        drop(open);
        assert_eq!(observe(linux).links[NAME], queues, "it stays");
    });
}

#[test]
fn address_and_route_on_it_are_observed_as_they_were_put() {
    on_host(|linux| {
        add(linux);
        let key = RouteKey::of(net("10.244.0.0/16"));
        let route = Route {
            next_hop: NextHop::via(None, NAME.into(), false),
            protocol: ROUTE_PROTOCOL,
        };
        let v6 = (RouteKey::of(net("fd00:10:244::/48")), route.clone());
        for op in [
            Op::AddAddr(NAME.to_owned(), net("10.244.1.0/32")),
            Op::AddAddr(NAME.to_owned(), net("fd00:10:244:1::/128")),
            Op::PutRoute(key, route.clone()),
            Op::PutRoute(v6.0, v6.1.clone()),
        ] {
            linux.apply(&op).unwrap_or_else(|error| panic!("{error}"));
        }
        let state = observe(linux);
        assert_eq!(state.addrs.len(), 2, "{:?}", state.addrs);
        assert_eq!(state.routes.get(&key), Some(&route));
        assert_eq!(state.routes.get(&v6.0), Some(&v6.1));
        linux.apply(&Op::DelLink(NAME.to_owned())).unwrap();
        assert!(observe(linux).links.is_empty());
    });
}

#[test]
fn a_device_that_was_changed_is_brought_into_form() {
    on_host(|linux| {
        add(linux);
        run("ip link set flannel0 down mtu 1000 alias other");
        let mut scope = scope();
        scope.link_names.insert(NAME.to_owned());
        assert_ne!(linux.observe(&scope).unwrap().links[NAME], wanted());
        let op = Op::SetLink(NAME.to_owned(), wanted());
        linux.apply(&op).unwrap();
        assert_eq!(linux.observe(&scope).unwrap().links[NAME], wanted());
    });
}

#[test]
fn a_tap_device_under_the_name_is_another_kind() {
    on_host(|linux| {
        run("ip tuntap add dev flannel0 mode tap");
        let mut scope = scope();
        scope.link_names.insert(NAME.to_owned());
        let state = linux.observe(&scope).unwrap();
        assert_eq!(state.links[NAME].kind, LinkKind::Other("tun".to_owned()));
        let op = Op::AddLink(NAME.to_owned(), wanted());
        let error = linux.apply(&op).unwrap_err().to_string();
        assert!(error.contains("add link flannel0 tun"), "{error}");
        let remedy = "give it another name: ip link set flannel0 down; ip link set flannel0 name";
        assert!(error.contains(remedy), "{error}");
    });
}

fn other() -> Option<LinkInfo> {
    Netlink::open().unwrap().link("other").unwrap()
}

#[test]
fn an_interface_with_the_name_as_an_alternative_one_is_named_and_never_touched() {
    on_host(|linux| {
        for kind in ["bridge", "tun"] {
            run(match kind {
                "tun" => "ip tuntap add dev other mode tun",
                _ => "ip link add other type bridge",
            });
            run("ip link property add dev other altname flannel0");
            let before = other();
            let error = linux.apply(&Op::AddLink(NAME.to_owned(), wanted()));
            let error = error.unwrap_err().to_string();
            let remedy = "flannel0 is an alternative name of interface other; take it away: ip link property del dev other altname flannel0";
            assert!(error.contains(remedy), "{error}");
            let addr = Op::AddAddr(NAME.to_owned(), "10.42.1.0/32".parse().unwrap());
            let error = linux.apply(&addr).unwrap_err().to_string();
            assert!(error.contains("there is no interface flannel0"), "{error}");
            assert_eq!(other(), before);
            run("ip link del other");
        }
    });
}

#[test]
fn without_the_device_file_the_error_says_what_is_missing() {
    on_host(|linux| {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let nowhere = None::<&str>;
        let private = MsFlags::MS_PRIVATE | MsFlags::MS_REC;
        mount(nowhere, "/", nowhere, private, nowhere).unwrap();
        mount(
            Some("test"),
            "/dev/net",
            Some("tmpfs"),
            MsFlags::empty(),
            nowhere,
        )
        .unwrap();
        let op = Op::AddLink(NAME.to_owned(), wanted());
        let error = linux.apply(&op).unwrap_err().to_string();
        assert!(
            error.contains("there is no /dev/net/tun: load the module tun"),
            "{error}"
        );
        let error = Tun::open(NAME).unwrap_err().to_string();
        assert!(error.contains("there is no /dev/net/tun"), "{error}");
    });
}
