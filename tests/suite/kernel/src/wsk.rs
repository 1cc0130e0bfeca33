//! Winsock Kernel: what its calls return, and what their IRPs are completed with.

use kunit::prelude::*;

#[kunit_tests(wsk)]
pub(crate) mod cases {
    use super::*;
    use crate::support::MS;
    use crate::support::object::Event;
    use crate::support::socket::{Data, Provider, Request, Socket, address_of, server};
    use core::net::{Ipv4Addr, SocketAddrV4};
    use core::ptr::{from_mut, null, null_mut};
    use wsk_sys::*;

    const PENDING: NtStatus = NtStatus::PENDING;

    #[test]
    fn a_provider_is_captured_several_times() -> Outcome {
        let provider = Provider::capture()?;
        expect_eq!(provider.table().Version, WSK_VERSION_1_0);
        expect!(!provider.client().is_null());
        let mut again = WSK_PROVIDER_NPI { Client: null_mut(), Dispatch: null() };
        // SAFETY: registered; released as often as captured.
        unsafe {
            let status = WskCaptureProviderNPI(provider.registration(), WSK_NO_WAIT, &mut again);
            ensure_eq!(NtStatus(status), NtStatus::SUCCESS)?;
            expect_eq!((again.Client, again.Dispatch), (provider.client(), core::ptr::from_ref(provider.table())));
            WskReleaseProviderNPI(provider.registration());
        }
        Ok(())
    }

    #[test(needs = characteristics)]
    fn the_provider_has_version_1() -> Outcome {
        let provider = Provider::capture()?;
        let mut found = WSK_PROVIDER_CHARACTERISTICS::default();
        // SAFETY: registered, and valid for a write.
        let status = unsafe { WskQueryProviderCharacteristics(provider.registration(), &mut found) };
        expect_eq!(NtStatus(status), NtStatus::SUCCESS);
        expect!(found.LowestVersion <= WSK_VERSION_1_0 && found.HighestVersion >= WSK_VERSION_1_0, "{found:?}");
        Ok(())
    }

    #[test]
    fn without_an_irp_a_socket_is_refused() -> Outcome {
        let provider = Provider::capture()?;
        let status = provider.socket(provider.client(), WSK_FLAG_CONNECTION_SOCKET, null_mut());
        expect_eq!(NtStatus(status), NtStatus::INVALID_PARAMETER);
        let status = provider.socket(null_mut(), WSK_FLAG_CONNECTION_SOCKET, null_mut());
        expect_eq!(NtStatus(status), NtStatus::INVALID_PARAMETER, "the IRP is looked at first");
        Ok(())
    }

    #[test]
    fn without_a_client_a_socket_is_refused() -> Outcome {
        let provider = Provider::capture()?;
        let request = Request::new()?;
        let returned = request.start(|irp| provider.socket(null_mut(), WSK_FLAG_CONNECTION_SOCKET, irp));
        expect_eq!(returned, NtStatus(STATUS_INVALID_HANDLE));
        Ok(())
    }

    #[test]
    fn a_socket_is_made_and_closed_by_pending_requests() -> Outcome {
        let provider = Provider::capture()?;
        // What the calls return and complete with is looked at in `create`.
        let socket = provider.create(WSK_FLAG_CONNECTION_SOCKET)?;
        expect_eq!(socket.close()?, (PENDING, NtStatus::SUCCESS, 0));
        Ok(())
    }

    #[test]
    fn a_connect_of_an_unbound_socket_returns_and_completes_with_the_error(test: &Test) -> Outcome {
        let provider = Provider::capture()?;
        let socket = provider.create(WSK_FLAG_CONNECTION_SOCKET)?;
        let request = Request::new()?;
        let mut remote = address_of(Some(server(test, "echo")?));
        let error = NtStatus::INVALID_DEVICE_STATE;
        expect_eq!(request.run(|irp| socket.connect(&mut remote, irp))?, (error, error, 0));
        expect_eq!(request.completions(), 1);
        Ok(())
    }

