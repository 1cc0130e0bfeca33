//! Sockets, against servers of the host: `echo` sends everything back and ends when its peer does, `echo6` does so on IPv6,
//! `closed` refuses connections.

use kunit::prelude::*;

#[kunit_tests(wsk)]
pub(crate) mod cases {
    use super::*;
    use crate::support::Ours;
    use core::net::SocketAddr;
    use core::time::Duration;
    use wsk_async::driver::System;
    use wsk_async::mem::Array;
    use wsk_async::status::Result;
    use wsk_async::sys::{IPPROTO_TCP, SO_KEEPALIVE, SOL_SOCKET, TCP_NODELAY};
    use wsk_async::wsk::{ConnectPath, ConnectionSocket, Family, Provider, Registration};

    const PATIENCE: Duration = Duration::from_secs(5);

    /// An address that the host gave.
    fn address(test: &Test, name: &str) -> Result<SocketAddr> {
        test.parameter(name).and_then(|address| address.parse().ok()).ok_or(NtStatus::INVALID_ADDRESS)
    }

    async fn provider(system: &System) -> Result<Provider> {
        system.wsk.capture(&system.timers, PATIENCE).await
    }

    async fn bound(system: &System, family: Family) -> Result<ConnectionSocket> {
        let socket = provider(system).await?.connection_socket(family).await?;
        socket.bind(family.unspecified()).await?;
        Ok(socket)
    }

    async fn connected(system: &System, server: SocketAddr) -> Result<ConnectionSocket> {
        let socket = bound(system, Family::of(&server)).await?;
        socket.connect(server).await?;
        Ok(socket)
    }

    /// Sends a text and waits for it to come back.
    async fn echo(socket: &ConnectionSocket, text: &[u8]) -> Outcome {
        let BufResult(sent, buffer) = socket.send(Buf::copy_of(text)?).await;
        expect_eq!((sent?, &*buffer), (text.len(), text));
        receive(socket, text).await
    }

    /// Receives a text, in however many pieces.
    async fn receive(socket: &ConnectionSocket, text: &[u8]) -> Outcome {
        let mut buffer = Buf::with_capacity(text.len())?;
        while buffer.len() < text.len() {
            let before = buffer.len();
            let BufResult(received, back) = socket.receive(buffer).await;
            buffer = back;
            ensure!(received? > 0, "the peer has ended")?;
            expect!(buffer.len() > before);
        }
        expect!(*buffer == *text);
        Ok(())
    }

    #[test]
    async fn captures_are_counted_by_their_owners(test: &Test) -> Outcome {
        let provider = test.system().wsk.try_capture()?;
        let second = provider.clone();
        drop(provider);
        expect!(second.connection_socket(Family::V4).await.is_ok(), "the other owner keeps the capture");
        Ok(())
    }

    #[test]
    async fn a_registration_may_be_ones_own(test: &Test, passive: &Passive) -> Outcome {
        let ours = Ours::new(test.device())?;
        let registration = Registration::new(passive, ours.origin.for_socket()?)?;
        let wsk = registration.wsk();
        let provider = wsk.capture(&test.system().timers, PATIENCE).await?;
        let socket = provider.connection_socket(Family::V4).await?;
        expect!(ours.operations.count() > 0, "its blocks are counted");
        socket.close().await?;
        drop((provider, wsk));
        drop(registration);
        Ok(())
    }

    #[test]
    async fn sends_and_receives(test: &Test) -> Outcome {
        let socket = connected(test.system(), address(test, "echo")?).await?;
        for word in [b"one".as_slice(), b"two", b"three"] {
            echo(&socket, word).await?;
        }
        socket.close().await?;
        Ok(())
    }

    #[test(irql = dispatch)]
    async fn sends_and_receives_at_dispatch(test: &Test) -> Outcome {
        // What needs PASSIVE_LEVEL is none of this.
        let socket = connected(test.system(), address(test, "echo")?).await?;
        for round in 0..100 {
            echo(&socket, &[round; 100]).await?;
        }
        socket.close().await?;
        Ok(())
    }

    #[test(params = [1, 1460, 65_536, 300_000])]
    async fn sends_and_receives_at_once(size: &usize, test: &Test) -> Outcome {
        let socket = connected(test.system(), address(test, "echo")?).await?;
        let mut text = Array::filled(0_u8, *size)?;
        text.iter_mut().zip((0..=250).cycle()).for_each(|(byte, n)| *byte = n);
        let send = socket.send(Buf::copy_of(&text)?);
        // Both directions are in flight together: neither the server nor the system buffers that much.
        let (sent, received) = join(send, receive(&socket, &text)).await;
        expect_eq!(sent.0?, *size);
        received
    }

    #[test]
    async fn receives_behind_what_is_there(test: &Test) -> Outcome {
        let socket = connected(test.system(), address(test, "echo")?).await?;
        socket.send(Buf::copy_of(b"abc")?).await.0?;
        let mut buffer = Buf::with_capacity(5)?;
        buffer.extend(b"> ")?;
        let BufResult(received, buffer) = socket.receive(buffer).await;
        expect!(received? > 0 && buffer.starts_with(b"> a"));
        Ok(())
    }

