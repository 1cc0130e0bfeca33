//! What the driver owes the kernel: it refuses what is malformed, lets go when it is told to, and leaves nothing behind.
//! Here the simulated kernel is in this process, and its verifier ends it at the first broken rule.

use crate::network::{BlackHole, recorded_server};
use crate::{Network, Scenario};
use ntsim::Kernel;
use std::time::{Duration, Instant};
use std::{env, fs, thread};
use tfo_probe::evidence::Evidence;
use tfo_probe::protocol::{
    IOCTL_PROBE, MAX_PAYLOAD, MAX_TARGETS, MAX_TIMEOUT_MS, MAX_TRIES, Path, REQUEST_HEADER_LEN, Request, Response,
    USER_PATH, response_len,
};
use tfo_probe::session::Probe;
use tfo_probe::verdict::{Verdict, judge};
use wsk_sys::{
    NTSTATUS, STATUS_BUFFER_TOO_SMALL, STATUS_CANCELLED, STATUS_DATA_ERROR, STATUS_INVALID_BUFFER_SIZE,
    STATUS_INVALID_DEVICE_REQUEST, STATUS_INVALID_PARAMETER, STATUS_REVISION_MISMATCH, STATUS_SUCCESS,
};

pub(crate) const SCENARIOS: [Scenario; 7] = [
    Scenario { name: "malformed_requests", network: Network::Host, run: malformed_requests },
    Scenario { name: "other_control_codes", network: Network::Host, run: other_control_codes },
    Scenario { name: "system_without_connect_ex", network: Network::Private(3), run: system_without_connect_ex },
    Scenario { name: "cancelled_mid_connect", network: Network::Private(3), run: cancelled_mid_connect },
    Scenario { name: "closed_mid_connect", network: Network::Private(3), run: closed_mid_connect },
    Scenario { name: "memory_stays_level", network: Network::Host, run: memory_stays_level },
    Scenario { name: "load_probe_unload", network: Network::Host, run: load_probe_unload },
];

/// How often what must never leave anything behind is done: fewer times where somebody waits for the result.
fn rounds() -> u32 {
    if env::var("WSK_ASYNC_QUICK").is_ok_and(|quick| !quick.is_empty()) { 100 } else { 1000 }
}

pub(crate) fn kernel() -> Kernel {
    // The driver's progress is of no interest here.
    Kernel::builder().processors(2).debug_sink(|_| ()).start()
}

fn load(kernel: &Kernel) -> ntsim::Driver {
    kernel.load("tfo-probe", tfo_probe::driver_entry).expect("the driver loads")
}

pub(crate) fn open(kernel: &Kernel) -> ntsim::File {
    kernel.open(USER_PATH).expect("the device opens")
}

pub(crate) fn probe_of(port: u16, tries: u32) -> Probe {
    Probe { tries, timeout_ms: 10_000, payload: b"payload".into(), targets: vec![("127.0.0.1".into(), port)] }
}

/// Sends a probe of one target and gives its evidence.
fn run(file: &ntsim::File, probe: &Probe) -> Evidence {
    let mut output = vec![0; response_len(probe.targets.len(), probe.tries)];
    let (status, information) = file.ioctl(IOCTL_PROBE, &probe.request().expect("a good request"), &mut output);
    assert_eq!((status, information), (STATUS_SUCCESS, output.len()));
    let response = Response::parse(&output).expect("a good response");
    let (host, port) = probe.targets[0].clone();
    Evidence::from_response(&response, 0, host, port).expect("one target")
}

/// Made-up numbers that are the same in every run (xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn outside(&mut self, highest: u32) -> u32 {
        if self.below(2) == 0 { 0 } else { highest + 1 + self.below((u32::MAX - highest) as usize) as u32 }
    }
}

