//! containerd without Kubernetes: `ctr --cni`, which attaches by go-cni.

use anyhow::{Context, Result, ensure};
use tweed_lab::agent::Agent;
use tweed_lab::containerd::{Containerd, Version};
use tweed_lab::engine::{Engines, IMAGE, NETWORK};
use tweed_lab::etcd::Etcd;
use tweed_lab::launch::{Launch, vxlan};
use tweed_lab::topology::Topology;

/// `ctr` detaches only what it runs in the foreground. Of what it has put into the background it leaves the address, which
/// GC frees, and so does the plugin when no other is left.
#[test]
fn containers_of_ctr_reach_each_other_through_a_kill_of_containerd_and_leave_nothing() -> Result<()>
{
    Topology::hosts(1).play(|lab| {
        let etcd = Etcd::start(lab)?;
        etcd.put_config(&vxlan())?;
        let _agents = Agent::everywhere(lab, &Launch::etcd())?;
        let engines = Engines::on(&lab.hosts[0])?;
        let mut containerd = Containerd::start(&engines, Version::Debian)?;
        let run = ["run", "--cni"];
        let server = [IMAGE, "web", "/bin/httpd", "-f", "-p", "80", "-h", "/www"];
        containerd.ctr(&[&run[..], &["--detach"], &server].concat())?;
        let web = engines.left()?;
        let folder = format!("networks/{NETWORK}/");
        let addr = web
            .iter()
            .find_map(|file| {
                file.strip_prefix(&folder)
                    .filter(|name| name.starts_with("10."))
            })
            .with_context(|| format!("no address in {web:?}"))?;
        let url = format!("http://{addr}/cgi-bin/who");
        for number in 0..3 {
            let name = format!("client{number}");
            let client = ["--rm", IMAGE, &name, "/bin/wget", "-qO-", &url];
            let page = containerd.ctr(&[&run[..], &client].concat())?;
            ensure!(
                page.contains("10.244."),
                "the server sees the container: {page}"
            );
            ensure!(
                engines.left()? == web,
                "the client leaves nothing: {:?}",
                engines.left()?
            );
            containerd.restart()?;
        }
        containerd.ctr(&["task", "kill", "--signal", "9", "web"])?;
        let _ = containerd.ctr(&["task", "delete", "--force", "web"]);
        containerd.ctr(&["container", "delete", "web"])?;
        engines.gc(&[])?;
        let cached = engines.host.path("/var/lib/cni/results");
        std::fs::remove_dir_all(cached).context("go-cni's cache is the runtime's")?;
        engines.nothing_is_left()
    })
}
