//! A driver whose one control code runs whatever a test gives it, in a task on the passive executor, and gives back what
//! that returns: so that a test reads like the driver code it is about, and ends in an unload with all its checks.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use wsk_async::device::Ioctl;
use wsk_async::driver::{Driver, System};
use wsk_async::irql::{self, Level, Passive};
use wsk_async::status::{NtStatus, Result};
use wsk_async::sys::{DRIVER_OBJECT, NTSTATUS, PDRIVER_INITIALIZE, UNICODE_STRING};

/// Any code of METHOD_BUFFERED.
pub(crate) const RUN: u32 = 0x0022_2000;

type Answer<'a> = Pin<Box<dyn Future<Output = Result<String>> + 'a>>;
/// What a test runs in the driver.
pub(crate) trait Scenario: Send + Sync {
    fn run<'a>(&'a self, system: &'a System, passive: &'a Passive) -> Answer<'a>;
}

impl<F> Scenario for F
where
    F: AsyncFn(&System, &Passive) -> Result<String> + Send + Sync,
{
    fn run<'a>(&'a self, system: &'a System, passive: &'a Passive) -> Answer<'a> {
        Box::pin(self(system, passive))
    }
}

static SCENARIO: Mutex<Option<Arc<dyn Scenario>>> = Mutex::new(None);

struct Stage;

pub(crate) unsafe extern "system" fn driver_entry(
    object: *mut DRIVER_OBJECT,
    registry_path: *const UNICODE_STRING,
) -> NTSTATUS {
    // SAFETY: this is the entry.
    unsafe { wsk_async::driver::entry::<Stage>(object, registry_path) }
}

impl Driver for Stage {
    const NAME: &'static str = "Stage";

    fn start(_: &System, _: &Passive) -> Result<Self> {
        Ok(Stage)
    }

    async fn control(&self, system: &System, passive: &Passive, ioctl: &mut Ioctl) -> Result<usize> {
        let scenario = SCENARIO.lock().unwrap().clone().ok_or(NtStatus::INVALID_DEVICE_STATE)?;
        let answer = scenario.run(system, passive).await?;
        let output = ioctl.output();
        let length = answer.len().min(output.len());
        output[..length].copy_from_slice(&answer.as_bytes()[..length]);
        Ok(length)
    }
}

#[allow(dead_code)]
/// Runs a scenario in a driver of its own on `kernel`, from load to unload.
pub(crate) fn run_on(kernel: &ntsim::Kernel, scenario: impl Scenario + 'static) -> Result<String> {
    *SCENARIO.lock().unwrap() = Some(Arc::new(scenario));
    let driver = kernel.load("stage", driver_entry).map_err(NtStatus)?;
    let file = kernel.open(r"\\.\Stage").map_err(NtStatus)?;
    let mut output = vec![0; 4096];
    let (status, length) = file.ioctl(RUN, &[], &mut output);
    drop(file);
    driver.unload();
    NtStatus(status).ok()?;
    output.truncate(length);
    Ok(String::from_utf8(output).unwrap())
}

/// Loads a driver that runs a scenario at each request.
#[allow(dead_code)]
pub(crate) fn on_stage(kernel: &ntsim::Kernel, scenario: impl Scenario + 'static) -> ntsim::Driver {
    *SCENARIO.lock().unwrap() = Some(Arc::new(scenario));
    kernel.load("stage", driver_entry).unwrap()
}

/// The same, loaded by an entry of the test's own, which calls [`driver_entry`].
#[allow(dead_code)]
pub(crate) fn on_stage_by(
    kernel: &ntsim::Kernel,
    entry: PDRIVER_INITIALIZE,
    scenario: impl Scenario + 'static,
) -> ntsim::Driver {
    *SCENARIO.lock().unwrap() = Some(Arc::new(scenario));
    kernel.load("stage", entry).unwrap()
}

/// A kernel with two processors, and a scenario on it.
#[allow(dead_code)]
pub(crate) fn run(scenario: impl Scenario + 'static) -> Result<String> {
    let kernel = ntsim::Kernel::builder().processors(2).start();
    run_on(&kernel, scenario)
}

/// Counts those that are alive, and checks that each goes at the level `L`.
#[allow(dead_code)]
pub(crate) struct Alive<L: Level>(Arc<AtomicUsize>, std::marker::PhantomData<fn(L)>);

impl<L: Level> Alive<L> {
    #[allow(dead_code)]
    pub(crate) fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count.clone(), std::marker::PhantomData)
    }
}

impl<L: Level> Drop for Alive<L> {
    fn drop(&mut self) {
        assert_eq!(irql::current(), L::IRQL, "a destructor ran at another level");
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How many are alive; or what else a test counts so.
#[allow(dead_code)]
pub(crate) fn alive(count: &Arc<AtomicUsize>) -> usize {
    count.load(Ordering::Relaxed)
}