    #[test]
    async fn connects_and_sends_in_one_step(test: &Test) -> Outcome {
        let server = address(test, "echo")?;
        let socket = bound(test.system(), Family::of(&server)).await?;
        let BufResult(result, buffer) = socket.connect_ex(server, Some(Buf::copy_of(b"hello")?)).await;
        let done = result?;
        expect_eq!((done.sent, buffer.as_deref()), (5, Some(b"hello".as_slice())));
        receive(&socket, b"hello").await
    }

    #[test]
    async fn a_step_without_data_connects(test: &Test) -> Outcome {
        let server = address(test, "echo")?;
        let socket = bound(test.system(), Family::of(&server)).await?;
        let BufResult(result, buffer) = socket.connect_ex(server, None).await;
        expect_eq!((result?.sent, buffer.is_none()), (0, true));
        echo(&socket, b"and after").await
    }

    #[test(needs = connect_ex)]
    async fn the_step_is_connect_ex(test: &Test) -> Outcome {
        let server = address(test, "echo")?;
        let socket = bound(test.system(), Family::of(&server)).await?;
        let BufResult(result, _) = socket.connect_ex(server, Some(Buf::copy_of(b"hello")?)).await;
        expect_eq!(result?.path, ConnectPath::ConnectEx);
        Ok(())
    }

    #[test]
    async fn a_step_that_is_too_long_is_refused(test: &Test) -> Outcome {
        let server = address(test, "echo")?;
        let socket = bound(test.system(), Family::of(&server)).await?;
        let mut buffer = Buf::with_capacity(65_536)?;
        buffer.set_len(65_536);
        let BufResult(result, buffer) = socket.connect_ex(server, Some(buffer)).await;
        expect_eq!((result.err(), buffer.map(|buffer| buffer.len())), (Some(NtStatus::BUFFER_OVERFLOW), Some(65_536)));
        Ok(())
    }

    #[test]
    async fn a_closed_port_refuses(test: &Test) -> Outcome {
        let socket = bound(test.system(), Family::V4).await?;
        expect_eq!(socket.connect(address(test, "closed")?).await, Err(NtStatus::CONNECTION_REFUSED));
        Ok(())
    }

    #[test(needs = ipv6)]
    async fn ipv6(test: &Test) -> Outcome {
        if test.parameter("echo6").is_none() {
            skip!("the host has no IPv6")?;
        }
        let socket = connected(test.system(), address(test, "echo6")?).await?;
        echo(&socket, b"six").await
    }

    #[test(needs = addresses)]
    async fn addresses_are_told(test: &Test) -> Outcome {
        let server = address(test, "echo")?;
        let socket = connected(test.system(), server).await?;
        expect_eq!(socket.remote_address().await?, server);
        let local = socket.local_address().await?;
        expect!(local.ip() == server.ip() && local.port() != 0, "{local}");
        Ok(())
    }

    #[test(needs = disconnect)]
    async fn ends_in_good_order(test: &Test) -> Outcome {
        let socket = connected(test.system(), address(test, "echo")?).await?;
        echo(&socket, b"bye").await?;
        socket.disconnect().await?;
        let BufResult(end, _) = socket.receive(Buf::with_capacity(16)?).await;
        expect_eq!(end?, 0);
        let BufResult(sent, _) = socket.send(Buf::copy_of(b"x")?).await;
        expect!(sent.is_err());
        Ok(())
    }

    #[test(needs = disconnect)]
    async fn is_reset(test: &Test) -> Outcome {
        let socket = connected(test.system(), address(test, "echo")?).await?;
        socket.abort().await?;
        let BufResult(received, _) = socket.receive(Buf::with_capacity(16)?).await;
        expect!(received.is_err());
        Ok(())
    }

    #[test(needs = options)]
    async fn options_are_set_and_read(test: &Test) -> Outcome {
        let socket = bound(test.system(), Family::V4).await?;
        for (level, option) in [(IPPROTO_TCP, TCP_NODELAY), (SOL_SOCKET, SO_KEEPALIVE)] {
            expect_eq!(socket.option(level, option).await?, 0);
            socket.set_option(level, option, 1).await?;
            expect_ne!(socket.option(level, option).await?, 0);
        }
        expect!(!socket.fast_open().await?);
        socket.set_fast_open(true).await?;
        expect!(socket.fast_open().await?);
        Ok(())
    }

    #[test(needs = options)]
    async fn what_is_out_of_order_is_an_error(test: &Test) -> Outcome {
        let socket = bound(test.system(), Family::V4).await?;
        expect!(socket.bind(Family::V4.unspecified()).await.is_err(), "bound before");
        expect_eq!(socket.remote_address().await, Err(NtStatus::INVALID_DEVICE_STATE));
        let BufResult(result, buffer) = socket.send(Buf::copy_of(b"x")?).await;
        expect_eq!((result, &*buffer), (Err(NtStatus::INVALID_DEVICE_STATE), b"x".as_slice()));
        Ok(())
    }

