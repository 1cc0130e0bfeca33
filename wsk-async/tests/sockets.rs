//! Connection sockets in the simulated kernel, against servers of the standard library on loopback.

mod common;

use common::{RUN, on_stage, run, run_on};
use ntsim::wsk::Operation;
use ntsim::{FaultKind, Faults};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use wsk_async::driver::System;
use wsk_async::irql::{Dispatch, Passive};
use wsk_async::mem::Buf;
use wsk_async::status::{BufResult, NtStatus, Result};
use wsk_async::sys::{IPPROTO_TCP, SO_KEEPALIVE, SOL_SOCKET, TCP_NODELAY};
use wsk_async::wsk::{ConnectPath, ConnectionSocket, Family};

const SECOND: Duration = Duration::from_secs(1);

/// Serves one connection on a thread of its own.
fn server(serve: impl FnOnce(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || serve(listener.accept().unwrap().0));
    address
}

/// Sends everything back until the peer's end.
fn echo(mut connection: TcpStream) {
    let mut buffer = [0; 65536];
    while let Ok(count @ 1..) = connection.read(&mut buffer) {
        if connection.write_all(&buffer[..count]).is_err() {
            return;
        }
    }
}

/// Keeps the connection until the peer's end and says nothing.
fn silent(mut connection: TcpStream) {
    while let Ok(1..) = connection.read(&mut [0; 4096]) {}
}

async fn bound(system: &System, family: Family) -> Result<ConnectionSocket> {
    let provider = system.wsk.capture(&system.timers, SECOND).await?;
    let socket = provider.connection_socket(family).await?;
    socket.bind(family.unspecified()).await?;
    Ok(socket)
}

async fn connected(system: &System, server: SocketAddr) -> Result<ConnectionSocket> {
    let socket = bound(system, Family::of(&server)).await?;
    socket.connect(server).await?;
    Ok(socket)
}

#[test]
fn sends_receives_and_ends_in_good_order() {
    let address = server(echo);
    let answer = run(async move |system: &System, _: &Passive| {
        let socket = connected(system, address).await?;
        assert_eq!(socket.remote_address().await?, address);
        assert_eq!(socket.local_address().await?.ip(), address.ip());
        let mut text = String::new();
        for word in ["one", "two", "three"] {
            let BufResult(sent, buffer) = socket.send(Buf::copy_of(word.as_bytes())?).await;
            assert_eq!((sent?, &*buffer), (word.len(), word.as_bytes()));
            let BufResult(received, buffer) = socket.receive(Buf::with_capacity(16)?).await;
            assert_eq!(received?, buffer.len());
            text += std::str::from_utf8(&buffer).unwrap();
        }
        socket.disconnect().await?;
        let BufResult(end, _) = socket.receive(Buf::with_capacity(16)?).await;
        assert_eq!(end?, 0);
        socket.close().await?;
        Ok(text)
    });
    assert_eq!(answer.unwrap(), "onetwothree");
}

#[test]
fn receives_behind_what_is_there_and_to_the_full() {
    let address = server(|mut connection| {
        for part in [b"abc".as_slice(), b"defg", b"hij"] {
            connection.write_all(part).unwrap();
            thread::sleep(Duration::from_millis(20));
        }
        silent(connection);
    });
    let answer = run(async move |system: &System, _: &Passive| {
        let socket = connected(system, address).await?;
        let mut buffer = Buf::with_capacity(12)?;
        buffer.extend(b"> ")?;
        let BufResult(received, buffer) = socket.receive_exact(buffer).await;
        assert_eq!(received?, 10);
        Ok(String::from_utf8(buffer.to_vec()).unwrap())
    });
    assert_eq!(answer.unwrap(), "> abcdefghij");
}

#[test]
fn connect_ex_sends_and_gives_the_buffer_back() {
    for size in [1, 1460, 65_535] {
        let address = server(echo);
        let answer = run(async move |system: &System, _: &Passive| {
            let socket = bound(system, Family::V4).await?;
            let data = vec![0xA5; size];
            let BufResult(connected, buffer) = socket.connect_ex(address, Some(Buf::copy_of(&data)?)).await;
            let connected = connected?;
            assert_eq!((connected.path, connected.sent), (ConnectPath::ConnectEx, size));
            assert_eq!(*buffer.unwrap(), *data);
            let BufResult(received, buffer) = socket.receive_exact(Buf::with_capacity(size)?).await;
            assert_eq!((received?, &*buffer), (size, &*data));
            Ok(size.to_string())
        });
        assert_eq!(answer.unwrap(), size.to_string());
    }
}

