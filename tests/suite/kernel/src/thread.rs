//! System threads: their objects, handles and ends.

use kunit::prelude::*;

#[kunit_tests(thread)]
pub(crate) mod cases {
    use super::*;
    use crate::support::object::{Event, Thread, start};
    use crate::support::{MS, PATIENCE};
    use core::ffi::c_void;
    use core::ptr::{from_ref, null_mut};
    use core::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use wsk_sys::*;

    #[test]
    fn its_object_is_signalled_when_it_has_ended() -> Outcome {
        let go = Event::notification()?;
        let thread = Thread::start(|| {
            expect!(go.comes().is_ok());
        })?;
        expect_eq!(thread.wait(0), NtStatus::TIMEOUT);
        expect_eq!(thread.wait(20 * MS), NtStatus::TIMEOUT);
        go.set();
        for timeout in [PATIENCE, 0, 0] {
            expect_eq!(thread.wait(timeout), NtStatus::SUCCESS, "and it stays so");
        }
        Ok(())
    }

    #[test]
    fn all_who_wait_for_its_end_are_woken() -> Outcome {
        let go = Event::notification()?;
        let thread = Thread::start(|| {
            expect!(go.comes().is_ok());
        })?;
        let wait = || {
            expect_eq!(thread.wait(PATIENCE), NtStatus::SUCCESS);
        };
        let others = [Thread::start(wait)?, Thread::start(wait)?];
        go.set();
        for other in &others {
            other.ends()?;
        }
        Ok(())
    }

    #[test]
    fn it_is_the_current_thread_to_itself() -> Outcome {
        let seen = AtomicUsize::new(0);
        // SAFETY: no conditions.
        let own = unsafe { PsGetCurrentThread() };
        let thread = Thread::start(|| {
            // SAFETY: no conditions.
            seen.store(unsafe { PsGetCurrentThread() } as usize, SeqCst);
        })?;
        thread.ends()?;
        expect_eq!(seen.load(SeqCst), thread.object() as usize);
        expect_ne!(seen.load(SeqCst), own as usize);
        // SAFETY: as above.
        expect_eq!(unsafe { PsGetCurrentThread() }, own);
        Ok(())
    }

    /// Ends its thread out of a nested call.
    #[inline(never)]
    fn end_here(reached: &AtomicUsize) {
        reached.fetch_add(1, SeqCst);
        // SAFETY: nothing on this stack is needed any more.
        unsafe { PsTerminateSystemThread(STATUS_SUCCESS) };
        reached.fetch_add(100, SeqCst);
    }

    unsafe extern "system" fn terminates(context: *mut c_void) {
        // SAFETY: the context outlives the thread.
        end_here(unsafe { &*context.cast::<AtomicUsize>() });
    }

    #[test]
    fn it_may_end_itself_anywhere() -> Outcome {
        let reached = AtomicUsize::new(0);
        // SAFETY: the counter outlives the thread, which is waited for.
        let thread = Thread::of(unsafe { start(terminates, from_ref(&reached).cast_mut().cast()) }?)?;
        thread.ends()?;
        expect_eq!(reached.load(SeqCst), 1, "what comes after does not run");
        Ok(())
    }

    unsafe extern "system" fn waits(event: *mut c_void) {
        // SAFETY: the event outlives the thread.
        unsafe { crate::support::object::wait(event, PATIENCE) };
    }

    #[test]
    fn a_closed_handle_does_not_end_it() -> Outcome {
        let go = Event::notification()?;
        // SAFETY: the event outlives the thread, which is waited for.
        let handle = unsafe { start(waits, go.get().cast()) }?;
        let (mut first, mut second) = (null_mut(), null_mut());
        // SAFETY: an open handle, and then references.
        unsafe {
            for object in [&mut first, &mut second] {
                let status = ObReferenceObjectByHandle(handle, SYNCHRONIZE, null_mut(), KernelMode, object, null_mut());
                expect_eq!(NtStatus(status), NtStatus::SUCCESS);
            }
            expect_eq!(first, second, "one object");
            expect_eq!(NtStatus(ZwClose(handle)), NtStatus::SUCCESS);
            ObfDereferenceObject(first);
            expect_eq!(crate::support::object::wait(second, 0), NtStatus::TIMEOUT);
            go.set();
            expect_eq!(crate::support::object::wait(second, PATIENCE), NtStatus::SUCCESS);
            ObfReferenceObject(second);
            ObfDereferenceObject(second);
            ObfDereferenceObject(second);
        }
        Ok(())
    }

    #[test]
    fn a_handle_that_is_none_is_refused() {
        let mut object = null_mut();
        // SAFETY: valid for a write.
        let status = unsafe {
            let handle = 0x4_2424 as HANDLE;
            ObReferenceObjectByHandle(handle, SYNCHRONIZE, null_mut(), KernelMode, &mut object, null_mut())
        };
        expect_eq!(NtStatus(status), NtStatus(STATUS_INVALID_HANDLE));
    }

    #[test]
    fn many_come_and_go() -> Outcome {
        let count = AtomicUsize::new(0);
        for round in 1..=30 {
            let thread = Thread::start(|| {
                count.fetch_add(1, SeqCst);
            })?;
            thread.ends()?;
            expect_eq!(count.load(SeqCst), round);
        }
        Ok(())
    }
}
