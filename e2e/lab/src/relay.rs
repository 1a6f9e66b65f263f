//! A slow connection to etcd: data arrive with a delay, or never.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns};

use crate::etcd::PORT;
use crate::launch::Launch;
use crate::topology::Lab;

/// The port it listens on, beside etcd's.
const RELAY: u16 = 2390;

/// A connection to etcd from the lab's hosts, on which data arrive with a delay, or never.
#[derive(Debug)]
pub struct Relay {
    delay: Arc<AtomicU64>,
}

/// The delay of a relay that passes nothing on.
pub const SILENT: u64 = u64::MAX;

impl Relay {
    /// Starts it with a delay in milliseconds for each piece in either direction.
    ///
    /// # Errors
    /// When its port is taken.
    pub fn start(lab: &Lab, delay: u64) -> Result<Self> {
        let delay = Arc::new(AtomicU64::new(delay));
        let place = lab.switch.place();
        let listener = place.run(|| Ok(TcpListener::bind(("0.0.0.0", RELAY))?))?;
        // A pool of connections made where etcd is: threads of this process live elsewhere.
        let (ask, asked) = mpsc::channel::<mpsc::Sender<TcpStream>>();
        let net = File::open(format!("/proc/{}/ns/net", lab.switch.init_pid()))?;
        thread::spawn(move || {
            if setns(&net, CloneFlags::CLONE_NEWNET).is_err() {
                return;
            }
            for answer in asked {
                let addr: SocketAddr = ([127, 0, 0, 1], PORT).into();
                if let Ok(stream) = TcpStream::connect(addr) {
                    let _ = answer.send(stream);
                }
            }
        });
        let shared = Arc::clone(&delay);
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let (answer, answered) = mpsc::channel();
                let _ = ask.send(answer);
                let Ok(far) = answered.recv() else { continue };
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else {
                        continue;
                    };
                    let delay = Arc::clone(&shared);
                    thread::spawn(move || pump(from, to, &delay));
                }
            }
        });
        Ok(Self { delay })
    }

    /// Changes the delay, for what is under way too.
    pub fn set(&self, milliseconds: u64) {
        self.delay.store(milliseconds, Ordering::Relaxed);
    }

    /// How agents are started that use it.
    ///
    /// # Errors
    /// When the lab has no IPv4.
    pub fn launch() -> Result<Launch> {
        let gateway: IpAddr = Lab::gateway(0).v4.context("segment 0 has IPv4")?;
        Ok(Launch::etcd().endpoint(&format!("http://{gateway}:{RELAY}")))
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, delay: &AtomicU64) {
    let mut buffer = [0; 65536];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        while delay.load(Ordering::Relaxed) == SILENT {
            thread::sleep(Duration::from_millis(20));
        }
        thread::sleep(Duration::from_millis(delay.load(Ordering::Relaxed)));
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
