//! Network namespaces: open by path, run a closure inside, on its own thread.
