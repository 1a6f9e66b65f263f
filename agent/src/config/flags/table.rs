//! The flags one by one. Names and defaults of flannel's are flannel's (v0.28), spelling included.

use super::cni::CNI_GROUP;
use super::flag::Takes::{Many, One, Switch};
use super::flag::{Flag, Group};
use super::probes::PROBES;
use super::sandbox::SANDBOX;

pub static STORE: Flag = Flag::new(
    "store",
    One("KIND"),
    "Where leases and the network configuration live: etcd, kube (the Kubernetes API), or file (a folder that all hosts share, or one host alone)",
)
.default("etcd")
.ours();
pub static STORE_DIR: Flag = Flag::new(
    "store-dir",
    One("DIR"),
    "Folder of the file store: config (or net-conf.json), and one file a lease below subnets/",
)
.default("/var/lib/tweed/network")
.ours();
pub static KUBE_SUBNET_MGR: Flag = Flag::new(
    "kube-subnet-mgr",
    Switch,
    "Take subnets from Kubernetes: flannel's way to say --store=kube",
)
.default("false");
pub static KUBE_API: Flag = Flag::new(
    "kube-api",
    One("URL,…"),
    "API servers to use instead of the service's address or the kubeconfig's, tried in turn: without kube-proxy on the way. The credentials stay those of the pod or of the kubeconfig",
)
.ours();
pub static KUBE_API_URL: Flag = Flag::new(
    "kube-api-url",
    One("URL"),
    "flannel's form of --kube-api, for one API server",
);
pub static KUBE_ANNOTATION_PREFIX: Flag = Flag::new(
    "kube-annotation-prefix",
    One("PREFIX"),
    "Prefix of the node annotations",
)
.default("flannel.alpha.coreos.com");
pub static KUBECONFIG_FILE: Flag = Flag::new(
    "kubeconfig-file",
    One("FILE"),
    "Path of a kubeconfig, for agents that run outside of pods; without one the pod's service account is used",
);
pub static NET_CONFIG_PATH: Flag = Flag::new(
    "net-config-path",
    One("FILE"),
    "Network configuration with Kubernetes; read again when it changes",
)
.default("/etc/kube-flannel/net-conf.json");
pub static SET_NODE_NETWORK_UNAVAILABLE: Flag = Flag::new(
    "set-node-network-unavailable",
    Switch,
    "Maintain the node's NetworkUnavailable condition",
)
.default("true");
pub static NODE_NAME: Flag = Flag::new(
    "node-name",
    One("NAME"),
    "Name of this node in Kubernetes; default: the variable NODE_NAME, else the node of the pod that POD_NAME and POD_NAMESPACE name",
)
.ours();
pub static REMOVE_NODE_TAINTS: Flag = Flag::new(
    "remove-node-taints",
    One("KEY,…"),
    "Keys of taints that are removed from the node once its network works, for clusters whose nodes join with such taints",
)
.ours();

pub static ETCD_ENDPOINTS: Flag = Flag::new(
    "etcd-endpoints",
    One("URL,…"),
    "Endpoints, separated by commas. The first one's scheme holds for all: http:// is plain text, https:// is TLS, none is TLS where certificates are given",
)
.default("http://127.0.0.1:4001,http://127.0.0.1:2379");
pub static ETCD_PREFIX: Flag = Flag::new(
    "etcd-prefix",
    One("KEY"),
    "Prefix of all keys of this network",
)
.default("/coreos.com/network");
pub static ETCD_KEYFILE: Flag = Flag::new(
    "etcd-keyfile",
    One("FILE"),
    "Key of the client certificate, PEM",
);
pub static ETCD_CERTFILE: Flag = Flag::new(
    "etcd-certfile",
    One("FILE"),
    "Client certificate, PEM; goes with --etcd-keyfile",
);
pub static ETCD_CAFILE: Flag = Flag::new(
    "etcd-cafile",
    One("FILE"),
    "Certificate authority that signed the servers' certificates, PEM; works without a client certificate too",
);
pub static ETCD_USERNAME: Flag = Flag::new(
    "etcd-username",
    One("NAME"),
    "User for etcd's authentication",
);
pub static ETCD_PASSWORD: Flag = Flag::new(
    "etcd-password",
    One("TEXT"),
    "Password of that user. Everybody on the host sees a command line: prefer --etcd-password-file or the environment",
);
pub static ETCD_PASSWORD_FILE: Flag = Flag::new(
    "etcd-password-file",
    One("FILE"),
    "File that holds the password; a line break at its end is dropped",
)
.ours();

