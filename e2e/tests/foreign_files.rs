//! Files of others in the agent's way, and a folder that never answers: no start waits for them, and a signal ends the
//! agent meanwhile.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::mount::{MsFlags, mount};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tweed_lab::agent::Agent;
use tweed_lab::cluster::Cluster;
use tweed_lab::launch::{Launch, vxlan};
use tweed_lab::topology::{Host, Topology};
use tweed_lab::wait::eventually;
use tweed_model::Family;

const SUBNET_ENV: &str = "/run/flannel/subnet.env";

fn fifo(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    // There may be nothing to remove.
    let _ = fs::remove_file(path);
    mkfifo(path, Mode::S_IRWXU).with_context(|| format!("make {}", path.display()))
}

#[test]
fn fifos_in_place_of_state_subnet_env_and_leases_hang_neither_start_nor_store() -> Result<()> {
    Topology::hosts(3).play(|lab| {
        let mut cluster = Cluster::on_files(lab, &vxlan())?;
        let host = &lab.hosts[0];
        cluster.agents[0].terminate()?;
        let states = fs::read_dir(host.path("/var/lib/tweed"))?;
        for state in states.flatten() {
            for name in ["lease.json", "identity.json", "peers.json"] {
                fifo(state.path().join(name))?;
            }
        }
        fifo(host.path(SUBNET_ENV))?;
        let store = lab.folder.path().join("store/subnets");
        fifo(store.join("10.244.250.0-24.json"))?;
        let huge = store.join("10.244.251.0-24.json");
        File::create(huge)?.set_len(200 << 20)?;
        let mut agent = Agent::start(lab, host, &cluster.launch)?;
        agent.ready()?;
        for name in ["lease.json", "peers.json"] {
            agent.logged(&["ERROR", name, "FIFO"])?;
        }
        agent.logged(&["10.244.250.0-24", "FIFO"])?;
        agent.logged(&["10.244.251.0-24", "64 KiB"])?;
        // While it runs, too: the file is written again.
        fifo(host.path(SUBNET_ENV))?;
        eventually("subnet.env is a file again", || {
            let kind = fs::symlink_metadata(host.path(SUBNET_ENV))?.file_type();
            ensure!(kind.is_file(), "{kind:?}");
            Ok(())
        })?;
        cluster.agents[0] = agent;
        cluster.agents[0].sees(2)?;
        cluster.talks(Family::V4)
    })
}

#[test]
fn descriptors_that_are_announced_and_are_not_what_they_are_called_harm_nothing() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let host = &lab.hosts[0];
        // The agent's own descriptors have these numbers, once it has opened them.
        let names: Vec<_> = (0..20).map(|number| format!("tweed-0-{number}")).collect();
        let starter = lab.folder.path().join("starter");
        let script = format!(
            "#!/bin/sh\nexport LISTEN_PID=$$ LISTEN_FDS=20 LISTEN_FDNAMES={}\nexec \"$@\"\n",
            names.join(":")
        );
        fs::write(&starter, script)?;
        fs::set_permissions(&starter, fs::Permissions::from_mode(0o755))?;
        let launch = Launch::file(lab).through(&starter.display().to_string());
        launch.set_config(lab, &vxlan())?;
        let mut agent = Agent::start(lab, host, &launch)?;
        agent.ready()?;
        agent.logged(&["WARN", "LISTEN_FDS", "tweed-0-0", "left alone"])?;
        host.sh("ip link del flannel.1")?;
        eventually("the device is back", || host.sh("ip link show flannel.1"))?;
        ensure!(agent.get("/readyz")?.0 == 200, "not ready");
        Ok(())
    })
}

/// Mounts a file system that never answers, as one whose server is gone, until the file is dropped.
fn hang(host: &Host, folder: &str) -> Result<(File, PathBuf)> {
    fs::create_dir_all(host.path(folder))?;
    let fuse = host.place().run(|| {
        let fuse = File::options().read(true).write(true).open("/dev/fuse");
        let fuse = fuse.context("open /dev/fuse")?;
        let options = format!(
            "fd={},rootmode=40000,user_id=0,group_id=0",
            fuse.as_raw_fd()
        );
        let kind = Some("fuse");
        mount(
            Some("hangs"),
            folder,
            kind,
            MsFlags::empty(),
            Some(options.as_str()),
        )?;
        Ok(fuse)
    })?;
    Ok((fuse, PathBuf::from(folder)))
}

#[test]
fn a_store_folder_that_hangs_is_named_and_signals_end_the_agent_within_a_second() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let host = &lab.hosts[0];
        let (_fuse, folder) = hang(host, "/run/hangs")?;
        let launch = Launch::file_at(&folder);
        let mut agent = Agent::start(lab, host, &launch)?;
        agent.logged(&["/run/hangs", "has not answered for 10 s"])?;
        ensure!(agent.get("/healthz")?.0 == 200, "not alive while it waits");
        agent.signal(Signal::SIGTERM)?;
        let (status, taken) = agent.ended(Duration::from_secs(9))?;
        ensure!(status.code() == Some(0), "{status}");
        ensure!(taken < Duration::from_secs(1), "SIGTERM took {taken:?}");
        Ok(())
    })
}

#[test]
fn a_state_folder_that_hangs_does_not_keep_the_agent_from_ending() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let host = &lab.hosts[0];
        let launch = Launch::file(lab);
        launch.set_config(lab, &vxlan())?;
        let (_fuse, _) = hang(host, "/var/lib/tweed/hangs")?;
        let launch = launch.arg("--state-dir=/var/lib/tweed/hangs");
        let mut agent = Agent::start(lab, host, &launch)?;
        // It has begun, and hangs.
        thread::sleep(Duration::from_secs(1));
        agent.signal(Signal::SIGTERM)?;
        let (status, taken) = agent.ended(Duration::from_secs(9))?;
        ensure!(
            taken < Duration::from_secs(3),
            "SIGTERM took {taken:?}: {status}"
        );
        Ok(())
    })
}