/// A request that is wrong in one way, and the statuses that say so.
fn malformed(random: &mut Random) -> (Vec<u8>, &'static [NTSTATUS]) {
    let mut in_range = |highest: u32| 1 + random.below(highest as usize) as u32;
    let probe = Probe {
        tries: in_range(MAX_TRIES),
        timeout_ms: in_range(MAX_TIMEOUT_MS),
        targets: (0..in_range(4)).map(|i| (format!("host-{i}.invalid"), in_range(65_535) as u16)).collect(),
        payload: (0..in_range(300)).map(|i| i as u8).collect(),
    };
    let mut bytes = probe.request().expect("a good request");
    let put = |bytes: &mut [u8], offset: usize, value: u32| {
        bytes[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
    };
    let first_target = REQUEST_HEADER_LEN + probe.payload.len();
    let expected: &[NTSTATUS] = match random.below(12) {
        0 => {
            bytes.truncate(random.below(bytes.len()));
            &[STATUS_INVALID_BUFFER_SIZE]
        }
        1 => {
            let more = 1 + random.below(100);
            bytes.extend((0..more).map(|_| random.next() as u8));
            &[STATUS_INVALID_BUFFER_SIZE]
        }
        2 => {
            bytes[random.below(8)] ^= 1 + random.below(255) as u8;
            &[STATUS_DATA_ERROR]
        }
        3 => {
            bytes[8 + random.below(4)] ^= 1 + random.below(255) as u8;
            &[STATUS_REVISION_MISMATCH]
        }
        4 => {
            bytes[12 + random.below(4)] ^= 1 + random.below(255) as u8;
            &[STATUS_INVALID_BUFFER_SIZE]
        }
        5 => {
            put(&mut bytes, 16, random.outside(MAX_TRIES));
            &[STATUS_INVALID_PARAMETER]
        }
        6 => {
            put(&mut bytes, 20, random.outside(MAX_TIMEOUT_MS));
            &[STATUS_INVALID_PARAMETER]
        }
        7 => {
            // Long enough for the payload to swallow the targets.
            let left = bytes.len() - REQUEST_HEADER_LEN;
            put(&mut bytes, 24, (left + 1 + random.below(MAX_PAYLOAD / 2)) as u32);
            &[STATUS_INVALID_BUFFER_SIZE]
        }
        8 => {
            put(&mut bytes, 28, random.outside(MAX_TARGETS as u32));
            &[STATUS_INVALID_PARAMETER]
        }
        9 => {
            // A target more than there is, or one less.
            let count = probe.targets.len() as u32;
            put(&mut bytes, 28, if count > 1 && random.below(2) == 0 { count - 1 } else { count + 1 });
            &[STATUS_INVALID_BUFFER_SIZE]
        }
        10 => {
            // Port, length of the host name, or a byte of it.
            let (offset, len) = [(0, 2), (2, 2), (4, 1)][random.below(3)];
            bytes[first_target + offset..][..len].fill(0);
            &[STATUS_INVALID_PARAMETER]
        }
        _ => {
            // Noise. That its magic number is right by chance is out of reach.
            let len = random.below(2000);
            bytes = (0..len).map(|_| random.next() as u8).collect();
            if len < REQUEST_HEADER_LEN { &[STATUS_INVALID_BUFFER_SIZE] } else { &[STATUS_DATA_ERROR] }
        }
    };
    (bytes, expected)
}

fn malformed_requests() {
    let kernel = kernel();
    let driver = load(&kernel);
    let file = open(&kernel);
    let mut random = Random(0x00DD_BA11);
    for round in 0..10_000 {
        let (bytes, expected) = malformed(&mut random);
        let mut output = vec![0xAA; random.below(5000)];
        let (status, information) = file.ioctl(IOCTL_PROBE, &bytes, &mut output);
        assert!(expected.contains(&status), "round {round}: 0x{status:08X} for {bytes:02X?}");
        assert_eq!(information, 0, "round {round}");
    }
    let good = probe_of(1, 3).request().expect("a good request");
    let needed = Request::parse(&good).expect("a good request").response_len();
    for len in [0, 1, needed - 1] {
        assert_eq!(file.ioctl(IOCTL_PROBE, &good, &mut vec![0; len]), (STATUS_BUFFER_TOO_SMALL, 0), "{len} bytes");
    }
    drop(file);
    driver.unload();
    kernel.shutdown();
}

fn other_control_codes() {
    let kernel = kernel();
    let driver = load(&kernel);
    let file = open(&kernel);
    let good = probe_of(1, 1).request().expect("a good request");
    for code in [0, 1, IOCTL_PROBE + 4, !3] {
        let (status, _) = file.ioctl(code, &good, &mut [0; 1000]);
        assert_eq!(status, STATUS_INVALID_DEVICE_REQUEST, "0x{code:08X}");
    }
    drop(file);
    driver.unload();
    kernel.shutdown();
}

fn system_without_connect_ex() {
    let (server, record) = recorded_server();
    let kernel = Kernel::builder().processors(2).os_build(14393).debug_sink(|_| ()).start();
    let driver = load(&kernel);
    let file = open(&kernel);
    let evidence = run(&file, &probe_of(server.address().port(), 3));
    assert_eq!(evidence.tries.len(), 3);
    assert!(evidence.tries.iter().all(|t| t.fast_open.path == Path::ConnectThenSend), "{evidence:?}");
    assert_eq!(judge(&evidence).verdict, Verdict::FellBack);
    drop(file);
    driver.unload();
    kernel.shutdown();
    drop(server);
    assert!(record.iter().all(|connection| connection.bytes == 7));
}

/// Waits until a request is in the middle: in every other round until its socket connects, else for a varying time, so that
/// many rounds end at many places.
fn wait_for_the_middle(round: u32, port: u16) {
    if round.is_multiple_of(2) {
        wait_until("a socket connects", || is_connecting(port));
    } else {
        thread::sleep(Duration::from_micros(u64::from(round % 50) * 20));
    }
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(30), "{what}");
        thread::yield_now();
    }
}

