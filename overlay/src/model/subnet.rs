//! Subnet arithmetic and the choice of a free subnet.
