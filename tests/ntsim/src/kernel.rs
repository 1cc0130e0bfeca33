//! The host program's view: start a kernel, load drivers into it, talk to their devices, see what they did.

use crate::checks::Checks;
use crate::disk::Disk;
use crate::driver::{self, Loaded};
use crate::fault::{FaultKind, Faults, Site, Strike};
use crate::file::{self, File};
use crate::network::Network;
use crate::pool;
use crate::registry::{Registry, RegistryValue};
use crate::stats::Stats;
use crate::system::{self, Sink, system};
use crate::{cpu, debug, wsk};
use parking_lot::Mutex;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use wsk_sys::{NTSTATUS, PDRIVER_INITIALIZE};

/// What a kernel is started with.
pub(crate) struct Config {
    pub(crate) processors: u32,
    pub(crate) os_build: u32,
    pub(crate) sink: Sink,
    pub(crate) seed: u64,
    pub(crate) checks: Checks,
    pub(crate) registry: Registry,
    pub(crate) disk: Disk,
    pub(crate) faults: Faults,
    pub(crate) wsk: wsk::Config,
    pub(crate) network: Option<Network>,
}

/// Settings of a kernel to start.
#[must_use = "a kernel runs from `start` on"]
pub struct Builder {
    config: Config,
}

impl Builder {
    /// Number of processors, 1 to 64. Default: 2.
    pub fn processors(mut self, processors: usize) -> Builder {
        assert!((1..=64).contains(&processors), "a kernel has 1 to 64 processors");
        self.config.processors = processors as u32;
        self
    }

    /// Build number of the simulated Windows 10 or later. Default: 19045.
    pub fn os_build(mut self, build: u32) -> Builder {
        self.config.os_build = build;
        self
    }

    /// Where debug output of drivers goes, line by line, at any IRQL. Default: standard error.
    pub fn debug_sink(mut self, sink: impl Fn(&str) + Send + Sync + 'static) -> Builder {
        self.config.sink = Box::new(sink);
        self
    }

    /// Seed of the choices that the kernel makes at random: faults, where completions run, how late timers are. Default: 0.
    pub fn seed(mut self, seed: u64) -> Builder {
        self.config.seed = seed;
        self
    }

    /// The host's folder that is drive C for drivers. Without one there is no such drive.
    pub fn drive_c(mut self, folder: impl Into<PathBuf>) -> Builder {
        self.config.disk = Disk::new(folder.into());
        self
    }

    /// Limits and costs of the verifier's checks.
    pub fn checks(mut self, checks: Checks) -> Builder {
        self.config.checks = checks;
        self
    }

    /// A value in the registry, with its key. Each driver that is loaded has its service's key, too.
    pub fn registry_value(self, key: &str, name: &str, value: RegistryValue) -> Builder {
        self.config.registry.set(key, name, &value);
        self
    }

    /// What may go wrong. Default: nothing.
    pub fn faults(mut self, faults: Faults) -> Builder {
        self.config.faults = faults;
        self
    }

    /// How the WSK provider behaves; its `os_build` is the kernel's.
    pub fn wsk(mut self, config: wsk::Config) -> Builder {
        self.config.wsk = config;
        self
    }

    /// Puts a network in memory below the WSK provider. Default: the host's own sockets.
    pub fn network(mut self, network: &Network) -> Builder {
        self.config.network = Some(network.clone());
        self
    }

    /// Starts the kernel. Waits until an earlier one of this process is shut down.
    pub fn start(self) -> Kernel {
        system::start(self.config);
        Kernel { drivers: Mutex::new(Vec::new()) }
    }
}

/// The running kernel; one at a time in a process. Dropping it unloads what is loaded and shuts it down.
pub struct Kernel {
    drivers: Mutex<Vec<Weak<Slot>>>,
}

/// A loaded driver, until somebody unloads it.
type Slot = Mutex<Option<Loaded>>;

impl Kernel {
    /// The default settings.
    pub fn builder() -> Builder {
        Builder {
            config: Config {
                processors: 2,
                os_build: 19045,
                sink: debug::default_sink(),
                seed: 0,
                checks: Checks::default(),
                registry: Registry::default(),
                disk: Disk::default(),
                faults: Faults::none(),
                wsk: wsk::Config::default(),
                network: None,
            },
        }
    }

