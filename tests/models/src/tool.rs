//! What the models need of loom and of shuttle, under one name each: threads, an event, a lock, a blocking queue, and the
//! switch between the quiet and the explored part of an execution.
//!
//! Loom explores by what depends on what, so everything that threads share goes through its types. Shuttle explores by
//! scheduling points, so its versions have one point per operation, that the searches end.

#[cfg(loom)]
pub(crate) use with_loom::*;
#[cfg(shuttle)]
pub(crate) use with_shuttle::*;

/// Carries what is not `Send` to another model thread: all of them are on one thread of the host.
pub(crate) struct Carried<T>(T);

// SAFETY: both tools run their threads as coroutines of one thread of the host.
unsafe impl<T> Send for Carried<T> {}

impl<T> Carried<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(value)
    }

    pub(crate) fn into_inner(self) -> T {
        self.0
    }
}

#[cfg(loom)]
mod with_loom {
    pub(crate) use loom::sync::atomic;
    use loom::sync::{Condvar, Mutex, MutexGuard};
    pub(crate) use loom::thread;
    use std::cell::{Cell, RefCell};
    use std::collections::VecDeque;

    std::thread_local! {
        static EXPLORING: Cell<bool> = const { Cell::new(false) };
    }

    /// The execution begins, quietly.
    pub(crate) fn begin() {
        EXPLORING.set(false);
    }

    /// From here on every order is tried.
    pub(crate) fn explore() {
        EXPLORING.set(true);
        loom::explore();
    }

    /// From here on one order is enough.
    pub(crate) fn quiet() {
        if EXPLORING.replace(false) {
            loom::stop_exploring();
        }
    }

    /// The middle of a write to a plain field. Loom finds races without it.
    pub(crate) fn inside_write() {}

    /// The entry of a kernel function. Loom finds out by itself what may come before it.
    pub(crate) fn kernel_call() {}

    /// A plain field, for tests of who sees what.
    pub(crate) struct Plain<T>(loom::cell::UnsafeCell<T>);