    #[test(needs = socket_connect)]
    async fn is_made_connected(test: &Test) -> Outcome {
        let server = address(test, "echo")?;
        let provider = provider(test.system()).await?;
        let socket = provider.socket_connect(&Family::of(&server).unspecified(), &server).await?;
        echo(&socket, b"at once").await
    }

    #[test(needs = cancel)]
    async fn a_time_limit_gives_the_buffer_back_and_loses_no_data(test: &Test) -> Outcome {
        let timers = &test.system().timers;
        let socket = connected(test.system(), address(test, "echo")?).await?;
        let mut buffer = Buf::with_capacity(64)?;
        buffer.extend(b"mine ")?;
        let BufResult(result, buffer) = timers.timeout(Duration::from_millis(30), socket.receive(buffer)).await;
        expect_eq!((result, &*buffer), (Err(NtStatus::IO_TIMEOUT), b"mine ".as_slice()));
        socket.send(Buf::copy_of(b"late")?).await.0?;
        let BufResult(received, buffer) = timers.timeout(PATIENCE, socket.receive_exact(buffer_of(buffer, 9)?)).await;
        expect_eq!((received?, &*buffer), (4, b"mine late".as_slice()));
        Ok(())
    }

    /// The same content in a buffer that has room for no more than `capacity` bytes.
    fn buffer_of(content: Buf, capacity: usize) -> Result<Buf> {
        let mut buffer = Buf::with_capacity(capacity)?;
        buffer.extend(&content)?;
        Ok(buffer)
    }

    #[test]
    async fn dropped_operations_and_sockets_leave_nothing_behind(test: &Test) -> Outcome {
        let server = address(test, "echo")?;
        for round in 0..20 {
            let socket = connected(test.system(), server).await?;
            let receive = socket.receive(Buf::with_capacity(64)?);
            let limit = Duration::from_micros(100 * round);
            expect_eq!(test.system().timers.expire(limit, receive).await.err(), Some(NtStatus::IO_TIMEOUT));
        }
        Ok(())
    }

    #[test]
    async fn unfinished_sockets_are_closed(test: &Test) -> Outcome {
        let server = address(test, "echo")?;
        for _ in 0..20 {
            drop(provider(test.system()).await?.connection_socket(Family::V4).await?);
            drop(bound(test.system(), Family::V4).await?);
            let socket = bound(test.system(), Family::of(&server)).await?;
            // Given up in the middle of the connect, or after it.
            let _ = test.system().timers.expire(Duration::ZERO, socket.connect(server)).await;
        }
        Ok(())
    }

    #[test]
    async fn numeric_names_resolve(test: &Test, passive: &Passive) -> Outcome {
        let provider = provider(test.system()).await?;
        let found = provider.resolve(passive, "127.0.0.1", 81).await?;
        expect_eq!(found.first(), Some(&SocketAddr::from(([127, 0, 0, 1], 81))));
        Ok(())
    }

    #[test]
    async fn names_resolve(test: &Test, passive: &Passive) -> Outcome {
        let provider = provider(test.system()).await?;
        let found = provider.resolve(passive, "localhost", 82).await?;
        expect!(!found.is_empty());
        for address in &found {
            expect!(address.ip().is_loopback() && address.port() == 82, "{address}");
        }
        Ok(())
    }

    #[test]
    async fn names_that_are_none_are_errors(test: &Test, passive: &Passive) -> Outcome {
        let provider = provider(test.system()).await?;
        let long = Array::filled(b'x', 300)?;
        let long = core::str::from_utf8(&long).unwrap_or_default();
        expect_eq!(provider.resolve(passive, long, 1).await.err(), Some(NtStatus::OBJECT_NAME_INVALID));
        expect_eq!(provider.resolve(passive, "a\0b", 1).await.err(), Some(NtStatus::OBJECT_NAME_INVALID));
        expect!(provider.resolve(passive, "no.such.host.invalid", 1).await.is_err());
        Ok(())
    }

    /// Polls two futures until both have ended.
    async fn join<A: Future, B: Future>(a: A, b: B) -> (A::Output, B::Output) {
        let (mut a, mut b) = (core::pin::pin!(a), core::pin::pin!(b));
        let (mut first, mut second) = (None, None);
        core::future::poll_fn(|cx| {
            if first.is_none()
                && let core::task::Poll::Ready(output) = a.as_mut().poll(cx)
            {
                first = Some(output);
            }
            if second.is_none()
                && let core::task::Poll::Ready(output) = b.as_mut().poll(cx)
            {
                second = Some(output);
            }
            match (first.take(), second.take()) {
                (Some(a), Some(b)) => core::task::Poll::Ready((a, b)),
                (a, b) => {
                    (first, second) = (a, b);
                    core::task::Poll::Pending
                }
            }
        })
        .await
    }
}
