//! I/O work items: routines that run later, at PASSIVE_LEVEL on a system thread.

use kunit::prelude::*;

#[kunit_tests(work_item)]
pub(crate) mod cases {
    use super::*;
    use crate::support::object::Event;
    use crate::support::{irql, raise};
    use core::ffi::c_void;
    use core::ptr::{from_ref, null_mut};
    use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::SeqCst};
    use wsk_async::status::Result;
    use wsk_sys::*;

    /// What a routine has seen, and what it does.
    struct Work {
        item: *mut IO_WORKITEM,
        device: AtomicPtr<DEVICE_OBJECT>,
        thread: AtomicUsize,
        level: AtomicUsize,
        rounds: AtomicUsize,
        done: Event,
    }

    impl Work {
        fn new(test: &Test) -> Result<Work> {
            // SAFETY: the device lives as long as the test driver.
            let item = unsafe { IoAllocateWorkItem(test.device()) };
            if item.is_null() {
                return Err(NtStatus::INSUFFICIENT_RESOURCES);
            }
            Ok(Work {
                item,
                device: AtomicPtr::new(null_mut()),
                thread: AtomicUsize::new(0),
                level: AtomicUsize::new(usize::MAX),
                rounds: AtomicUsize::new(0),
                done: Event::synchronization()?,
            })
        }

        fn queue(&self, routine: PIO_WORKITEM_ROUTINE, queue: WORK_QUEUE_TYPE) {
            // SAFETY: the item is live, and this outlives the routine, which is waited for.
            unsafe { IoQueueWorkItem(self.item, routine, queue, from_ref(self).cast_mut().cast()) };
        }

        fn free(self) {
            // SAFETY: it is not queued.
            unsafe { IoFreeWorkItem(self.item) };
        }
    }

    unsafe extern "system" fn look(device: *mut DEVICE_OBJECT, context: *mut c_void) {
        // SAFETY: the context outlives the routine.
        let work = unsafe { &*context.cast::<Work>() };
        work.device.store(device, SeqCst);
        work.level.store(usize::from(irql()), SeqCst);
        // SAFETY: no conditions.
        work.thread.store(unsafe { PsGetCurrentThread() } as usize, SeqCst);
        work.rounds.fetch_add(1, SeqCst);
        work.done.set();
    }

    #[test(params = [CriticalWorkQueue, DelayedWorkQueue])]
    fn runs_at_passive_level_on_another_thread(queue: &WORK_QUEUE_TYPE, test: &Test) -> Outcome {
        let work = Work::new(test)?;
        work.queue(look, *queue);
        work.done.comes()?;
        expect_eq!(work.device.load(SeqCst), test.device());
        expect_eq!(work.level.load(SeqCst), usize::from(PASSIVE_LEVEL));
        // SAFETY: no conditions.
        expect_ne!(work.thread.load(SeqCst), unsafe { PsGetCurrentThread() } as usize);
        work.free();
        Ok(())
    }

    #[test]
    fn may_be_queued_again_once_it_has_run(test: &Test) -> Outcome {
        let work = Work::new(test)?;
        for round in 1..=20 {
            work.queue(look, DelayedWorkQueue);
            work.done.comes()?;
            expect_eq!(work.rounds.load(SeqCst), round);
        }
        work.free();
        Ok(())
    }

    unsafe extern "system" fn queue_again(_: *mut DEVICE_OBJECT, context: *mut c_void) {
        // SAFETY: the context outlives the routine's last run.
        let work = unsafe { &*context.cast::<Work>() };
        if work.rounds.fetch_add(1, SeqCst) < 5 {
            work.queue(queue_again, DelayedWorkQueue);
        } else {
            work.done.set();
        }
    }

    #[test]
    fn may_be_queued_again_by_its_routine(test: &Test) -> Outcome {
        let work = Work::new(test)?;
        work.queue(queue_again, DelayedWorkQueue);
        work.done.comes()?;
        expect_eq!(work.rounds.load(SeqCst), 6);
        work.free();
        Ok(())
    }

    unsafe extern "system" fn free_itself(_: *mut DEVICE_OBJECT, context: *mut c_void) {
        // SAFETY: the context outlives the routine, and nobody else frees the item.
        unsafe {
            let work = &*context.cast::<Work>();
            IoFreeWorkItem(work.item);
            work.done.set();
        }
    }

    #[test]
    fn may_be_freed_by_its_routine(test: &Test) -> Outcome {
        let work = Work::new(test)?;
        work.queue(free_itself, DelayedWorkQueue);
        work.done.comes()?;
        Ok(())
    }

    #[test(needs = irql)]
    fn is_queued_at_dispatch_level(test: &Test) -> Outcome {
        let work = Work::new(test)?;
        {
            let _raised = raise(DISPATCH_LEVEL);
            work.queue(look, DelayedWorkQueue);
        }
        work.done.comes()?;
        expect_eq!(work.level.load(SeqCst), usize::from(PASSIVE_LEVEL));
        work.free();
        Ok(())
    }

    #[test]
    fn one_that_waits_holds_up_no_other(test: &Test) -> Outcome {
        unsafe extern "system" fn wait(_: *mut DEVICE_OBJECT, context: *mut c_void) {
            // SAFETY: the context outlives the routine.
            let (go, done) = unsafe { *context.cast::<(&Event, &Event)>() };
            expect!(go.comes().is_ok());
            done.set();
        }
        let (go, done) = (Event::notification()?, Event::synchronization()?);
        let (waits, works) = (Work::new(test)?, Work::new(test)?);
        let context = (&go, &done);
        // SAFETY: the item is live, and the context outlives the routine, which is waited for.
        unsafe { IoQueueWorkItem(waits.item, wait, DelayedWorkQueue, from_ref(&context).cast_mut().cast()) };
        works.queue(look, DelayedWorkQueue);
        works.done.comes()?;
        go.set();
        done.comes()?;
        waits.free();
        works.free();
        Ok(())
    }
}
