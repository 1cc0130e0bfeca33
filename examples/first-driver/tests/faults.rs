//! The driver of the README under faults: each of its allocations fails once, and then everything that can go wrong does. It
//! says so, and leaves nothing behind.

use ntsim::network::{ListenOptions, Listener, Network, peers};
use ntsim::{FaultKind, Faults, Kernel};
use std::time::{Duration, Instant};
use wsk_async::status::NtStatus;

/// Any METHOD_BUFFERED code: the driver takes them all.
const CODE: u32 = 0x0022_2000;

/// The server, which sends back what it is told.
const SERVER: &str = "198.51.100.7:7";
/// How long a request may take before it is cancelled, where a call may be held back: the driver itself waits for ever.
const LIMIT: Duration = Duration::from_millis(200);
/// How long it may take on a slow machine, where nothing but memory is short.
const PATIENCE: Duration = Duration::from_secs(60);

/// A kernel on a network with the server.
fn kernel(seed: u64) -> (Kernel, Listener) {
    let network = Network::new();
    let server = network.listen(SERVER.parse().unwrap(), ListenOptions::default(), || Box::new(peers::Echo)).unwrap();
    (Kernel::builder().processors(2).seed(seed).network(&network).start(), server)
}

/// Loads the driver, has it talk to the server, unloads it: under faults.
fn converse(kernel: &Kernel, faults: Faults, limit: Duration) -> NtStatus {
    kernel.set_faults(faults);
    let status = match kernel.load("first-driver", first_driver::driver_entry) {
        Err(status) => status,
        Ok(driver) => {
            let file = kernel.open(r"\\.\First").unwrap();
            let request = file.ioctl_start(CODE, SERVER.into(), 64);
            let begin = Instant::now();
            while !request.is_done() && begin.elapsed() < limit {
                std::thread::yield_now();
            }
            request.cancel();
            let (status, answer) = request.wait();
            // What is received may be only the beginning of what was sent.
            assert!(status < 0 || b"hello\n".starts_with(&answer) && !answer.is_empty(), "{answer:?}");
            drop(file);
            driver.unload();
            status
        }
    };
    kernel.set_faults(Faults::none());
    assert_eq!(kernel.stats().live_blocks, 0);
    NtStatus(status)
}

#[test]
fn every_allocation_may_fail() {
    let (kernel, _server) = kernel(0);
    let struck = || kernel.struck(FaultKind::Allocation);
    let expected = [NtStatus::SUCCESS, NtStatus::INSUFFICIENT_RESOURCES];
    let (mut failed, mut unsaid) = (0, Vec::new());
    loop {
        let status = converse(&kernel, Faults::none().nth(FaultKind::Allocation, failed + 1), PATIENCE);
        assert!(expected.contains(&status), "allocation {}: {status}", failed + 1);
        if struck() == failed {
            break;
        }
        failed += 1;
        if status == NtStatus::SUCCESS {
            unsaid.extend(kernel.strikes().last().map(|strike| strike.place));
        }
    }
    // The driver does without Fast Open, and a close cannot fail.
    let option = ["IoAllocateIrp", "ExAllocatePool2", "IoSetCompletionRoutineEx"];
    assert_eq!(unsaid, [&option[..], &["IoSetCompletionRoutineEx"]].concat(), "all others come back as an error");
    let mut before = 0;
    let mut runs = 0;
    while before != struck() {
        before = struck();
        runs += 1;
        let status = converse(&kernel, Faults::none().each_allocation_site(), PATIENCE);
        assert!(expected.contains(&status), "run {runs} by call site: {status}");
    }
    let sites = kernel.allocation_sites();
    let errors = failed - unsaid.len() as u64;
    println!(
        "failed once each: {failed} allocations by number, of which {errors} came back as an error; {} call sites in \
              {runs} runs; 0 leaks",
        sites.len()
    );
    assert!(failed > 30, "only {failed} allocations were seen");
    assert!(sites.len() > 20 && sites.iter().all(|site| site.failed()), "{} call sites", sites.len());
}

#[test]
fn every_kind_of_fault_is_survived() {
    let (mut struck, mut through) = (0, 0);
    for seed in 0..4 {
        let (kernel, _server) = kernel(seed);
        for &kind in FaultKind::ALL {
            for one_in in [1, 4] {
                through +=
                    u32::from(converse(&kernel, Faults::none().one_in(kind, one_in), LIMIT) == NtStatus::SUCCESS);
            }
        }
        for one_in in [3, 6, 10, 20, 30] {
            let faults = Faults::all(one_in).one_in(FaultKind::Allocation, one_in * 10);
            through += u32::from(converse(&kernel, faults, LIMIT) == NtStatus::SUCCESS);
        }
        struck += kernel.strikes().len();
    }
    println!("{struck} faults; {through} conversations went well all the same; 0 leaks");
    assert!(struck > 150 && through > 50, "{struck} faults, {through} through");
}
