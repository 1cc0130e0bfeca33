//! The one place where the crate takes its atomics and cells from: core's own in every build of the product, loom's or
//! shuttle's when the models run on the code (`--cfg loom`, `--cfg shuttle`).

pub(crate) use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering, fence};