#[test]
fn connect_ex_without_data_connects_alone() {
    for empty in [false, true] {
        let address = server(echo);
        run(async move |system: &System, _: &Passive| {
            let socket = bound(system, Family::V4).await?;
            let buffer = if empty { Some(Buf::with_capacity(100)?) } else { None };
            let BufResult(connected, buffer) = socket.connect_ex(address, buffer).await;
            assert_eq!(connected?.sent, 0);
            assert_eq!(buffer.map(|buffer| buffer.capacity()), empty.then_some(100));
            let BufResult(sent, _) = socket.send(Buf::copy_of(b"x")?).await;
            assert_eq!(sent?, 1);
            Ok(String::new())
        })
        .unwrap();
    }
}

#[test]
fn connect_ex_refuses_what_is_too_long_at_once_and_gives_it_back() {
    run(async |system: &System, _: &Passive| {
        let socket = bound(system, Family::V4).await?;
        let nowhere = "127.0.0.1:1".parse().unwrap();
        let BufResult(result, buffer) = socket.connect_ex(nowhere, Some(Buf::copy_of(&[7; 65_536])?)).await;
        assert_eq!(result, Err(NtStatus::BUFFER_OVERFLOW));
        assert_eq!(*buffer.unwrap(), [7; 65_536]);
        Ok(String::new())
    })
    .unwrap();
}

#[test]
fn connect_ex_connects_then_sends_where_it_must() {
    let before_1703 = ntsim::Kernel::builder().os_build(14393);
    let faults = Faults::none().fail_every(Operation::ConnectEx, NtStatus::NOT_IMPLEMENTED.0);
    let without = ntsim::Kernel::builder().faults(faults);
    for builder in [before_1703, without] {
        let address = server(echo);
        let kernel = builder.start();
        let answer = run_on(&kernel, async move |system: &System, _: &Passive| {
            let socket = bound(system, Family::V4).await?;
            let BufResult(connected, buffer) = socket.connect_ex(address, Some(Buf::copy_of(b"hello")?)).await;
            let connected = connected?;
            assert_eq!((connected.path, connected.sent), (ConnectPath::ConnectThenSend, 5));
            assert_eq!(&*buffer.unwrap(), b"hello");
            let BufResult(received, buffer) = socket.receive_exact(Buf::with_capacity(5)?).await;
            received?;
            Ok(String::from_utf8(buffer.to_vec()).unwrap())
        });
        assert_eq!(answer.unwrap(), "hello");
    }
}

#[test]
fn a_timeout_gives_the_buffer_back_and_loses_no_data() {
    let (go, wait) = mpsc::channel::<()>();
    let address = server(move |mut connection| {
        wait.recv().unwrap();
        connection.write_all(b"late").unwrap();
        silent(connection);
    });
    let go = std::sync::Mutex::new(go);
    let answer = run(async move |system: &System, _: &Passive| {
        let socket = connected(system, address).await?;
        let mut buffer = Buf::with_capacity(64)?;
        buffer.extend(b"mine ")?;
        let limited = system.timers.timeout(Duration::from_millis(30), socket.receive(buffer));
        let BufResult(result, buffer) = limited.await;
        assert_eq!(result, Err(NtStatus::IO_TIMEOUT));
        assert_eq!(&*buffer, b"mine ");
        go.lock().unwrap().send(()).unwrap();
        let BufResult(received, buffer) = system.timers.timeout(SECOND * 10, socket.receive(buffer)).await;
        assert_eq!(received?, 4);
        Ok(String::from_utf8(buffer.to_vec()).unwrap())
    });
    assert_eq!(answer.unwrap(), "mine late");
}

#[test]
fn options_are_set_and_read() {
    run(async |system: &System, _: &Passive| {
        let socket = bound(system, Family::V6).await?;
        for (level, option) in [(IPPROTO_TCP, TCP_NODELAY), (SOL_SOCKET, SO_KEEPALIVE)] {
            assert_eq!(socket.option(level, option).await?, 0);
            socket.set_option(level, option, 1).await?;
            assert_ne!(socket.option(level, option).await?, 0);
        }
        assert!(!socket.fast_open().await?);
        socket.set_fast_open(true).await?;
        assert!(socket.fast_open().await?);
        Ok(String::new())
    })
    .unwrap();
}