pub static LEASE_TTL: Flag = Flag::new(
    "lease-ttl",
    One("TIME"),
    "How long the lease outlives an agent that no longer renews it (etcd): seconds, or a number with s, m or h; at least 5s",
)
.default("86400s")
.ours();
pub static SUBNET_LEASE_RENEW_MARGIN: Flag = Flag::new(
    "subnet-lease-renew-margin",
    One("MINUTES"),
    "When flanneld renews its lease, in minutes before the end; 1 to 1439",
)
.default("60")
.inert("the lease is kept alive from the first moment on and renewed long before its end");

pub static IFACE: Flag = Flag::new(
    "iface",
    Many("NAME|ADDRESS"),
    "Uplink, by name or by one of its addresses; may be repeated, the first that fits wins",
);
pub static IFACE_REGEX: Flag = Flag::new(
    "iface-regex",
    Many("REGEX"),
    "Uplink by a pattern, tried after all --iface: first against addresses, then against names; not anchored",
);
pub static IFACE_CAN_REACH: Flag = Flag::new(
    "iface-can-reach",
    One("ADDRESS"),
    "Uplink over which this address is reached, tried last",
);
pub static PUBLIC_IP: Flag = Flag::new(
    "public-ip",
    One("ADDRESS"),
    "IPv4 address to announce to the other nodes. Without --iface… it also selects the interface that has it",
);
pub static PUBLIC_IPV6: Flag = Flag::new(
    "public-ipv6",
    One("ADDRESS"),
    "IPv6 address to announce to the other nodes",
);

pub static SUBNET_FILE: Flag = Flag::new(
    "subnet-file",
    One("FILE"),
    "Where the node's subnet and MTU are written for the CNI plugin, in flannel's format",
)
.default("/run/flannel/subnet.env");
pub static STATE_DIR: Flag = Flag::new(
    "state-dir",
    One("DIR"),
    "What must survive a reboot: own lease, MAC addresses, last known peers; one folder a network below it",
)
.default("/var/lib/tweed")
.ours();
pub static RUN_DIR: Flag = Flag::new(
    "run-dir",
    One("DIR"),
    "Lock file and socket of the running agent",
)
.default("/run/tweed")
.ours();
pub static SOCKET: Flag = Flag::new(
    "socket",
    One("FILE"),
    "Socket on which the running agent answers status and plan; default: <run-dir>/<instance>.sock",
)
.ours();
pub static INSTANCE: Flag = Flag::new(
    "instance",
    One("NAME"),
    "Name of this agent's lock, socket, state folder and nftables table; default: tweed for the default etcd prefix, annotation prefix or folder, else tweed- and 8 hexadecimal digits of it",
)
.ours();

pub static IP_MASQ: Flag = Flag::new(
    "ip-masq",
    Switch,
    "Masquerade traffic that leaves the pod network",
)
.default("false");
pub static IP_MASQ_FULLY_RANDOM_DISABLE: Flag = Flag::new(
    "ip-masq-fully-random-disable",
    Switch,
    "Let the kernel keep source ports when it masquerades, instead of drawing them at random",
)
.default("false");
pub static IPTABLES_FORWARD_RULES: Flag = Flag::new(
    "iptables-forward-rules",
    Switch,
    "In FORWARD chains of other programs whose policy is to drop: accept traffic from and to the pod network",
)
.default("true");
pub static PEER_ALLOW_LIST: Flag = Flag::new(
    "peer-allow-list",
    Switch,
    "Accept encapsulated packets from the known nodes' public addresses only; switch off where nodes sit behind NAT",
)
.default("true")
.ours();
pub static PEER_SOURCE_CHECK: Flag = Flag::new(
    "peer-source-check",
    One("WHEN"),
    "With VXLAN, accept from each known node only what comes from its own subnet or public address: on, off, or auto, which is on with --ip-masq; needs --peer-allow-list",
)
.default("auto")
.ours();
pub static IP_BLACKHOLE_ROUTE: Flag = Flag::new(
    "ip-blackhole-route",
    Switch,
    "Keep a blackhole route for the node's own subnet, so that packets to pods that are gone don't leave by the default route",
)
.default("false");

pub static RESYNC_INTERVAL: Flag = Flag::new(
    "resync-interval",
    One("TIME"),
    "Period of the full comparison with the kernel, beside those that events cause; at least 1s",
)
.default("60s")
.ours();
pub static IPTABLES_RESYNC: Flag = Flag::new(
    "iptables-resync",
    One("SECONDS"),
    "flannel's period for looking after its rules. When given, and --resync-interval is not, it becomes that interval",
)
.default("5");

pub static HEALTHZ_IP: Flag = Flag::new(
    "healthz-ip",
    One("ADDRESS"),
    "Address for /healthz, /readyz, /metrics and the page; flannel's default is 0.0.0.0, which lets other machines ask, such as a Prometheus",
)
.default("127.0.0.1");
pub static HEALTHZ_PORT: Flag = Flag::new(
    "healthz-port",
    One("PORT"),
    "Port for /healthz, /readyz, /metrics and the page; 0 means no server",
)
.default("0");