    impl<T: Copy> Plain<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::cell::UnsafeCell::new(value))
        }

        pub(crate) fn get(&self) -> T {
            // SAFETY: loom fails the execution on a race.
            self.0.with(|value| unsafe { *value })
        }

        pub(crate) fn set(&self, value: T) {
            // SAFETY: as above.
            self.0.with_mut(|field| unsafe { *field = value });
        }
    }

    /// Marks memory: reading the mark races with writing it.
    pub(crate) struct Mark(loom::cell::UnsafeCell<()>);

    impl Mark {
        pub(crate) fn new() -> Self {
            Self(loom::cell::UnsafeCell::new(()))
        }

        pub(crate) fn read(&self) {
            self.0.with(|_| ());
        }

        pub(crate) fn write(&self) {
            self.0.with_mut(|_| ());
        }
    }

    pub(crate) struct Event {
        set: Mutex<bool>,
        changed: Condvar,
        manual: bool,
        waiting: Cell<bool>,
    }

    impl Event {
        pub(crate) fn new(manual: bool) -> Self {
            Self { set: Mutex::new(false), changed: Condvar::new(), manual, waiting: Cell::new(false) }
        }

        /// Whether setting it again is pointless but harmless.
        pub(crate) fn is_manual(&self) -> bool {
            self.manual
        }

        /// Whether a thread waits for it.
        pub(crate) fn has_waiter(&self) -> bool {
            self.waiting.get()
        }

        /// Sets it; returns what it was.
        pub(crate) fn set(&self) -> bool {
            let old = std::mem::replace(&mut *self.set.lock().unwrap(), true);
            self.changed.notify_all();
            old
        }

        pub(crate) fn clear(&self) {
            *self.set.lock().unwrap() = false;
        }

        pub(crate) fn wait(&self) {
            let mut set = self.set.lock().unwrap();
            while !*set {
                self.waiting.set(true);
                set = self.changed.wait(set).unwrap();
                self.waiting.set(false);
            }
            *set = self.manual;
        }
    }

    /// A lock whose holder is not a scope.
    pub(crate) struct Lock {
        guard: RefCell<Option<MutexGuard<'static, ()>>>,
        mutex: Mutex<()>,
    }

    impl Lock {
        pub(crate) fn new() -> Self {
            Self { guard: RefCell::new(None), mutex: Mutex::new(()) }
        }

        pub(crate) fn acquire(&self) {
            // SAFETY: the guard does not outlive its mutex: whoever acquires releases before the execution's end.
            let mutex: &'static Mutex<()> = unsafe { std::mem::transmute(&self.mutex) };
            let guard = mutex.lock().unwrap();
            *self.guard.borrow_mut() = Some(guard);
        }

        pub(crate) fn release(&self) {
            let guard = self.guard.borrow_mut().take();
            drop(guard);
        }
    }

    pub(crate) struct Queue<T> {
        items: Mutex<VecDeque<T>>,
        changed: Condvar,
    }

    impl<T: PartialEq> Queue<T> {
        pub(crate) fn new() -> Self {
            Self { items: Mutex::new(VecDeque::new()), changed: Condvar::new() }
        }

        /// Appends an item unless it is in the queue; says whether it was appended.
        pub(crate) fn push(&self, item: T) -> bool {
            let mut items = self.items.lock().unwrap();
            if items.contains(&item) {
                return false;
            }
            items.push_back(item);
            drop(items);
            self.changed.notify_all();
            true
        }

        /// Waits until there is an item.
        pub(crate) fn wait(&self) {
            let mut items = self.items.lock().unwrap();
            while items.is_empty() {
                items = self.changed.wait(items).unwrap();
            }
        }

        /// Takes the first item, after [`Queue::wait`].
        pub(crate) fn pop(&self) -> T {
            self.items.lock().unwrap().pop_front().expect("waited for")
        }
    }
}

#[cfg(shuttle)]
mod with_shuttle {
    use shuttle::future::batch_semaphore::{BatchSemaphore, Fairness};
    pub(crate) use shuttle::sync::atomic;
    pub(crate) use shuttle::thread;
    use std::cell::{Cell, RefCell};
    use std::collections::VecDeque;

    std::thread_local! {
        /// One order is enough; see [`Calm`].
        static QUIET: Cell<bool> = const { Cell::new(true) };
    }

    /// The execution begins, quietly.
    pub(crate) fn begin() {
        QUIET.set(true);
    }

    /// From here on every order is tried.
    pub(crate) fn explore() {
        QUIET.set(false);
    }

    /// From here on one order is enough.
    pub(crate) fn quiet() {
        QUIET.set(true);
    }

    /// A scheduler that decides by itself in the quiet parts, always the same way: everybody before the model's main
    /// thread, so that what was started has settled when main goes on.
    #[derive(Debug)]
    pub(crate) struct Calm<S>(pub(crate) S);

    impl<S: shuttle::scheduler::Scheduler> shuttle::scheduler::Scheduler for Calm<S> {
        fn new_execution(&mut self) -> Option<shuttle::scheduler::Schedule> {
            begin();
            self.0.new_execution()
        }

        fn next_task(
            &mut self,
            runnable: &[&shuttle::scheduler::Task],
            current: Option<shuttle::scheduler::TaskId>,
            is_yielding: bool,
        ) -> Option<shuttle::scheduler::TaskId> {
            if QUIET.get() {
                return runnable.last().map(|task| task.id());
            }
            self.0.next_task(runnable, current, is_yielding)
        }

        fn next_u64(&mut self) -> u64 {
            self.0.next_u64()
        }
    }

    std::thread_local! {
        /// See [`split_writes`].
        static SPLIT: Cell<bool> = const { Cell::new(true) };
    }

