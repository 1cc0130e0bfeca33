//! The parts of scenarios: a task that waits for flags, wakers that are not the product's, waiting for them.

use crate::kernel;
use crate::tool::{Carried, Event, Plain, atomic::AtomicBool};
use std::cell::{Cell, RefCell, UnsafeCell};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Wake, Waker};
use wsk_async::exec::{JoinHandle, Spawner, TaskStorage};
use wsk_async::irql::Level;

/// What a probe's output is.
pub(crate) const OUTPUT: u32 = 7;

/// The test's side of a task that is ready once all of its flags are set.
pub(crate) struct Probe {
    flags: Vec<AtomicBool>,
    /// Clones of the task's waker, made at its first poll.
    wakers: RefCell<Vec<Waker>>,
    /// How often it wakes itself before it looks at its flags.
    yields: Cell<u32>,
    /// Set when the future is ready.
    pub(crate) done: Event,
    /// How many of future and output are alive.
    alive: Cell<u32>,
    /// Races if two threads poll, or if one does not see what the last did.
    polled: Plain<u32>,
}

impl Probe {
    pub(crate) fn new(flags: usize) -> Rc<Self> {
        Rc::new(Self {
            flags: (0..flags).map(|_| AtomicBool::new(false)).collect(),
            wakers: RefCell::default(),
            yields: Cell::new(0),
            done: Event::new(false),
            alive: Cell::new(0),
            polled: Plain::new(0),
        })
    }

    /// Makes it wake itself that often, from the next poll on.
    pub(crate) fn yields(&self, times: u32) {
        self.yields.set(times);
    }

    /// Spawns the task.
    pub(crate) fn spawn<L: Level>(
        self: &Rc<Self>,
        on: &Spawner<L>,
        wakers: usize,
    ) -> wsk_async::status::Result<JoinHandle<Output>> {
        let future = Carried::new(Watch { probe: Life::new(self), wakers });
        on.spawn(move |_| future.into_inner())
    }

    /// Spawns the task and lets it come to rest; its wakers can be taken then. In a quiet part.
    pub(crate) fn settle<L: Level>(self: &Rc<Self>, on: &Spawner<L>, wakers: usize) -> JoinHandle<Output> {
        let handle = self.spawn(on, wakers).expect("a running executor");
        self.wait_for_wakers(wakers);
        kernel::settle();
        handle
    }

    /// Spawns the task in a storage.
    pub(crate) fn spawn_static<L: Level>(
        self: &Rc<Self>,
        on: &Spawner<L>,
        storage: &Storage,
        wakers: usize,
    ) -> wsk_async::status::Result<()> {
        let future = Carried::new(Watch { probe: Life::new(self), wakers });
        on.spawn_static(storage.forever(), move |_| {
            let future = future.into_inner();
            async move { drop(future.await) }
        })
    }

    /// As [`Probe::settle`], in a storage.
    pub(crate) fn settle_static<L: Level>(self: &Rc<Self>, on: &Spawner<L>, storage: &Storage, wakers: usize) {
        self.spawn_static(on, storage, wakers).expect("a running executor and an idle storage");
        self.wait_for_wakers(wakers);
        kernel::settle();
    }

    /// Returns when the first poll has left that many wakers. In a quiet part.
    pub(crate) fn wait_for_wakers(&self, wakers: usize) {
        while self.wakers.borrow().len() < wakers {
            crate::tool::thread::yield_now();
        }
    }

    /// One of the wakers.
    pub(crate) fn waker(&self) -> Waker {
        self.wakers.borrow_mut().pop().expect("a waker")
    }

    /// Sets a flag. Relaxed: that the task sees it is the wake's doing.
    pub(crate) fn set(&self, flag: usize) {
        self.flags[flag].store(true, Relaxed);
    }

    /// Neither future nor output is left.
    pub(crate) fn assert_gone(&self) {
        assert_eq!(self.alive.get(), 0, "a future or an output was not dropped");
    }
}

/// Room for a probe's task, which lasts for an execution. Made anew in each: the tools want their atomics so.
pub(crate) struct Storage(Box<UnsafeCell<TaskStorage<256>>>);

impl Storage {
    pub(crate) fn new() -> Self {
        Self(Box::new(UnsafeCell::new(TaskStorage::new())))
    }

    fn forever(&self) -> &'static TaskStorage<256> {
        // SAFETY: scenarios keep it until their executors and wakers are gone.
        unsafe { &*self.0.get() }
    }
}

/// Counts one that is alive, and says where it may be dropped: where the executor runs.
struct Life {
    probe: Rc<Probe>,
    polled_by: Cell<Option<usize>>,
}

impl Life {
    fn new(probe: &Rc<Probe>) -> Self {
        probe.alive.set(probe.alive.get() + 1);
        Self { probe: probe.clone(), polled_by: Cell::new(None) }
    }

    /// The executor's context: the thread's identity, or the processor at DISPATCH_LEVEL.
    fn context() -> usize {
        let context = kernel::context();
        if context.irql == wsk_sys::DISPATCH_LEVEL { context.processor as usize } else { context.identity }
    }

    fn enter(&self) {
        self.polled_by.set(Some(Self::context()));
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.probe.alive.set(self.probe.alive.get() - 1);
        if let Some(executor) = self.polled_by.get() {
            assert_eq!(executor, Self::context(), "a destructor ran outside its executor");
        }
    }
}

/// The task's side.
struct Watch {
    probe: Life,
    /// Wakers to leave at the first poll.
    wakers: usize,
}

impl Future for Watch {
    type Output = Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Output> {
        let this = &mut *self;
        this.probe.enter();
        let probe = &this.probe.probe;
        probe.polled.set(probe.polled.get() + 1);
        for _ in 0..std::mem::take(&mut this.wakers) {
            let waker = cx.waker().clone();
            probe.wakers.borrow_mut().push(waker);
        }
        let yields = probe.yields.get();
        if yields > 0 {
            probe.yields.set(yields - 1);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if probe.flags.iter().all(|flag| flag.load(Relaxed)) {
            let output = Life::new(probe);
            output.enter();
            probe.done.set();
            return Poll::Ready(Output { life: output, value: OUTPUT });
        }
        Poll::Pending
    }
}

/// The task's output. Untaken, it is dropped where the task ran.
pub(crate) struct Output {
    life: Life,
    pub(crate) value: u32,
}

impl Output {
    /// It was taken: it may be dropped anywhere.
    pub(crate) fn taken(self) -> u32 {
        self.life.polled_by.set(None);
        self.value
    }
}

// SAFETY: all model threads are on one thread of the host.
unsafe impl Send for Output {}

/// A waker that is none of the product's.
pub(crate) struct Foreign {
    pub(crate) woken: Event,
}

// SAFETY: all model threads are on one thread of the host.
unsafe impl Send for Foreign {}
// SAFETY: as above.
unsafe impl Sync for Foreign {}

impl Wake for Foreign {
    fn wake(self: Arc<Self>) {
        self.woken.set();
    }
}

impl Foreign {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { woken: Event::new(false) })
    }

    /// Polls a future once.
    pub(crate) fn poll<F: Future + Unpin>(self: &Arc<Self>, future: &mut F) -> Poll<F::Output> {
        let waker = Waker::from(self.clone());
        Pin::new(future).poll(&mut Context::from_waker(&waker))
    }

    /// No clone of the waker is left.
    pub(crate) fn assert_gone(self: &Arc<Self>) {
        assert_eq!(Arc::strong_count(self), 1, "a foreign waker was not dropped, or dropped twice");
    }
}
