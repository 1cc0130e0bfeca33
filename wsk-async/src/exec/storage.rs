//! [`TaskStorage`]: room for one task at a time in a `static`, for drivers that must not allocate.
//!
//! To the executor it is a task like others (`task`): in its queue, in its list of all, cancelled when it stops. What
//! differs is here: the claim in place of the allocation (T0), and the wakers, which nobody counts.
//!
//! A waker may so outlive the run that it was made in, and even the executor. It touches the header, which lives for ever.
//! While the storage is idle, QUEUED is stuck and a wake ends there. In a later run a wake that finds QUEUED clear queues
//! the task of that run, on the executor of that run: a poll too many, which every future must bear.

use super::queue::Core;
use super::task::{
    self, COMPLETE, Content, Header, IDLE, NEW, QUEUED, REFERENCE, STATIC, Task, VTable, no_content, with_content,
};
use super::waker;
use crate::atomic::{Ordering, const_fn, seeded};
use crate::irql::Level;
use crate::status::{NtStatus, Result};
use core::cell::UnsafeCell;
use core::fmt;
use core::mem::{ManuallyDrop, MaybeUninit, offset_of};
use core::ptr::{NonNull, null};
use core::task::Context;

/// Room in a `static` for one task at a time, of at most `BYTES` bytes of closure or future; 64 bytes are added to them.
///
/// [`Spawner::spawn_static`](super::Spawner::spawn_static) starts the task:
///
/// ```no_run
/// use wsk_async::exec::{Spawner, TaskStorage, yield_now};
/// use wsk_async::irql::Dispatch;
///
/// static HEARTBEAT: TaskStorage<128> = TaskStorage::new();
///
/// fn beat(spawner: &Spawner<Dispatch>) -> wsk_async::status::Result<()> {
///     spawner.spawn_static(&HEARTBEAT, |_| async {
///         yield_now().await;
///     })
/// }
/// ```
///
/// The number of bytes is a choice of the driver's, since the types of closures and futures have no names. If it is too
/// small, the driver does not compile. An operation awaited in such a task takes a few locked operations more than in others.
#[repr(C, align(16))]
pub struct TaskStorage<const BYTES: usize> {
    task: Task,
    /// The content, which is where that of every task is: after the task.
    _content: UnsafeCell<[MaybeUninit<u8>; BYTES]>,
}

const _: () = assert!(offset_of!(TaskStorage<1>, _content) == size_of::<Task>());

// SAFETY: whoever takes the word from IDLE has the storage for itself, until the executor has it, which makes the word IDLE
// again when it is through. Closures that come in are `Send`; futures stay in their executor.
unsafe impl<const BYTES: usize> Sync for TaskStorage<BYTES> {}

impl<const BYTES: usize> TaskStorage<BYTES> {
    const_fn! {
        /// Makes one that is idle.
        pub fn new() -> Self {
            Self {
                task: Task::new(Header::new(IDLE, &EMPTY, null())),
                _content: UnsafeCell::new([MaybeUninit::uninit(); BYTES]),
            }
        }
    }

    /// See [`Spawner::spawn_static`](super::Spawner::spawn_static).
    pub(super) fn spawn<L, F, Fut>(&'static self, core: &Core, closure: F) -> Result<()>
    where
        L: Level,
        F: FnOnce(L) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        const {
            assert!(size_of::<Content<F, Fut, ()>>() <= BYTES, "the closure or its future is larger than the storage");
            assert!(
                align_of::<Content<F, Fut, ()>>() <= align_of::<Self>(),
                "the closure or its future is over-aligned"
            );
        }
        if core.is_refusing() {
            return Err(NtStatus::DELETE_PENDING);
        }
        let local = core.is_local();
        self.claim(if local { 0 } else { NEW })?;
        let header = &self.task.header;
        header.settle(core);
        header.hold(const { &closure_vtable::<L, F, Fut>() });
        self.task.previous.set(null());
        let task = NonNull::from(self).cast();
        // SAFETY: the storage is claimed, so it is ours until the task is queued; a refused one is still ours, with its
        // closure. The content fits.
        unsafe {
            with_content(task, |place: *mut F| place.write(closure));
            core.enqueue_new(task, local).inspect_err(|_| {
                let closure = with_content(task, |place: *mut F| place.read());
                // Release: whoever claims the storage next comes after this.
                header.word.store(IDLE, Ordering::Release);
                drop(closure);
            })
        }
    }

    /// T0. Errors: STATUS_DEVICE_BUSY.
    fn claim(&self, origin: usize) -> Result<()> {
        let word = &self.task.header.word;
        let new = QUEUED | STATIC | origin | REFERENCE;
        let current = match seeded(17) {
            true => word.load(Ordering::Relaxed) | COMPLETE,
            false => IDLE,
        };
        // Acquire: all of the last run, on whatever executor, comes before this one.
        match word.compare_exchange(current, new, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => Ok(()),
            Err(_) => Err(NtStatus::DEVICE_BUSY),
        }
    }
}

impl<const BYTES: usize> Default for TaskStorage<BYTES> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const BYTES: usize> fmt::Debug for TaskStorage<BYTES> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let idle = self.task.header.word.load(Ordering::Relaxed) == IDLE;
        f.debug_struct("TaskStorage").field("bytes", &BYTES).field("idle", &idle).finish_non_exhaustive()
    }
}

/// That of a storage before its first task.
static EMPTY: VTable = VTable { poll: poll_nothing, drop_future: no_content, drop_output: no_content };

unsafe fn poll_nothing(_: NonNull<Header>, _: &mut Context<'_>) -> bool {
    false
}

const fn closure_vtable<L: Level, F: FnOnce(L) -> Fut, Fut: Future<Output = ()>>() -> VTable {
    VTable { poll: start::<L, F, Fut>, drop_future: task::drop_content::<F>, drop_output: no_content }
}

const fn future_vtable<Fut: Future<Output = ()>>() -> VTable {
    VTable { poll: poll::<Fut>, drop_future: task::drop_content::<Fut>, drop_output: no_content }
}

/// The first poll: the closure, then its future.
unsafe fn start<L: Level, F: FnOnce(L) -> Fut, Fut: Future<Output = ()>>(
    task: NonNull<Header>,
    cx: &mut Context<'_>,
) -> bool {
    // SAFETY: the executor polls, and the content is the closure until now.
    unsafe {
        task::build::<L, F, Fut>(task);
        (*task.as_ptr()).hold(const { &future_vtable::<Fut>() });
        poll::<Fut>(task, cx)
    }
}

/// Polls with a waker that nobody counts, in place of the executor's.
unsafe fn poll<Fut: Future<Output = ()>>(task: NonNull<Header>, _: &mut Context<'_>) -> bool {
    // SAFETY: the executor polls, and the content is the future.
    unsafe {
        let waker = ManuallyDrop::new(waker::of_static(task));
        task::poll_future::<Fut>(task, &mut Context::from_waker(&waker))
    }
}