    #[test(xfail(wine = "it is refused with STATUS_INVALID_PARAMETER"))]
    fn a_second_bind_is_refused() -> Outcome {
        let provider = Provider::capture()?;
        let socket = provider.bound()?;
        let (_, status, information) = Request::new()?.run(|irp| socket.bind(&mut address_of(None), irp))?;
        expect_eq!((status, information), (NtStatus(STATUS_ADDRESS_ALREADY_ASSOCIATED), 0));
        Ok(())
    }

    #[test]
    fn a_connection_is_made_by_a_pending_request(test: &Test) -> Outcome {
        let provider = Provider::capture()?;
        // What the calls return and complete with is looked at in `bound` and `connected`.
        let socket = provider.connected(server(test, "echo")?)?;
        expect_eq!(socket.close()?, (PENDING, NtStatus::SUCCESS, 0));
        Ok(())
    }

    #[test]
    fn a_port_where_nobody_listens_refuses(test: &Test) -> Outcome {
        let provider = Provider::capture()?;
        let socket = provider.bound()?;
        let mut remote = address_of(Some(server(test, "closed")?));
        let (returned, status, information) = Request::new()?.run(|irp| socket.connect(&mut remote, irp))?;
        expect_eq!((returned, status, information), (PENDING, NtStatus::CONNECTION_REFUSED, 0));
        Ok(())
    }

    #[test]
    fn a_send_takes_all_and_a_receive_what_is_there(test: &Test) -> Outcome {
        let provider = Provider::capture()?;
        let socket = provider.connected(server(test, "echo")?)?;
        let (request, sent, received) = (Request::new()?, Data::new(b"some text")?, Data::new(b"")?);
        for length in [1, 9] {
            expect_eq!(request.run(|irp| socket.send(&sent, length, irp))?, (PENDING, NtStatus::SUCCESS, length));
            let (returned, status, came) = request.run(|irp| socket.receive(&received, irp))?;
            expect_eq!((returned, status), (PENDING, NtStatus::SUCCESS), "although there was room for more");
            expect!((1..=length).contains(&came), "{came}");
            expect_eq!(received.bytes(came), sent.bytes(came));
            let mut left = length - came;
            while left > 0 {
                left -= request.run(|irp| socket.receive(&received, irp))?.2;
            }
        }
        Ok(())
    }

    #[test]
    fn a_receive_waits_for_data(test: &Test) -> Outcome {
        let provider = Provider::capture()?;
        let socket = provider.connected(server(test, "echo")?)?;
        let (receive, received) = (Request::new()?, Data::new(b"")?);
        expect_eq!(receive.start(|irp| socket.receive(&received, irp)), PENDING);
        expect!(!receive.is_done(30 * MS));
        let sent = Data::new(b"late")?;
        Request::new()?.run(|irp| socket.send(&sent, 4, irp))?;
        let (status, came) = receive.finish()?;
        expect!(status == NtStatus::SUCCESS && (1..=4).contains(&came), "{status} {came}");
        expect_eq!(received.bytes(came), sent.bytes(came));
        Ok(())
    }

    #[test(needs = cancel)]
    fn a_cancelled_receive_ends(test: &Test) -> Outcome {
        let provider = Provider::capture()?;
        let socket = provider.connected(server(test, "echo")?)?;
        let (receive, received) = (Request::new()?, Data::new(b"")?);
        for _ in 0..3 {
            expect_eq!(receive.start(|irp| socket.receive(&received, irp)), PENDING);
            expect!(receive.irp().cancel());
            expect_eq!(receive.finish()?, (NtStatus::CANCELLED, 0));
        }
        Ok(())
    }