    /// Loads a driver: calls its DriverEntry on a system thread at PASSIVE_LEVEL. A driver whose entry fails is checked as
    /// after an unload.
    pub fn load(&self, name: &str, entry: PDRIVER_INITIALIZE) -> Result<Driver, NTSTATUS> {
        let before = self.stats();
        let loaded = Arc::new(Mutex::new(Some(driver::load(name, entry)?)));
        self.drivers.lock().push(Arc::downgrade(&loaded));
        Ok(Driver { loaded, before })
    }

    /// Opens a device by a path such as `\\.\TfoProbe`. Errors: those of the path, and what the driver answers.
    pub fn open(&self, path: &str) -> Result<File, NTSTATUS> {
        file::open(path)
    }

    /// What happened since the start.
    pub fn stats(&self) -> Stats {
        let (live_blocks, live_bytes) = pool::live_totals();
        Stats { live_blocks: live_blocks as u64, live_bytes: live_bytes as u64, ..system().counters.read() }
    }

    /// Exchanges what may go wrong from now on. Opportunities are counted anew; what struck and which allocations were seen
    /// is kept.
    pub fn set_faults(&self, faults: Faults) {
        let presence = faults.presence;
        system().faults.set(faults);
        wsk::set_presence(presence);
    }

    /// How often a kind of fault struck since the start.
    pub fn struck(&self, kind: FaultKind) -> u64 {
        system().faults.struck(kind)
    }

    /// The faults that struck since the start, oldest first; of very many, the first ten thousand.
    pub fn strikes(&self) -> Vec<Strike> {
        system().faults.strikes()
    }

    /// The call stacks of allocations that were noted since the start, oldest first. See
    /// [`Faults::each_allocation_site`] and [`Faults::note_allocation_sites`].
    pub fn allocation_sites(&self) -> Vec<Site> {
        system().faults.sites()
    }

    /// Unloads what is loaded, checks that the host program left nothing behind, and ends the kernel.
    pub fn shutdown(self) {}
}

impl Drop for Kernel {
    fn drop(&mut self) {
        cpu::processor();
        for driver in self.drivers.get_mut().drain(..) {
            unload(driver.upgrade());
        }
        system::shutdown();
    }
}

/// Unloads a driver, unless that was done. A driver without DriverUnload stays loaded, as on Windows.
fn unload(driver: Option<Arc<Slot>>) {
    let Some(driver) = driver else { return };
    let loaded = driver.lock().take();
    if let Some(loaded) = loaded
        && loaded.has_unload()
    {
        loaded.unload();
    }
}

/// A loaded driver. Dropping it unloads it.
pub struct Driver {
    loaded: Arc<Slot>,
    before: Stats,
}

impl Driver {
    /// Waits until no handle to the driver's devices is open, calls DriverUnload on a system thread at PASSIVE_LEVEL, and
    /// makes the checks of an unload. Panics if the driver has no DriverUnload.
    pub fn unload(self) -> LoadReport {
        let loaded = self.loaded.lock().take();
        if let Some(loaded) = loaded {
            loaded.unload();
        }
        let after = system().counters.read();
        LoadReport {
            pool_allocations: after.pool_allocations - self.before.pool_allocations,
            irps: after.irps - self.before.irps,
            mdls: after.mdls - self.before.mdls,
            work_items: after.work_items - self.before.work_items,
            completion_contexts: after.completion_contexts - self.before.completion_contexts,
            threads: after.threads - self.before.threads,
            dpcs: after.dpcs - self.before.dpcs,
            completions: after.completions - self.before.completions,
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if system::running().is_some() {
            unload(Some(self.loaded.clone()));
        }
    }
}

/// What was done in the kernel between a driver's load and its unload, by whichever driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadReport {
    /// Pool allocations.
    pub pool_allocations: u64,
    /// IRPs allocated by drivers.
    pub irps: u64,
    /// MDLs allocated.
    pub mdls: u64,
    /// Work items allocated.
    pub work_items: u64,
    /// Contexts that IoSetCompletionRoutineEx allocated.
    pub completion_contexts: u64,
    /// System threads made.
    pub threads: u64,
    /// DPC routines called.
    pub dpcs: u64,
    /// IRPs completed.
    pub completions: u64,
}
