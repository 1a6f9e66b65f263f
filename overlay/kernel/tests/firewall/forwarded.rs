//! What the host forwards for containers by the rules of `firewall`, damaged and put back by the record.

use tweed_attach::forwarding::{ADMIN_CHAIN, forward_file_name};
use tweed_attach::live::forwarding::forward;
use tweed_attach::record::leaving;
use tweed_attach::{ForwardRecord, Isolation};
use tweed_netlink::Netfilter;

use crate::lab::{Healer, isolated, sh};

fn record() -> ForwardRecord {
    ForwardRecord {
        network: "cbr0".into(),
        container_id: "a".into(),
        ifname: "eth0".into(),
        netns: String::new(),
        forwarded: ["10.22.0.5", "fd00:22::5"]
            .map(|addr| addr.parse().unwrap())
            .into(),
        admin_chain: ADMIN_CHAIN.into(),
        isolated: Some(("cni0".into(), Isolation::SameBridge)),
    }
}

fn shown() -> String {
    sh("nft list table ip filter; nft list table ip6 filter")
}

#[test]
fn rules_that_forward_are_put_back_unless_their_attachment_goes() {
    isolated(|| {
        let record = record();
        let (folder, mut healer) =
            Healer::with_file(&forward_file_name(&record.owner()), &record.render());
        let mut socket = Netfilter::open().unwrap();
        forward(&mut socket, &record).unwrap();
        let damages = [
            "nft flush ruleset",
            "nft delete table ip filter",
            "nft flush chain ip6 filter FORWARD",
            "nft flush chain ip filter CNI-FORWARD",
            "nft flush chain ip filter CNI-ISOLATION-STAGE-1",
            "nft flush chain ip6 filter CNI-ISOLATION-STAGE-2",
        ];
        healer.heals(shown, damages);
        let path = folder.path().join(forward_file_name(&record.owner()));
        std::fs::rename(&path, leaving(&path)).unwrap();
        sh("nft flush ruleset");
        assert_eq!(healer.repairs(), [""; 0], "it is being removed");
        assert_eq!(sh("nft list ruleset"), "");
    });
}
