//! What `--help` of a command says beyond its arguments: output, exit codes, examples. `-h` leaves it out.

macro_rules! other_flags {
    () => {
        "The other flags of `tweedd run` are accepted too. An agent that runs here, or has run, is found without any.\n"
    };
}

/// Why a command that is about an agent shows few of its flags.
pub const OTHER_FLAGS: &str = other_flags!();

/// `tweedd status`
pub const STATUS: &str = concat!(
    "\
Rows, those that have something to say, and first what is wrong; * with --all:
  ready     whether this node has done its part, and since when; below it what is missing
  agent     version and process id of the agent that answers, and how long it has been up
  warning   what on this host is in the way of pods' packets, and the command that mends it
  host      what is wrong with the host's own network, and the command that mends it
  fight     an object that another program changes again and again
  refused   a lease that is no peer, and why
  reserved  a subnet that is reserved for this node, which holds another
  ignored   an entry of the store that can't be read
  network   * name of this network on this host (its nftables table)
  store     where leases come from, whether their list is up to date, and the last answer
  lease     this node's subnets: held, saved (not confirmed by the store yet), lost, taken; renewal
  uplink    interface towards the other nodes, the addresses announced to them, its MTU
  backend   how packets get to other nodes, and the MTU of pods
  bridge    its addresses, and how many pods are on it
  peers     number of the other nodes that are programmed
  kernel    whether it is as wanted, when that was checked, and what was put back last
  carried   with backend udp: packets carried and dropped
  passes    * changes, failures and repairs since the start
  sandbox   * what the agent has given up; always, if that is nothing
  routes    * whether IPv4 routes lead by nexthop objects, or are plain ones
  trust     * the senders from which VXLAN packets are taken
  checksum  * who makes the checksums of VXLAN packets
  CNI       * the files for pods
Then the other nodes, up to 20 or with --peers; else those that don't answer. With --watch a star marks what has changed.

`tweedd connectivity` tests paths of pods, services and names.

Exit codes: 0 ready, 1 no agent answers, 2 not ready, 64 usage

Examples:
  tweedd status --peers
  tweedd status -o json | jq -r '.not_ready[]'

",
    other_flags!()
);

/// `tweedd events`
pub const EVENTS: &str = concat!(
    "\
The log has the same sentences, and its field `kind` the same word. What happens again and again is counted. Events are kept over a restart of the agent; without one that runs they are read from its state folder.

Exit codes: 0 printed, 1 they can't be read, 64 usage

Examples:
  tweedd events --since 1h
  tweedd events --kind repair --kind fight -n 20
  tweedd events -o json | jq -r '.events[] | select(.kind == \"peer-joined\") | .peer.node'

",
    other_flags!()
);

/// `tweedd doctor`
pub const DOCTOR: &str = concat!(
    "\
It looks at this host alone, within 5 s, with or without an agent that runs, and changes nothing. The likely cause stands first. What follows from another failure is named, not explained.

Severities:
  FAIL     pods can't reach each other, or can't start
  warn     something will go wrong, or goes wrong for some
  unknown  it couldn't be looked at, and why
  info     worth knowing

docs/DOCTOR.md lists all checks. Names of checks stay from version to version.

Exit codes: 0 nothing is wrong, 1 it could not be run (with --strict: there are warnings), 2 something is wrong, 64 usage

Examples:
  tweedd doctor
  tweedd doctor -o json | jq -r '.findings[] | select(.severity == \"fail\") | .id'

",
    other_flags!()
);

/// `tweedd adopt`
pub const ADOPT: &str = concat!(
    "\
Run it beside a flanneld that runs, or after it, with the flags that the agent will have. It reads the store, the host and flannel's files, takes no lease and changes nothing.

Rows:
  first    what must be done before
  lease    the lease that is taken over, and how it is known for this node's
  kept     devices and files that stay as they are, in use
  changed  what is made or changed
  swept    what is removed

Exit codes: 0 nothing is in the way, 1 something must be done first or can't be known, 64 usage

Examples:
  tweedd adopt --check --etcd-endpoints http://192.0.2.1:2379 --ip-masq

",
    other_flags!()
);

/// `tweedd plan`
pub const PLAN: &str = concat!(
    "\
One change a line, in the words of `ip`, `bridge`, `nft` and `ethtool`. Nothing is changed. Without an agent that runs, the kernel is compared with what this node would want by its saved state and the store.

Exit codes: 0 nothing to do, 1 not known, 2 something is due, 64 usage

",
    other_flags!()
);