#[test]
fn errors_have_their_names() {
    run(async |system: &System, passive: &Passive| {
        let closed: SocketAddr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let socket = bound(system, Family::V4).await?;
        assert_eq!(
            socket.bind(Family::V4.unspecified()).await.unwrap_err().name(),
            Some("STATUS_ADDRESS_ALREADY_ASSOCIATED")
        );
        assert_eq!(socket.remote_address().await, Err(NtStatus::INVALID_DEVICE_STATE));
        let BufResult(result, buffer) = socket.send(Buf::copy_of(b"x")?).await;
        assert_eq!((result, &*buffer), (Err(NtStatus::INVALID_DEVICE_STATE), b"x".as_slice()));
        assert_eq!(socket.connect(closed).await, Err(NtStatus::CONNECTION_REFUSED));
        let provider = system.wsk.capture(&system.timers, SECOND).await?;
        assert_eq!(provider.resolve(passive, "no.such.host.invalid", 1).await, Err(NtStatus::NOT_FOUND));
        assert_eq!(provider.resolve(passive, &"x".repeat(300), 1).await, Err(NtStatus::OBJECT_NAME_INVALID));
        Ok(String::new())
    })
    .unwrap();
}

#[test]
fn names_resolve_and_addresses_too() {
    let answer = run(async |system: &System, passive: &Passive| {
        let provider = system.wsk.capture(&system.timers, SECOND).await?;
        let v6 = provider.resolve(passive, "::1", 80).await?;
        let v4 = provider.resolve(passive, "127.0.0.1", 81).await?;
        let name = provider.resolve(passive, "localhost", 82).await?;
        assert!(name.iter().all(|address| address.ip().is_loopback() && address.port() == 82));
        Ok(format!("{} {}", v6[0], v4[0]))
    });
    assert_eq!(answer.unwrap(), "[::1]:80 127.0.0.1:81");
}

#[test]
fn makes_a_connected_socket_in_one_call() {
    let address = server(echo);
    run(async move |system: &System, _: &Passive| {
        let provider = system.wsk.capture(&system.timers, SECOND).await?;
        let socket = provider.socket_connect(&Family::V4.unspecified(), &address).await?;
        assert_eq!(socket.remote_address().await?, address);
        Ok(String::new())
    })
    .unwrap();
}

#[test]
fn a_late_provider_is_waited_for() {
    let faults = Faults::none().provider_appears_after(Duration::from_millis(200));
    let kernel = ntsim::Kernel::builder().faults(faults).start();
    run_on(&kernel, async |system: &System, _: &Passive| {
        let early = system.wsk.capture(&system.timers, Duration::from_millis(10)).await;
        assert_eq!(early.err(), Some(NtStatus::DEVICE_NOT_READY));
        system.wsk.capture(&system.timers, SECOND * 10).await?;
        Ok(String::new())
    })
    .unwrap();
}

#[test]
fn works_on_the_dispatch_executor_and_with_every_request_pending() {
    let faults = Faults::none().one_in(FaultKind::Pending, 1);
    let kernel = ntsim::Kernel::builder().processors(4).faults(faults).start();
    let address = server(echo);
    let answer = run_on(&kernel, async move |system: &System, _: &Passive| {
        let provider = system.wsk.capture(&system.timers, SECOND).await?;
        let task = system.dispatch.spawn(move |_: Dispatch| async move {
            let socket = provider.connection_socket(Family::V4).await?;
            socket.bind(Family::V4.unspecified()).await?;
            socket.connect(address).await?;
            let mut buffer = Buf::copy_of(&[1; 1000])?;
            for _ in 0..200 {
                let BufResult(sent, mut sent_buffer) = socket.send(buffer).await;
                assert_eq!(sent?, 1000);
                sent_buffer.clear();
                let BufResult(received, received_buffer) = socket.receive_exact(sent_buffer).await;
                assert_eq!(received?, 1000);
                buffer = received_buffer;
            }
            socket.close().await
        })?;
        task.await??;
        Ok("through".into())
    });
    assert_eq!(answer.unwrap(), "through");
}