/// Whether a socket of this network has sent a SYN to the port and waits for the answer.
fn is_connecting(port: u16) -> bool {
    const SYN_SENT: &str = "02";
    let remote = format!(":{port:04X}");
    let sockets = fs::read_to_string("/proc/self/net/tcp").expect("the system tells its sockets");
    sockets.lines().any(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        matches!(fields[..], [_, _, to, state, ..] if to.ends_with(&remote) && state == SYN_SENT)
    })
}

fn cancelled_mid_connect() {
    let kernel = kernel();
    let driver = load(&kernel);
    let file = open(&kernel);
    let black_hole = BlackHole::new();
    let probe = probe_of(black_hole.port(), 1);
    let request = probe.request().expect("a good request");
    for round in 0..rounds() {
        let pending = file.ioctl_start(IOCTL_PROBE, request.clone(), response_len(1, 1));
        wait_for_the_middle(round, black_hole.port());
        pending.cancel();
        let (status, _) = pending.wait();
        assert_eq!(status, STATUS_CANCELLED, "round {round}");
    }
    drop(file);
    driver.unload();
    kernel.shutdown();
}

/// The last handle of a file takes the file's requests with it.
fn closed_mid_connect() {
    let kernel = kernel();
    let driver = load(&kernel);
    let black_hole = BlackHole::new();
    let request = probe_of(black_hole.port(), 1).request().expect("a good request");
    for round in 0..rounds() {
        let file = open(&kernel);
        let pending = file.ioctl_start(IOCTL_PROBE, request.clone(), response_len(1, 1));
        wait_for_the_middle(round, black_hole.port());
        drop(file);
        let (status, _) = pending.wait();
        assert_eq!(status, STATUS_CANCELLED, "round {round}");
    }
    driver.unload();
    kernel.shutdown();
}

/// What a probe takes it gives back while the driver stays loaded.
fn memory_stays_level() {
    let (server, _record) = recorded_server();
    let kernel = kernel();
    let driver = load(&kernel);
    let file = open(&kernel);
    let probe = probe_of(server.address().port(), 10);
    run(&file, &probe);
    let level = kernel.stats();
    for _ in 0..20 {
        run(&file, &probe);
    }
    // A request is complete a moment before its task has gone.
    wait_until("memory is back at its level", || kernel.stats().live_blocks <= level.live_blocks);
    let stats = kernel.stats();
    println!(
        "allocations per probe of ten tries: {} of pool, {} IRPs, {} MDLs",
        (stats.pool_allocations - level.pool_allocations) / 20,
        (stats.irps - level.irps) / 20,
        (stats.mdls - level.mdls) / 20
    );
    drop(file);
    driver.unload();
    kernel.shutdown();
}

fn load_probe_unload() {
    let (server, record) = recorded_server();
    let kernel = kernel();
    for round in 0..rounds() {
        let driver = load(&kernel);
        let file = open(&kernel);
        let evidence = run(&file, &probe_of(server.address().port(), 1));
        assert_eq!(evidence.target.status, STATUS_SUCCESS, "round {round}: {evidence:?}");
        drop(file);
        driver.unload();
    }
    kernel.shutdown();
    drop(server);
    let connections: Vec<_> = record.iter().collect();
    assert_eq!(connections.len(), 2 * rounds() as usize);
    assert!(connections.iter().all(|connection| connection.bytes == 7), "each payload once");
}