/// `tweedd confirm`
pub const CONFIRM: &str = concat!(
    "\
Where the store suddenly lacks most or all of the other nodes, the agent keeps them, and `tweedd status` says \"deletions held back\". If the store is right, this lets them go. If it lost its data, restore it, and leave this command alone.

Exit codes: 0 confirmed, 1 nothing is held back or no agent answers, 64 usage

",
    other_flags!()
);

/// `tweedd top`
pub const TOP: &str = concat!(
    "\
Bytes and packets a second, those of pods, without the headers of the tunnel. With vxlan and host-gw the kernel carries packets and counts none of them for each node: `ip -s link show dev flannel.1` has the sum.

Exit codes: 0 printed, 1 no agent answers or its kernel carries the packets, 64 usage

Examples:
  tweedd top
  tweedd top --once -n 5 -o json

",
    other_flags!()
);

/// `tweedd trace`
pub const TRACE: &str = concat!(
    "\
It ends after --count packets or --seconds, with what came. For vxlan and host-gw, whose packets the kernel carries, use tcpdump.

Examples:
  tweedd trace 10.244.2.7
  tweedd trace 10.244.0.0/16 --every 10 --seconds 5

",
    other_flags!()
);

/// `tweedd cleanup`
pub const CLEANUP: &str = concat!(
    "\
Removed are devices, routes, nexthop objects, entries, the nftables table, accept rules, subnet.env and socket. The lease stays in the store, the saved state in its folder (--purge removes that), and pods keep their interfaces, bridge and rules. It refuses while the agent or a flanneld runs: stop that first, or look with --dry-run.

Exit codes: 0 done, 1 something failed or the agent runs, 64 usage

Examples:
  tweedd cleanup --dry-run
  systemctl disable --now tweedd && tweedd cleanup --install-cni --purge
  systemctl stop tweedd && tweedd cleanup --hand-back && systemctl start flanneld

",
    other_flags!()
);

/// `tweedd leases release`
pub const RELEASE: &str = "\
The lease of a host whose agent runs is taken back at once, and the output says so: stop that agent first.

Examples:
  tweedd leases release 10.244.7.0/24
  tweedd leases release 192.0.2.11
";

/// `tweedd config set`
pub const CONFIG_SET: &str = "\
It prints what changes. Where leases become invalid by it, it names them and asks; without a terminal it writes nothing then, unless --yes is given.

Exit codes: 0 written or unchanged, 1 refused, 64 usage

Examples:
  echo '{\"Network\": \"10.244.0.0/16\", \"Backend\": {\"Type\": \"vxlan\"}}' | tweedd config set -
  tweedd config check new.json && tweedd config set new.json
";

/// `tweedd docker-opts`
pub const DOCKER_OPTS: &str = "\
Examples:
  tweedd docker-opts        # writes /run/docker_opts.env, as mk-docker-opts.sh
  tweedd docker-opts -k DOCKER_NETWORK_OPTIONS -d /run/flannel/docker
";

/// `tweedd install-cni`
pub const INSTALL_CNI: &str = "\
Exit codes: 0 pods get this network by the list in place, 1 failure, 2 all is in place but another list is in use, 64 usage
";

/// `tweedd connectivity`
pub const CONNECTIVITY: &str = "\
In Kubernetes apply manifests/connectivity.yaml. Elsewhere start a responder on each host and in a pod of each, with the same token file everywhere (16 random bytes or more), and name all of them. TCP and UDP port 8479 must be open between them.

Exit codes: 0 all works, 1 something is broken, 64 usage

Examples:
  tweedd connectivity serve --token-file token --address 192.0.2.11
  ip netns exec POD tweedd connectivity serve --token-file token --address 10.244.1.5
  tweedd connectivity --token-file token --host a=192.0.2.11 --pod a=10.244.1.5 …
  for n in a b c; do ssh $n tweedd status -o json; done | tweedd connectivity views
";

/// `tweedd connectivity tx-checksum`
pub const TX_CHECKSUM: &str = concat!(
    "\
Run it as root on a node of vxlan whose Backend.TxChecksum is auto, towards a responder in a pod of another node. Six transfers of a second or two, in turns with tx-checksum-ip-generic of the node's VXLAN devices on and off; pods go on meanwhile, at the speed of either. Both in text and JSON: the rates, and what to do. Afterwards the devices are as they were, also after Ctrl-C and SIGTERM.

Exit codes: 0 leave it, 1 failure, 2 off is at least twice as fast in each turn: set Backend.TxChecksum to \"off\", 64 usage

Example:
  tweedd connectivity tx-checksum --token-file token 10.244.7.2

",
    other_flags!()
);
