//! The driver of the README while memory is short: each of its allocations fails once, and it says so and leaves nothing.

use ntsim::{FaultKind, Faults, Kernel};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread;
use wsk_async::status::NtStatus;

/// Any METHOD_BUFFERED code: the driver takes them all.
const CODE: u32 = 0x0022_2000;

/// A server that answers whoever says something, for as long as the process lives.
fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            if matches!(connection.read(&mut [0; 16]), Ok(1..)) {
                // Whoever had no memory to wait for it is gone.
                let _ = connection.write_all(b"good day\n");
            }
        }
    });
    address
}

/// Loads the driver, has it talk to the server, unloads it: under faults.
fn converse(kernel: &Kernel, server: SocketAddr, faults: Faults) -> NtStatus {
    kernel.set_faults(faults);
    let status = match kernel.load("first-driver", first_driver::driver_entry) {
        Err(status) => status,
        Ok(driver) => {
            let file = kernel.open(r"\\.\First").unwrap();
            let mut answer = [0; 64];
            let (status, length) = file.ioctl(CODE, server.to_string().as_bytes(), &mut answer);
            assert!(status < 0 || answer[..length] == *b"good day\n");
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
    let server = server();
    let kernel = Kernel::builder().processors(2).start();
    let struck = || kernel.struck(FaultKind::Allocation);
    // Some memory is only for the better: the driver does without.
    let expected = [NtStatus::SUCCESS, NtStatus::INSUFFICIENT_RESOURCES];
    let mut failed = 0;
    loop {
        let status = converse(&kernel, server, Faults::none().nth(FaultKind::Allocation, failed + 1));
        assert!(expected.contains(&status), "allocation {}: {status}", failed + 1);
        if struck() == failed {
            break;
        }
        failed += 1;
    }
    let mut before = 0;
    let mut runs = 0;
    while before != struck() {
        before = struck();
        runs += 1;
        let status = converse(&kernel, server, Faults::none().each_allocation_site());
        assert!(expected.contains(&status), "run {runs} by call site: {status}");
    }
    let sites = kernel.allocation_sites();
    println!("failed once each: {failed} allocations by number, {} call sites in {runs} runs; 0 leaks", sites.len());
    assert!(failed > 30, "only {failed} allocations were seen");
    assert!(sites.len() > 20 && sites.iter().all(|site| site.failed()), "{} call sites", sites.len());
}
