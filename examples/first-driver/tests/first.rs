//! The driver of the README in the simulated kernel, against a server of the standard library; and that the README shows
//! this very driver.

use ntsim as _;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

/// Any METHOD_BUFFERED code: the driver takes them all.
const CODE: u32 = 0x0022_2000;

#[test]
fn says_hello_and_gives_back_the_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        let mut hello = [0; 6];
        connection.read_exact(&mut hello).unwrap();
        connection.write_all(b"good day\n").unwrap();
        hello
    });
    let kernel = ntsim::Kernel::builder().processors(2).start();
    let driver = kernel.load("first-driver", first_driver::driver_entry).unwrap();
    let file = kernel.open(r"\\.\First").unwrap();
    let mut answer = [0; 64];
    let (status, length) = file.ioctl(CODE, address.as_bytes(), &mut answer);
    assert_eq!((status, &answer[..length]), (0, b"good day\n".as_slice()));
    assert_eq!(&server.join().unwrap(), b"hello\n");

    let (status, _) = file.ioctl(CODE, b"nonsense", &mut answer);
    assert_eq!(status as u32, 0xC000_0141, "STATUS_INVALID_ADDRESS");
    drop(file);
    driver.unload();
    kernel.shutdown();
}

#[test]
fn is_the_driver_of_the_readme() {
    let readme = include_str!("../../../README.md");
    let source = include_str!("../src/lib.rs");
    let shown = readme.split("```rust\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap_or_default();
    assert_eq!(shown, source);
    assert!(source.lines().count() <= 45, "it has grown");
}
