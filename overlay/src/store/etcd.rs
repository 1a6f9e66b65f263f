//! etcd v3, flannel's schema.
