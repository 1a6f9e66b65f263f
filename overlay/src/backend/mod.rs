//! How leases become intent. Pure.
