//! Every socket operation as it completes by itself, is cancelled, is dropped, and is dropped together with its socket, while
//! the network answers. For explore mode, which tries every order of those events; elsewhere it is one of them.

use kunit::prelude::*;

#[kunit_tests(races)]
pub(crate) mod cases {
    use super::*;
    use crate::support::once;
    use core::net::SocketAddr;
    use core::pin::pin;
    use core::time::Duration;
    use kunit::window;
    use wsk_async::status::Result;
    use wsk_async::sys::{IPPROTO_TCP, TCP_NODELAY};
    use wsk_async::time::Cancel;
    use wsk_async::wsk::{ConnectionSocket, Family};

    /// Longer than anything takes that is on its way.
    const SETTLED: Duration = Duration::from_millis(100);
    const PATIENCE: Duration = Duration::from_secs(5);

    /// What a case starts.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum Operation {
        Bind,
        Connect,
        ConnectEx,
        ConnectExEmpty,
        Refused,
        Send,
        Receive,
        ReceiveExact,
        Disconnect,
        Abort,
        Option,
        SetOption,
        LocalAddress,
        RemoteAddress,
    }

    use Operation::*;

    /// By the names that the parameter `operation` of a run may have.
    const NAMES: [(&str, Operation); 14] = [
        ("bind", Bind),
        ("connect", Connect),
        ("connect_ex", ConnectEx),
        ("connect_ex_empty", ConnectExEmpty),
        ("refused", Refused),
        ("send", Send),
        ("receive", Receive),
        ("receive_exact", ReceiveExact),
        ("disconnect", Disconnect),
        ("abort", Abort),
        ("option", Option),
        ("set_option", SetOption),
        ("local_address", LocalAddress),
        ("remote_address", RemoteAddress),
    ];

    /// What happens to it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Fate {
        Completes,
        IsCancelled,
        IsDropped,
        /// With its socket, in the same step.
        IsClosed,
    }

    /// Runs an operation to its fate. A result is told by `check`.
    async fn meet<F: Cancel>(fate: Fate, operation: F, check: impl FnOnce(F::Output) -> Outcome) -> Outcome {
        let mut operation = pin!(operation);
        window::begin();
        if let Some(output) = once(&mut operation).await {
            return check(output);
        }
        match fate {
            Fate::Completes => {}
            Fate::IsCancelled => operation.as_mut().cancel(),
            Fate::IsDropped | Fate::IsClosed => return Ok(()),
        }
        check(operation.await)
    }

    /// A result may be an error where the operation was cancelled.
    fn succeeds<T>(fate: Fate, result: Result<T>) -> Outcome {
        if let Err(status) = result {
            expect_eq!((status, fate), (NtStatus::CANCELLED, Fate::IsCancelled));
        }
        Ok(())
    }

    /// A buffer comes back whole, whatever became of the operation.
    fn comes_back(fate: Fate, BufResult(result, buffer): BufResult<usize, Buf>) -> Outcome {
        expect_eq!(buffer.capacity(), 5);
        succeeds(fate, result)
    }

    fn address(test: &Test, name: &str) -> Result<SocketAddr> {
        test.parameter(name).and_then(|address| address.parse().ok()).ok_or(NtStatus::INVALID_ADDRESS)
    }

    /// A socket as the operation needs it.
    async fn socket(test: &Test, operation: Operation) -> Result<ConnectionSocket> {
        let system = test.system();
        let provider = system.wsk.capture(&system.timers, PATIENCE).await?;
        let socket = provider.connection_socket(Family::V4).await?;
        if matches!(operation, Bind) {
            return Ok(socket);
        }
        socket.bind(Family::V4.unspecified()).await?;
        if !matches!(operation, Connect | ConnectEx | ConnectExEmpty | Refused) {
            socket.connect(address(test, "echo")?).await?;
        }
        if matches!(operation, Receive | ReceiveExact) {
            socket.send(Buf::copy_of(b"hello")?).await.0?;
        }
        Ok(socket)
    }

    async fn race(test: &Test, &(name, operation): &(&str, Operation), fate: Fate) -> Outcome {
        // An exploration is of one operation at a time.
        if test.parameter("operation").is_some_and(|only| only != name) {
            return Ok(());
        }
        let socket = socket(test, operation).await?;
        let result = start(test, &socket, operation, fate).await;
        match fate {
            Fate::IsClosed => drop(socket),
            _ => socket.close().await?,
        }
        // Everything that is on its way arrives while the window is open.
        test.system().timers.sleep(SETTLED).await;
        window::end();
        result
    }

    async fn start(test: &Test, socket: &ConnectionSocket, operation: Operation, fate: Fate) -> Outcome {
        let hello = || Buf::copy_of(b"hello");
        match operation {
            Bind => meet(fate, socket.bind(Family::V4.unspecified()), |result| succeeds(fate, result)).await,
            Connect => {
                let connect = socket.connect(address(test, "echo")?);
                meet(fate, connect, |result| succeeds(fate, result)).await
            }
            ConnectEx => {
                let connect = socket.connect_ex(address(test, "echo")?, Some(hello()?));
                meet(fate, connect, |BufResult(result, buffer)| {
                    expect_eq!(buffer.as_deref(), Some(b"hello".as_slice()));
                    succeeds(fate, result)
                })
                .await
            }
            ConnectExEmpty => {
                let connect = socket.connect_ex(address(test, "echo")?, None);
                meet(fate, connect, |BufResult(result, _)| succeeds(fate, result)).await
            }
            Refused => {
                let connect = socket.connect(address(test, "closed")?);
                meet(fate, connect, |result| {
                    let status = result.err();
                    let refused = status == Some(NtStatus::CONNECTION_REFUSED);
                    expect!(refused || status == Some(NtStatus::CANCELLED) && fate == Fate::IsCancelled, "{status:?}");
                    Ok(())
                })
                .await
            }
            Send => meet(fate, socket.send(hello()?), |result| comes_back(fate, result)).await,
            Receive => {
                let receive = socket.receive(Buf::with_capacity(5)?);
                meet(fate, receive, |result| comes_back(fate, result)).await
            }
            ReceiveExact => {
                let receive = socket.receive_exact(Buf::with_capacity(5)?);
                meet(fate, receive, |result| comes_back(fate, result)).await
            }
            Disconnect => meet(fate, socket.disconnect(), |result| succeeds(fate, result)).await,
            Abort => meet(fate, socket.abort(), |result| succeeds(fate, result)).await,
            Option => {
                let option = socket.option(IPPROTO_TCP, TCP_NODELAY);
                meet(fate, option, |result| succeeds(fate, result)).await
            }
            SetOption => {
                let option = socket.set_option(IPPROTO_TCP, TCP_NODELAY, 1);
                meet(fate, option, |result| succeeds(fate, result)).await
            }
            LocalAddress => meet(fate, socket.local_address(), |result| succeeds(fate, result)).await,
            RemoteAddress => meet(fate, socket.remote_address(), |result| succeeds(fate, result)).await,
        }
    }

    #[test(params = NAMES, needs = cancel)]
    async fn an_operation_completes(operation: &(&str, Operation), test: &Test) -> Outcome {
        race(test, operation, Fate::Completes).await
    }

    #[test(params = NAMES, needs = cancel)]
    async fn an_operation_is_cancelled(operation: &(&str, Operation), test: &Test) -> Outcome {
        race(test, operation, Fate::IsCancelled).await
    }

    #[test(params = NAMES, needs = cancel)]
    async fn an_operation_is_dropped(operation: &(&str, Operation), test: &Test) -> Outcome {
        race(test, operation, Fate::IsDropped).await
    }

    #[test(params = NAMES, needs = cancel)]
    async fn an_operation_is_dropped_with_its_socket(operation: &(&str, Operation), test: &Test) -> Outcome {
        race(test, operation, Fate::IsClosed).await
    }

    /// As above, on the dispatch executor.
    #[test(params = NAMES, needs = cancel, irql = dispatch)]
    async fn an_operation_is_cancelled_at_dispatch(operation: &(&str, Operation), test: &Test) -> Outcome {
        race(test, operation, Fate::IsCancelled).await
    }

    /// As above.
    #[test(params = NAMES, needs = cancel, irql = dispatch)]
    async fn an_operation_is_dropped_at_dispatch(operation: &(&str, Operation), test: &Test) -> Outcome {
        race(test, operation, Fate::IsDropped).await
    }
}