    #[test]
    fn a_close_ends_what_is_pending(test: &Test) -> Outcome {
        let provider = Provider::capture()?;
        let socket = provider.connected(server(test, "echo")?)?;
        let (receive, received) = (Request::new()?, Data::new(b"")?);
        expect_eq!(receive.start(|irp| socket.receive(&received, irp)), PENDING);
        expect_eq!(socket.close()?, (PENDING, NtStatus::SUCCESS, 0));
        expect_eq!(receive.finish()?, (NtStatus::CANCELLED, 0));
        Ok(())
    }

    /// A listener on loopback, and its address.
    fn listener(provider: &Provider) -> Outcome<(Socket<'_>, SocketAddrV4)> {
        let listener = provider.create(WSK_FLAG_LISTEN_SOCKET)?;
        let request = Request::new()?;
        // Not every kernel tells which port it has chosen, so one is tried after the other.
        for port in 49_300..49_400 {
            let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
            let (returned, status, _) = request.run(|irp| listener.bind(&mut address_of(Some(address)), irp))?;
            expect_eq!(returned, PENDING);
            if status == NtStatus::SUCCESS {
                return Ok((listener, address));
            }
        }
        ensure!(false, "no port is free")?;
        Ok((listener, SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)))
    }

    /// Calls WskAccept.
    fn accept(listener: &Socket, [local, remote]: [*mut SOCKADDR_IN; 2], irp: *mut IRP) -> NTSTATUS {
        // SAFETY: open; the addresses are null or outlive the request.
        unsafe {
            let table = listener.listener();
            (table.WskAccept)(listener.get(), 0, null_mut(), null(), local.cast(), remote.cast(), irp)
        }
    }

    #[test(needs = listen)]
    fn a_connection_is_accepted_by_a_pending_request() -> Outcome {
        let provider = Provider::capture()?;
        let (listener, address) = listener(&provider)?;
        let (accepting, mut local, mut remote) = (Request::new()?, address_of(None), address_of(None));
        let places = [from_mut(&mut local), from_mut(&mut remote)];
        expect_eq!(accepting.start(|irp| accept(&listener, places, irp)), PENDING);
        expect!(!accepting.is_done(0), "nobody has come");
        let client = provider.connected(address)?;
        let (status, information) = accepting.finish()?;
        ensure!(status == NtStatus::SUCCESS && information != 0)?;
        let server = Socket::accepted(&provider, information)?;
        expect_eq!((local.sin_addr, u16::from_be(local.sin_port)), (address.ip().octets(), address.port()));
        expect!(remote.sin_addr == address.ip().octets() && remote.sin_port != 0);

        let (request, sent, received) = (Request::new()?, Data::new(b"hello")?, Data::new(b"")?);
        expect_eq!(request.run(|irp| client.send(&sent, 5, irp))?, (PENDING, NtStatus::SUCCESS, 5));
        let (_, status, came) = request.run(|irp| server.receive(&received, irp))?;
        expect_eq!((status, received.bytes(came)), (NtStatus::SUCCESS, sent.bytes(came)));
        expect_eq!(client.close()?.1, NtStatus::SUCCESS);
        expect_eq!(server.close()?.1, NtStatus::SUCCESS);
        Ok(())
    }

    #[test(needs = listen)]
    fn a_listeners_close_ends_its_accept() -> Outcome {
        let provider = Provider::capture()?;
        let (listener, _) = listener(&provider)?;
        let accepting = Request::new()?;
        expect_eq!(accepting.start(|irp| accept(&listener, [null_mut(); 2], irp)), PENDING);
        expect_eq!(listener.close()?, (PENDING, NtStatus::SUCCESS, 0));
        expect_eq!(accepting.finish()?, (NtStatus::CANCELLED, 0));
        Ok(())
    }

    #[test]
    fn a_registration_ends_when_its_captures_have() -> Outcome {
        for _ in 0..3 {
            let provider = Provider::capture()?;
            let done = Event::notification()?;
            drop(provider);
            done.set();
        }
        Ok(())
    }
}
