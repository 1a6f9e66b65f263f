//! Which leases become peers, and why the others don't.
