//! flannel's formats: lease values, keys.
