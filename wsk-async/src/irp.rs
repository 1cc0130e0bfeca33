//! IRPs.
