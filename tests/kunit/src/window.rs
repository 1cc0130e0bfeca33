//! What explore mode should look at in a case: between [`begin`] and [`end`] every order of events may be tried, outside of it
//! one is enough. For cases that are about one race. Elsewhere than in explore mode, and where an exploration is of whole
//! cases, both do nothing.

#[cfg(not(windows))]
unsafe extern "Rust" {
    /// Defined by the simulated kernel, as the kernel's routines are.
    fn ntsim_window(open: bool);
}

fn set(open: bool) {
    #[cfg(not(windows))]
    // SAFETY: it has no conditions.
    unsafe {
        ntsim_window(open);
    }
    #[cfg(windows)]
    let _ = open;
}

/// From here on.
pub fn begin() {
    set(true);
}

/// Up to here.
pub fn end() {
    set(false);
}