    /// Whether others may run in the middle of a write to a plain field, which is how a race is seen. The search in depth
    /// does without, that it may end; races are the business of the random searches, and of loom.
    pub(crate) fn split_writes(split: bool) {
        SPLIT.set(split);
    }

    /// The middle of a write to a plain field.
    pub(crate) fn inside_write() {
        if SPLIT.get() {
            kernel_call();
        }
    }

    /// The entry of a kernel function: others may run between the caller's last operation and what the function looks at
    /// first.
    pub(crate) fn kernel_call() {
        static POINT: atomic::AtomicBool = atomic::AtomicBool::new(false);
        POINT.load(std::sync::atomic::Ordering::SeqCst);
    }

    /// A plain field, for tests of who sees what.
    pub(crate) struct Plain<T>(Cell<T>);

    impl<T: Copy> Plain<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(Cell::new(value))
        }

        pub(crate) fn get(&self) -> T {
            self.0.get()
        }

        pub(crate) fn set(&self, value: T) {
            self.0.set(value);
        }
    }

    /// Marks memory; shuttle's executions are in sequence, so the flag beside it is enough.
    pub(crate) struct Mark;

    impl Mark {
        pub(crate) fn new() -> Self {
            Self
        }

        pub(crate) fn read(&self) {}

        pub(crate) fn write(&self) {}
    }

    pub(crate) struct Event {
        set: Cell<bool>,
        permit: BatchSemaphore,
        manual: bool,
        waiting: Cell<bool>,
    }

    impl Event {
        pub(crate) fn new(manual: bool) -> Self {
            let permit = BatchSemaphore::new(0, Fairness::StrictlyFair);
            Self { set: Cell::new(false), permit, manual, waiting: Cell::new(false) }
        }

        /// Whether setting it again is pointless but harmless.
        pub(crate) fn is_manual(&self) -> bool {
            self.manual
        }

        /// Whether a thread waits for it.
        pub(crate) fn has_waiter(&self) -> bool {
            self.waiting.get()
        }

        /// Sets it; returns what it was.
        pub(crate) fn set(&self) -> bool {
            let old = self.set.replace(true);
            if !old {
                self.permit.release(1);
            }
            old
        }

        pub(crate) fn clear(&self) {
            if self.set.replace(false) {
                self.permit.acquire_blocking(1).expect("never closed");
            }
        }

        pub(crate) fn wait(&self) {
            self.waiting.set(true);
            self.permit.acquire_blocking(1).expect("never closed");
            self.waiting.set(false);
            self.set.set(false);
            if self.manual {
                self.set();
            }
        }
    }

    /// A lock whose holder is not a scope.
    pub(crate) struct Lock(BatchSemaphore);

    impl Lock {
        pub(crate) fn new() -> Self {
            Self(BatchSemaphore::new(1, Fairness::Unfair))
        }

        pub(crate) fn acquire(&self) {
            self.0.acquire_blocking(1).expect("never closed");
        }

        pub(crate) fn release(&self) {
            self.0.release(1);
        }
    }

    pub(crate) struct Queue<T> {
        items: RefCell<VecDeque<T>>,
        permits: BatchSemaphore,
    }

    impl<T: PartialEq> Queue<T> {
        pub(crate) fn new() -> Self {
            Self { items: RefCell::new(VecDeque::new()), permits: BatchSemaphore::new(0, Fairness::StrictlyFair) }
        }

        /// Appends an item unless it is in the queue; says whether it was appended.
        pub(crate) fn push(&self, item: T) -> bool {
            if self.items.borrow().contains(&item) {
                return false;
            }
            self.items.borrow_mut().push_back(item);
            self.permits.release(1);
            true
        }

        /// Waits until there is an item.
        pub(crate) fn wait(&self) {
            self.permits.acquire_blocking(1).expect("never closed");
        }

        /// Takes the first item, after [`Queue::wait`].
        pub(crate) fn pop(&self) -> T {
            self.items.borrow_mut().pop_front().expect("waited for")
        }
    }
}
