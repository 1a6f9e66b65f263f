//! The status as a page, in a real browser.

use std::env;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tweed_lab::browser::{self, Theme};
use tweed_lab::cluster::Cluster;
use tweed_lab::launch::vxlan;
use tweed_lab::topology::{Host, Topology};
use tweed_lab::wait::timed;

use crate::timed::pod_healing::shell;

/// A peer that stops answering is named within this time: a round, three attempts, and the machine's load.
const NOTICED: Duration = Duration::from_secs(30);
/// Port of the first agent's health server.
const PORT: u16 = 10_500;

/// Drops what comes to a host's tunnel.
pub(crate) fn block(host: &Host) -> Result<()> {
    let rules = "nft 'add table netdev wall; \
        add chain netdev wall in { type filter hook ingress device eth0 priority 0; }; \
        add rule netdev wall in udp dport 8472 drop'";
    shell(host, rules).map(drop)
}

#[test]
fn a_browser_shows_what_is_wrong_first_in_light_and_dark() -> Result<()> {
    Topology::hosts(3).play(|lab| {
        let cluster = Cluster::on_etcd(lab, &vxlan())?;
        let (host, place) = (&lab.hosts[0], lab.hosts[0].place());
        let url = format!("http://127.0.0.1:{PORT}/");
        timed("all is well", NOTICED, || {
            let page = browser::document(place, &url)?;
            for part in [
                "<header class=\"good\">",
                "<span class=\"good\">2 ok</span>",
            ] {
                ensure!(page.contains(part), "{part} is not in {page}");
            }
            ensure!(!page.contains("What is wrong"), "{page}");
            Ok(())
        })?;
        block(&lab.hosts[2])?;
        let peer = lab.hosts[2].v4().to_string();
        timed("the peer is named", NOTICED, || {
            let page = browser::document(place, &url)?;
            let order = [
                "ready, but not all nodes answer",
                peer.as_str(),
                "UDP 8472 blocked",
                "<li class=\"bad\"",
                "<li class=\"good\"",
                "This node",
            ];
            let places: Vec<_> = order.iter().map(|part| page.find(part)).collect();
            ensure!(
                places.iter().all(Option::is_some) && places.is_sorted(),
                "{places:?} {page}"
            );
            Ok(())
        })?;
        let seen = |size, theme| browser::picture(place, &url, size, theme);
        let (wide, narrow) = ((900, 700), (390, 844));
        let light = seen(wide, Theme::Light)?;
        ensure!(
            light != seen(wide, Theme::Dark)?,
            "the same in light and dark"
        );
        if let Ok(folder) = env::var("TWEED_PICTURES") {
            std::fs::create_dir_all(&folder)?;
            let save = |name: &str, picture: &[u8]| {
                let file = Path::new(&folder).join(name);
                std::fs::write(&file, picture).with_context(|| format!("write {}", file.display()))
            };
            save("page.png", &light)?;
            save("page-dark.png", &seen(wide, Theme::Dark)?)?;
            save("page-phone.png", &seen(narrow, Theme::Light)?)?;
        }
        comes_by_address_alone(&cluster, host)
    })
}

/// A page of a stranger, whose name server leads its name here, gets nothing.
fn comes_by_address_alone(cluster: &Cluster<'_>, host: &Host) -> Result<()> {
    let asked = |name: &str| {
        let address = (Ipv4Addr::LOCALHOST, PORT);
        let mut stream = host.place().run(|| Ok(TcpStream::connect(address)?))?;
        write!(stream, "GET / HTTP/1.0\r\nHost: {name}\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok::<_, anyhow::Error>(answer)
    };
    let refused = asked("evil.example:8081")?;
    ensure!(
        refused.starts_with("HTTP/1.0 403") && !refused.contains("subnet"),
        "{refused}"
    );
    let answer = asked("127.0.0.1:8081")?;
    ensure!(
        answer.contains("content-security-policy: default-src 'none'"),
        "{answer}"
    );
    let (code, style) = cluster.agents[0].get("/page.css")?;
    ensure!(
        code == 200 && style.contains("prefers-color-scheme"),
        "{code} {style}"
    );
    Ok(())
}