#[test]
fn dropped_operations_and_sockets_leave_nothing_behind() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for connection in listener.incoming() {
            thread::spawn(move || silent(connection.unwrap()));
        }
    });
    run(async move |system: &System, _: &Passive| {
        for round in 0..50 {
            let socket = connected(system, address).await?;
            let receive = socket.receive(Buf::with_capacity(64)?);
            let limit = Duration::from_micros(100 * round);
            assert_eq!(system.timers.expire(limit, receive).await.err(), Some(NtStatus::IO_TIMEOUT));
            // Forgotten in flight: one block, until the socket's end.
            let mut forgotten = Box::pin(socket.receive(Buf::with_capacity(64)?));
            let _ = system
                .timers
                .expire(Duration::ZERO, core::future::poll_fn(|cx| forgotten.as_mut().poll(cx).map(drop)))
                .await;
            drop(forgotten);
        }
        Ok(String::new())
    })
    .unwrap();
}

#[test]
fn a_cancelled_request_ends_its_operation() {
    let (ready, is_ready) = mpsc::channel();
    let address = server(move |connection| {
        ready.send(()).unwrap();
        silent(connection);
    });
    let kernel = ntsim::Kernel::builder().start();
    let driver = on_stage(&kernel, async move |system: &System, _: &Passive| {
        let socket = connected(system, address).await?;
        let BufResult(result, _) = socket.receive(Buf::with_capacity(64)?).await;
        result.map(|count| count.to_string())
    });
    let file = kernel.open(r"\\.\Stage").unwrap();
    let request = file.ioctl_start(RUN, Vec::new(), 64);
    is_ready.recv().unwrap();
    request.cancel();
    assert_eq!(NtStatus(request.wait().0), NtStatus::CANCELLED);
    drop(file);
    driver.unload();
}

#[test]
fn every_allocation_may_fail() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for connection in listener.incoming() {
            echo(connection.unwrap());
        }
    });
    let kernel = ntsim::Kernel::builder().start();
    let mut failures = 0;
    for n in 1.. {
        let before = kernel.struck(FaultKind::Allocation);
        kernel.set_faults(Faults::none().nth(FaultKind::Allocation, n));
        let result = run_on(&kernel, async move |system: &System, passive: &Passive| {
            let provider = system.wsk.capture(&system.timers, SECOND).await?;
            provider.resolve(passive, "127.0.0.1", 1).await?;
            let socket = bound(system, Family::V4).await?;
            let BufResult(connected, buffer) = socket.connect_ex(address, Some(Buf::copy_of(b"abc")?)).await;
            connected?;
            let BufResult(received, _) = socket.receive_exact(buffer.ok_or(NtStatus::UNSUCCESSFUL)?).await;
            received?;
            Ok(String::new())
        });
        kernel.set_faults(Faults::none());
        if kernel.struck(FaultKind::Allocation) == before {
            assert_eq!(result, Ok(String::new()));
            break;
        }
        failures += 1;
        match result {
            // The close that finds no memory for its safer completion routine goes on without.
            Ok(_) | Err(NtStatus::INSUFFICIENT_RESOURCES) => {}
            Err(other) => panic!("allocation {n}: {other}"),
        }
    }
    assert!(failures > 30, "only {failures} allocations");
}

#[test]
fn connect_ex_is_cancelled_between_its_steps_too() {
    let address = server(silent);
    // Before 1703: it connects, and then sends. With one processor nothing completes while its DPC polls.
    let faults = Faults::none().one_in(FaultKind::Pending, 1);
    let kernel = ntsim::Kernel::builder().processors(1).os_build(14393).faults(faults).start();
    run_on(&kernel, async move |system: &System, _: &Passive| {
        let socket = bound(system, Family::V4).await?;
        let timers = system.timers.clone();
        let task = system.dispatch.spawn(move |_: Dispatch| async move {
            let mut connecting = std::pin::pin!(socket.connect_ex(address, Some(Buf::copy_of(b"hello")?)));
            let first = core::future::poll_fn(|cx| core::task::Poll::Ready(connecting.as_mut().poll(cx).is_pending()));
            assert!(first.await);
            // The connection is made meanwhile, and nobody polls.
            timers.sleep(Duration::from_millis(100)).await;
            wsk_async::time::Cancel::cancel(connecting.as_mut());
            let BufResult(result, buffer) = connecting.await;
            assert_eq!((result.err(), &*buffer.unwrap()), (Some(NtStatus::CANCELLED), b"hello".as_slice()));
            Ok(())
        })?;
        task.await??;
        Ok(String::new())
    })
    .unwrap();
}
