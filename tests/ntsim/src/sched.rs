//! How the kernel's own threads start, wait and exclude each other, in both modes: operating system threads live, actors of
//! the scheduler in explore mode. For the rest of the simulated kernel, which has no other way to do any of it.
//!
//! In explore mode nobody else runs while one of the kernel's own mutexes is held, so they are never contended, and what
//! they protect is one step.

use crate::clock;
use crate::explore::engine;
use parking_lot::Condvar;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

/// A mutex of the kernel itself; drivers never see one.
#[derive(Default)]
pub(crate) struct Mutex<T>(parking_lot::Mutex<T>);

/// A held [`Mutex`].
pub(crate) struct MutexGuard<'a, T> {
    guard: parking_lot::MutexGuard<'a, T>,
    _held: Held,
}

/// Keeps other actors from running.
struct Held;

impl Held {
    fn new() -> Held {
        if let Some(engine) = engine() {
            engine.count_internal_lock(true);
        }
        Held
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(engine) = engine() {
            engine.count_internal_lock(false);
        }
    }
}

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Mutex<T> {
        Mutex(parking_lot::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard { guard: self.0.lock(), _held: Held::new() }
    }

    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.0.try_lock().map(|guard| MutexGuard { guard, _held: Held::new() })
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

/// Where threads wait for a change of what a [`Mutex`] protects. A wait may end without one.
#[derive(Default)]
pub(crate) struct Gate(Condvar);

impl Gate {
    /// Waits for ever.
    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        match engine() {
            None => self.0.wait(&mut guard.guard),
            Some(_) => {
                self.wait_until(guard, u64::MAX);
            }
        }
    }

    /// Waits until an interrupt time; false if it has come.
    pub(crate) fn wait_until<T>(&self, guard: &mut MutexGuard<'_, T>, deadline: u64) -> bool {
        let Some(engine) = engine() else {
            let left = clock::to_duration(deadline.saturating_sub(clock::now())).min(Duration::from_secs(1 << 30));
            return !self.0.wait_until(&mut guard.guard, Instant::now() + left).timed_out();
        };
        parking_lot::MutexGuard::unlocked(&mut guard.guard, || {
            engine.count_internal_lock(false);
            let woken = engine.wait(self.key(), Some(deadline));
            engine.count_internal_lock(true);
            woken
        })
    }

    pub(crate) fn notify_all(&self) {
        match engine() {
            None => {
                self.0.notify_all();
            }
            Some(engine) => engine.wake(self.key(), true),
        }
    }

    pub(crate) fn notify_one(&self) {
        match engine() {
            None => {
                self.0.notify_one();
            }
            Some(engine) => engine.wake(self.key(), false),
        }
    }

    fn key(&self) -> usize {
        std::ptr::from_ref(self) as usize
    }
}

/// The calling thread waits actively for another.
pub(crate) fn pause() {
    match engine() {
        None => std::thread::yield_now(),
        Some(engine) => engine.pause(),
    }
}

/// Something is about to happen, or has, that other threads see: a point of explore mode.
#[inline]
pub(crate) fn point(what: &'static str) {
    if let Some(engine) = engine() {
        engine.point(what);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// A mutex that explore mode does not know would stop all actors at once: only the kernel's start, which waits for other
    /// threads of the host, and the host's own objects have one.
    #[test]
    fn the_kernel_has_no_other_mutexes() {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let own = ["sched.rs", "system.rs", "kernel.rs", "cpu.rs"];
        let mut folders = vec![sources];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if !own.iter().any(|name| path.ends_with(name)) {
                    let text = std::fs::read_to_string(&path).unwrap();
                    let foreign = ["parking_lot::", "std::sync::Mutex", "Condvar", "{Arc, Mutex", "yield_now()"];
                    let found = foreign.iter().find(|name| text.contains(**name));
                    assert!(found.is_none() || path.ends_with("spinlock.rs"), "{}: {found:?}", path.display());
                }
            }
        }
    }
}