pub static METRICS_PEERS: Flag = Flag::new(
    "metrics-peers",
    One("NUMBER"),
    "Other nodes up to which there are metrics for each of them; where there are more, and with 0, there are sums only",
)
.default("100")
.ours();

pub static LOG_LEVEL: Flag = Flag::new(
    "log-level",
    One("LEVEL"),
    "error, warn, info, debug or trace (debug and trace without the libraries'); or directives such as info,tweed_store=debug,h2=debug",
)
.default("info")
.ours();
pub static LOG_FORMAT: Flag = Flag::new("log-format", One("FORMAT"), "text or json, on stderr")
    .default("text")
    .ours();
pub static V: Flag = Flag::new(
    "v",
    One("NUMBER"),
    "klog's verbosity, for those who swap the binary: 1 to 5 is debug, 6 and more is trace; --log-level wins",
)
.default("0");
pub static VMODULE: Flag = Flag::new(
    "vmodule",
    One("PATTERN=N,…"),
    "klog's verbosity by source file",
)
.inert("it names flannel's source files; --log-level takes directives by module");
pub static LOG_BACKTRACE_AT: Flag = Flag::new(
    "log_backtrace_at",
    One("FILE:LINE"),
    "klog's stack trace at a line",
)
.default(":0")
.inert("it names a line of flannel's source");

pub static ALLOW_FLANNELD: Flag = Flag::new(
    "allow-flanneld",
    Switch,
    "Start although a running flanneld works on the same network or subnet file of this host",
)
.default("false")
.ours();

/// Where leases come from.
pub static STORE_GROUP: Group = Group {
    heading: "Store",
    flags: &[&STORE, &STORE_DIR],
};
/// The etcd store.
pub static ETCD_GROUP: Group = Group {
    heading: "etcd",
    flags: &[
        &ETCD_ENDPOINTS,
        &ETCD_PREFIX,
        &ETCD_CAFILE,
        &ETCD_CERTFILE,
        &ETCD_KEYFILE,
        &ETCD_USERNAME,
        &ETCD_PASSWORD,
        &ETCD_PASSWORD_FILE,
    ],
};
/// The Kubernetes store.
pub static KUBE_GROUP: Group = Group {
    heading: "Kubernetes",
    flags: &[
        &KUBE_SUBNET_MGR,
        &NODE_NAME,
        &KUBE_API,
        &KUBE_API_URL,
        &KUBECONFIG_FILE,
        &KUBE_ANNOTATION_PREFIX,
        &NET_CONFIG_PATH,
        &SET_NODE_NETWORK_UNAVAILABLE,
        &REMOVE_NODE_TAINTS,
    ],
};
/// Files and names on this host.
pub static HOST_GROUP: Group = Group {
    heading: "Host",
    flags: &[
        &SUBNET_FILE,
        &STATE_DIR,
        &RUN_DIR,
        &SOCKET,
        &INSTANCE,
        &ALLOW_FLANNELD,
        &SANDBOX,
    ],
};
/// What is logged, and how.
pub static LOG_GROUP: Group = Group {
    heading: "Logging",
    flags: &[&LOG_LEVEL, &LOG_FORMAT, &V, &VMODULE, &LOG_BACKTRACE_AT],
};

/// Every flag, in the order of the help.
pub static GROUPS: &[&Group] = &[
    &STORE_GROUP,
    &KUBE_GROUP,
    &ETCD_GROUP,
    &Group {
        heading: "Lease",
        flags: &[&LEASE_TTL, &SUBNET_LEASE_RENEW_MARGIN],
    },
    &Group {
        heading: "Uplink",
        flags: &[
            &IFACE,
            &IFACE_REGEX,
            &IFACE_CAN_REACH,
            &PUBLIC_IP,
            &PUBLIC_IPV6,
        ],
    },
    &Group {
        heading: "Firewall and routes",
        flags: &[
            &IP_MASQ,
            &IP_MASQ_FULLY_RANDOM_DISABLE,
            &IPTABLES_FORWARD_RULES,
            &PEER_ALLOW_LIST,
            &PEER_SOURCE_CHECK,
            &IP_BLACKHOLE_ROUTE,
            &RESYNC_INTERVAL,
            &IPTABLES_RESYNC,
        ],
    },
    &Group {
        heading: "Health and metrics",
        flags: &[&HEALTHZ_IP, &HEALTHZ_PORT, &METRICS_PEERS, &PROBES],
    },
    &HOST_GROUP,
    &CNI_GROUP,
    &LOG_GROUP,
];