/// What comes into being while nobody waits for it any more.
#[kunit_tests(creation)]
pub(crate) mod creation {
    use super::*;
    use crate::support::once;
    use core::net::SocketAddr;
    use core::pin::pin;
    use core::time::Duration;
    use kunit::window;
    use wsk_async::wsk::Family;

    const SETTLED: Duration = Duration::from_millis(100);
    const PATIENCE: Duration = Duration::from_secs(5);

    /// Creating a socket is an operation, too: what it makes is closed if nobody takes it.
    #[test(needs = cancel)]
    async fn a_socket_nobody_takes_is_closed(test: &Test) -> Outcome {
        let system = test.system();
        let provider = system.wsk.capture(&system.timers, PATIENCE).await?;
        window::begin();
        {
            let mut creation = pin!(provider.connection_socket(Family::V4));
            once(&mut creation).await;
        }
        system.timers.sleep(SETTLED).await;
        window::end();
        Ok(())
    }

    /// As above, for a socket that is bound and connected in one step.
    #[test(needs = socket_connect)]
    async fn a_connected_socket_nobody_takes_is_closed(test: &Test) -> Outcome {
        let system = test.system();
        let server = test.parameter("echo").and_then(|echo| echo.parse().ok()).ok_or(NtStatus::INVALID_ADDRESS)?;
        let provider = system.wsk.capture(&system.timers, PATIENCE).await?;
        let local = SocketAddr::from(([0, 0, 0, 0], 0));
        window::begin();
        {
            let mut creation = pin!(provider.socket_connect(&local, &server));
            once(&mut creation).await;
        }
        system.timers.sleep(SETTLED).await;
        window::end();
        Ok(())
    }

    /// A lookup that nobody waits for gives its list back.
    #[test(needs = cancel)]
    async fn a_lookup_nobody_takes_is_given_back(test: &Test, passive: &Passive) -> Outcome {
        let system = test.system();
        let provider = system.wsk.capture(&system.timers, PATIENCE).await?;
        window::begin();
        {
            let mut lookup = pin!(provider.resolve(passive, "127.0.0.1", 80));
            once(&mut lookup).await;
        }
        system.timers.sleep(SETTLED).await;
        window::end();
        Ok(())
    }
}
