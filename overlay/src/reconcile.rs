//! The loop: observe, plan, guard, apply.
