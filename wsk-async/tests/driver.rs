//! The control device in the simulated kernel: requests, their cancellation, what is wrong with them, and failing to load.

mod common;

use common::{RUN, on_stage};
use ntsim::{FaultKind, Faults, Kernel};
use std::sync::mpsc;
use wsk_async::device::Ioctl;
use wsk_async::driver::{Driver, System};
use wsk_async::irql::Passive;
use wsk_async::status::{NtStatus, Result};
use wsk_async::sys::{DRIVER_OBJECT, NTSTATUS, STATUS_OBJECT_NAME_COLLISION, UNICODE_STRING};

#[test]
fn requests_end_when_their_file_does() {
    let kernel = Kernel::builder().start();
    let (began, has_begun) = mpsc::channel();
    let driver = on_stage(&kernel, async move |_: &System, _: &Passive| {
        began.send(()).unwrap();
        core::future::pending().await
    });
    let (file, other) = (kernel.open(r"\\.\Stage").unwrap(), kernel.open(r"\\.\Stage").unwrap());
    let mine: Vec<_> = (0..3).map(|_| file.ioctl_start(RUN, Vec::new(), 0)).collect();
    let theirs = other.ioctl_start(RUN, Vec::new(), 0);
    (0..4).for_each(|_| has_begun.recv().unwrap());
    drop(file);
    for request in mine {
        assert_eq!(NtStatus(request.wait().0), NtStatus::CANCELLED);
    }
    assert!(!theirs.is_done());
    drop(other);
    assert_eq!(NtStatus(theirs.wait().0), NtStatus::CANCELLED);
    driver.unload();
}

#[test]
fn requests_may_be_cancelled_at_any_time() {
    let kernel = Kernel::builder().processors(4).start();
    let driver = on_stage(&kernel, async |system: &System, _: &Passive| {
        system.timers.sleep(std::time::Duration::from_micros(50)).await;
        Ok("through".into())
    });
    let file = kernel.open(r"\\.\Stage").unwrap();
    let mut through = 0;
    for round in 0..2000_u32 {
        let request = file.ioctl_start(RUN, Vec::new(), 16);
        (0..round % 97 * 20).for_each(|_| std::hint::spin_loop());
        request.cancel();
        match request.wait() {
            (0, output) => {
                assert_eq!(output, b"through");
                through += 1;
            }
            (status, _) => assert_eq!(NtStatus(status), NtStatus::CANCELLED),
        }
    }
    println!("{through} of 2000 came through");
    drop(file);
    driver.unload();
}

#[test]
fn other_methods_than_buffered_are_refused() {
    let kernel = Kernel::builder().start();
    let driver = on_stage(&kernel, async |_: &System, _: &Passive| Ok(String::new()));
    let file = kernel.open(r"\\.\Stage").unwrap();
    for method in 1..=3 {
        assert_eq!(NtStatus(file.ioctl(RUN | method, b"x", &mut [0; 4]).0), NtStatus::INVALID_DEVICE_REQUEST);
    }
    assert_eq!(file.ioctl(RUN, &[], &mut []), (0, 0));
    drop(file);
    driver.unload();
}

#[test]
fn a_name_that_is_taken_fails_the_second_load() {
    let kernel = Kernel::builder().start();
    let driver = on_stage(&kernel, async |_: &System, _: &Passive| Ok(String::new()));
    assert_eq!(kernel.load("stage", common::driver_entry).err(), Some(STATUS_OBJECT_NAME_COLLISION));
    driver.unload();
    kernel.load("stage", common::driver_entry).unwrap().unload();
}

/// Spawns on both executors, and then does not want to be a driver.
struct Unwilling;

impl Driver for Unwilling {
    const NAME: &'static str = "Unwilling";

    fn start(system: &System, _: &Passive) -> Result<Self> {
        let (a, b) = (system.timers.clone(), system.timers.clone());
        let hour = std::time::Duration::from_secs(3600);
        drop(system.passive.spawn(move |_| async move { a.sleep(hour).await })?);
        drop(system.dispatch.spawn(move |_| async move { b.sleep(hour).await })?);
        Err(NtStatus::DATA_ERROR)
    }

    async fn control(&self, _: &System, _: &Passive, _: &mut Ioctl) -> Result<usize> {
        Ok(0)
    }
}

unsafe extern "system" fn unwilling(object: *mut DRIVER_OBJECT, registry_path: *const UNICODE_STRING) -> NTSTATUS {
    // SAFETY: this is the entry.
    unsafe { wsk_async::driver::entry::<Unwilling>(object, registry_path) }
}

