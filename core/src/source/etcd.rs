//! Keys in etcd.
