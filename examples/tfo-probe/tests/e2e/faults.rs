//! The probe in a kernel where things go wrong: it says so where it must, goes on where it can, and leaves nothing behind. The
//! kernel's verifier ends the process at the first broken rule.

use crate::driver::{kernel, open, probe_of};
use crate::memory::{PORT, SERVER, serve};
use crate::network::recorded_server;
use crate::{Network as Place, Scenario};
use ntsim::network::{ListenOptions, Network};
use ntsim::{FaultKind, Faults, Kernel};
use std::process::{Command, Stdio};
use tfo_probe::protocol::{IOCTL_PROBE, Response, response_len};
use tfo_probe::session::Probe;
use wsk_sys::{NT_SUCCESS, NTSTATUS, STATUS_INSUFFICIENT_RESOURCES, STATUS_SUCCESS};

pub(crate) const SCENARIOS: [Scenario; 3] = [
    Scenario { name: "every_allocation_may_fail", network: Place::Host, run: every_allocation_may_fail },
    Scenario { name: "every_kind_of_fault", network: Place::Host, run: every_kind_of_fault },
    Scenario { name: "faults_are_told", network: Place::Host, run: faults_are_told },
];

/// What a probe with faults ended with.
struct Ended {
    /// The status of the load or of the request.
    status: NTSTATUS,
    /// The first error that was told: that status, or one in the answer.
    told: NTSTATUS,
}

/// The first error in an answer.
fn first_error(response: &Response<'_>, tries: u32) -> NTSTATUS {
    let target = response.target(0).expect("one target");
    let attempts = (0..tries.min(target.tries_done)).filter_map(|attempt| response.attempts(0, attempt));
    let statuses =
        attempts.flat_map(|(fast_open, plain)| [fast_open.option_status, fast_open.attempt.status, plain.status]);
    statuses.chain([target.status]).find(|status| !NT_SUCCESS(*status)).unwrap_or(STATUS_SUCCESS)
}

/// Loads the driver, probes one target as often as the request says, and unloads: under faults.
fn probe_with_faults(kernel: &Kernel, request: &[u8], tries: u32, faults: Faults) -> Ended {
    kernel.set_faults(faults);
    let ended = match kernel.load("tfo-probe", tfo_probe::driver_entry) {
        Err(status) => Ended { status, told: status },
        Ok(driver) => {
            let file = open(kernel);
            let mut output = vec![0; response_len(1, tries)];
            let (status, length) = file.ioctl(IOCTL_PROBE, request, &mut output);
            let told = match NT_SUCCESS(status) {
                true => first_error(&Response::parse(&output[..length]).expect("a good response"), tries),
                false => status,
            };
            drop(file);
            driver.unload();
            Ended { status, told }
        }
    };
    kernel.set_faults(Faults::none());
    assert_eq!(kernel.stats().live_blocks, 0);
    ended
}

/// What the end of a connection allocates: the disconnect, the buffer and the receive that wait for the peer's end, and the
/// close. When all is measured, its errors are of no interest.
const END: [&str; 7] = [
    "IoAllocateIrp",
    "ExAllocatePool2",
    "IoSetCompletionRoutineEx",
    "ExAllocatePool2",
    "IoAllocateMdl",
    "IoSetCompletionRoutineEx",
    "IoSetCompletionRoutineEx",
];

/// Each allocation fails once, from the load to the unload, by its number and then by its call site: an error comes back.
fn every_allocation_may_fail() {
    let (server, _record) = recorded_server();
    let kernel = kernel();
    let request = probe_of(server.address().port(), 1).request().expect("a good request");
    let struck = || kernel.struck(FaultKind::Allocation);
    let expected = [STATUS_SUCCESS, STATUS_INSUFFICIENT_RESOURCES];
    let mut failed = 0;
    let mut unsaid = Vec::new();
    loop {
        let nth = Faults::none().nth(FaultKind::Allocation, failed + 1);
        let told = probe_with_faults(&kernel, &request, 1, nth).told;
        assert!(expected.contains(&told), "allocation {}: 0x{told:08X}", failed + 1);
        if struck() == failed {
            break;
        }
        failed += 1;
        assert_eq!(struck(), failed);
        if told == STATUS_SUCCESS {
            unsaid.extend(kernel.strikes().last().map(|strike| strike.place));
        }
    }
    assert_eq!(unsaid, [END, END].concat(), "with Fast Open and without, and nothing else");
    let mut before = 0;
    let mut runs = 0;
    while before != struck() {
        before = struck();
        runs += 1;
        let told = probe_with_faults(&kernel, &request, 1, Faults::none().each_allocation_site()).told;
        assert!(expected.contains(&told), "run {runs} by call site: 0x{told:08X}");
    }
    let sites = kernel.allocation_sites();
    println!(
        "failed once each: {failed} allocations by number, {} call sites in {runs} runs; {} errors came back, and {} were of \
         an end that is not told of; 0 leaks",
        sites.len(),
        failed - unsaid.len() as u64,
        unsaid.len()
    );
    assert!(failed > 40, "only {failed} allocations were seen");
    assert!(sites.len() > 30 && sites.iter().all(|site| site.failed()), "{} call sites", sites.len());
    kernel.shutdown();
}

/// Each kind by itself, and all of them: whatever the answer is, there is one.
fn every_kind_of_fault() {
    let network = Network::new();
    let _server = serve(&network, ListenOptions::fast_open());
    let targets = vec![(SERVER.to_string(), PORT)];
    let probe = Probe { tries: 3, timeout_ms: 50, payload: vec![7; 3000], targets };
    let request = probe.request().expect("a good request");
    let (mut strikes, mut answers) = (0, 0);
    for seed in 0..4 {
        let kernel = Kernel::builder().seed(seed).network(&network).debug_sink(|_| ()).start();
        let mut run =
            |faults| answers += u32::from(probe_with_faults(&kernel, &request, 3, faults).status == STATUS_SUCCESS);
        for &kind in FaultKind::ALL {
            run(Faults::none().one_in(kind, 5));
        }
        for one_in in [5, 10, 20] {
            run(Faults::all(one_in).one_in(FaultKind::Allocation, one_in * 20));
        }
        strikes += kernel.strikes().len();
        kernel.shutdown();
    }
    println!("{strikes} faults, {answers} answers; 0 leaks");
    assert!(strikes > 250 && answers > 50, "{strikes} faults, {answers} answers");
}

/// The command line asks for faults by a seed, and is told what struck; the report comes all the same.
fn faults_are_told() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tfo-probe"));
    let output = command.args(["--faults", "7", "--json", "--timeout", "200"]).stdin(Stdio::null()).output();
    let output = output.expect("the program starts");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() || output.status.code() == Some(1), "{}\n{told}", output.status);
    assert!(told.lines().any(|line| line.starts_with("fault: Wsk")), "{told}");
    assert!(output.stdout.starts_with(b"{"), "{told}");
}