#[test]
fn a_start_that_fails_leaves_nothing_behind() {
    let kernel = Kernel::builder().start();
    for _ in 0..50 {
        assert_eq!(kernel.load("unwilling", unwilling).err().map(NtStatus), Some(NtStatus::DATA_ERROR));
    }
}

#[test]
fn every_allocation_of_a_load_may_fail() {
    let kernel = Kernel::builder().start();
    let mut failures = 0;
    for n in 1.. {
        let before = kernel.struck(FaultKind::Allocation);
        kernel.set_faults(Faults::none().nth(FaultKind::Allocation, n));
        let loaded = kernel.load("stage", common::driver_entry);
        kernel.set_faults(Faults::none());
        match loaded {
            Ok(driver) => {
                driver.unload();
                assert_eq!(kernel.struck(FaultKind::Allocation), before, "allocation {n} failed unnoticed");
                break;
            }
            Err(status) => assert_eq!(NtStatus(status), NtStatus::INSUFFICIENT_RESOURCES),
        }
        failures += 1;
    }
    assert!(failures >= 10, "only {failures} allocations");
}

#[test]
fn output_that_was_not_written_is_zero() {
    /// Says that it has written everything, and has written nothing.
    struct Boaster;
    impl Driver for Boaster {
        const NAME: &'static str = "Boaster";
        fn start(_: &System, _: &Passive) -> Result<Self> {
            Ok(Boaster)
        }
        async fn control(&self, _: &System, _: &Passive, ioctl: &mut Ioctl) -> Result<usize> {
            Ok(ioctl.output_len() + 1000)
        }
    }
    unsafe extern "system" fn boaster(object: *mut DRIVER_OBJECT, path: *const UNICODE_STRING) -> NTSTATUS {
        // SAFETY: this is the entry.
        unsafe { wsk_async::driver::entry::<Boaster>(object, path) }
    }
    let kernel = Kernel::builder().start();
    let driver = kernel.load("boaster", boaster).unwrap();
    let file = kernel.open(r"\\.\Boaster").unwrap();
    let mut output = [0xEE; 40];
    assert_eq!(file.ioctl(RUN, b"ab", &mut output), (0, 40));
    assert_eq!((&output[..2], &output[2..]), (b"ab".as_slice(), [0; 38].as_slice()));
    drop(file);
    driver.unload();
}

#[test]
fn an_error_is_never_a_success() {
    let kernel = Kernel::builder().start();
    let driver = on_stage(&kernel, async |_: &System, _: &Passive| Err(NtStatus::PENDING));
    let file = kernel.open(r"\\.\Stage").unwrap();
    assert_eq!(NtStatus(file.ioctl(RUN, &[], &mut []).0), NtStatus::UNSUCCESSFUL);
    drop(file);
    driver.unload();
}

#[test]
fn the_state_goes_with_unload_and_not_in_a_task() {
    use std::sync::Mutex;
    use std::thread::{ThreadId, current};
    static THREADS: Mutex<Option<(ThreadId, ThreadId)>> = Mutex::new(None);
    /// Notes the thread of its task, and then the thread that drops it.
    struct Stateful(Mutex<Option<ThreadId>>);
    impl Driver for Stateful {
        const NAME: &'static str = "Stateful";
        fn start(_: &System, _: &Passive) -> Result<Self> {
            Ok(Stateful(Mutex::new(None)))
        }
        async fn control(&self, _: &System, _: &Passive, _: &mut Ioctl) -> Result<usize> {
            *self.0.lock().unwrap() = Some(current().id());
            Ok(0)
        }
    }
    impl Drop for Stateful {
        fn drop(&mut self) {
            *THREADS.lock().unwrap() = self.0.lock().unwrap().map(|task| (task, current().id()));
        }
    }
    unsafe extern "system" fn stateful(object: *mut DRIVER_OBJECT, path: *const UNICODE_STRING) -> NTSTATUS {
        // SAFETY: this is the entry.
        unsafe { wsk_async::driver::entry::<Stateful>(object, path) }
    }
    let kernel = Kernel::builder().start();
    for _ in 0..100 {
        let driver = kernel.load("stateful", stateful).unwrap();
        let file = kernel.open(r"\\.\Stateful").unwrap();
        assert_eq!(file.ioctl(RUN, &[], &mut []), (0, 0));
        drop(file);
        driver.unload();
        let (task, end) = THREADS.lock().unwrap().take().unwrap();
        assert_ne!(task, end);
    }
}
