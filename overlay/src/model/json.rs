//! Reading JSON by the rules of Go.
