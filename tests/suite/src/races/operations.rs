//! How a race sets an operation up, starts it, lets it meet its fate, and tells its result.

use super::table::Operation;
use crate::support::once;
use core::net::SocketAddr;
use core::pin::pin;
use core::time::Duration;
use kunit::prelude::*;
use kunit::window;
use wsk_async::status::Result;
use wsk_async::sys::{IPPROTO_TCP, TCP_NODELAY};
use wsk_async::time::{self, Cancel};
use wsk_async::wsk::{ConnectionSocket, Family, Provider};

/// Longer than anything takes that is on its way.
const SETTLED: Duration = Duration::from_millis(50);
/// Of an operation that times out: about as long as it takes.
const LIMIT: Duration = Duration::from_millis(1);
const PATIENCE: Duration = Duration::from_secs(5);

/// What happens to an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Completes,
    IsCancelled,
    /// It is cancelled, or dropped if it cannot be cancelled, by a timer.
    TimesOut,
    IsDropped,
    /// With the socket or provider that it was called on, in the same step.
    IsDroppedWithItsOwner,
}

/// An operation on its way.
struct Race<'a> {
    test: &'a Test,
    /// Present if it runs at PASSIVE_LEVEL.
    passive: Option<&'a Passive>,
    operation: Operation,
    fate: Fate,
}

/// What an operation is called on, as far as it needs it.
#[derive(Default)]
struct Owner {
    provider: Option<Provider>,
    socket: Option<ConnectionSocket>,
}

/// Sets an operation up, and opens the window for everything that follows.
pub(super) async fn race(test: &Test, passive: Option<&Passive>, operation: Operation, fate: Fate) -> Outcome {
    let race = Race { test, passive, operation, fate };
    let mut owner = race.owner().await?;
    window::begin();
    let result = race.start(&mut owner).await;
    match owner.socket.take() {
        Some(socket) if fate != Fate::IsDroppedWithItsOwner => socket.close().await?,
        socket => drop(socket),
    }
    drop(owner);
    // Everything that is on its way arrives while the window is open.
    test.system().timers.sleep(SETTLED).await;
    window::end();
    result
}

impl Race<'_> {
    fn address(&self, name: &str) -> Result<SocketAddr> {
        self.test.parameter(name).and_then(|address| address.parse().ok()).ok_or(NtStatus::INVALID_ADDRESS)
    }

    /// Makes what the operation is called on.
    async fn owner(&self) -> Result<Owner> {
        use Operation::*;
        let mut owner = Owner::default();
        if matches!(self.operation, Capture) {
            return Ok(owner);
        }
        let system = self.test.system();
        let provider = owner.provider.insert(system.wsk.capture(&system.timers, PATIENCE).await?);
        if matches!(self.operation, ConnectionSocket | SocketConnect | SocketConnectRefused | Resolve | ResolveUnknown)
        {
            return Ok(owner);
        }
        let socket = owner.socket.insert(provider.connection_socket(Family::V4).await?);
        if matches!(self.operation, Bind) {
            return Ok(owner);
        }
        socket.bind(Family::V4.unspecified()).await?;
        if !matches!(self.operation, Connect | Refused | ConnectEx | ConnectExEmpty | ConnectThenSend | SetFastOpen) {
            socket.connect(self.address("echo")?).await?;
        }
        if matches!(self.operation, Receive | ReceiveExact | CloseReceiving) {
            socket.send(Buf::copy_of(b"hello")?).await.0?;
        }
        Ok(owner)
    }

    async fn start(&self, owner: &mut Owner) -> Outcome {
        match owner {
            Owner { socket: Some(_), .. } if matches!(self.operation, Operation::Close | Operation::CloseReceiving) => {
                match owner.socket.take() {
                    Some(socket) => self.start_close(socket).await,
                    None => Ok(()),
                }
            }
            Owner { socket: Some(socket), .. } => self.start_on_socket(socket).await,
            Owner { provider: Some(provider), .. } => self.start_on_provider(provider).await,
            _ => {
                let system = self.test.system();
                let capture = system.wsk.capture(&system.timers, PATIENCE);
                self.meet_uncancelled(capture, |result| self.succeeds(result)).await
            }
        }
    }

    async fn start_on_provider(&self, provider: &Provider) -> Outcome {
        use Operation::*;
        let local = Family::V4.unspecified();
        match (self.operation, self.passive) {
            (SocketConnect, _) => {
                let server = self.address("echo")?;
                let creation = provider.socket_connect(&local, &server);
                self.meet_uncancelled(creation, |result| self.succeeds(result)).await
            }
            (SocketConnectRefused, _) => {
                let server = self.address("closed")?;
                let creation = provider.socket_connect(&local, &server);
                self.meet_uncancelled(creation, |result| self.is_refused(result)).await
            }
            (Resolve, Some(passive)) => {
                let lookup = provider.resolve(passive, "127.0.0.1", 80);
                self.meet_uncancelled(lookup, |result| self.succeeds(result)).await
            }
            (ResolveUnknown, Some(passive)) => {
                let lookup = provider.resolve(passive, "no.such.host.invalid", 80);
                let check = |result: Result<_>| {
                    expect!(result.is_err(), "{result:?}");
                    Ok(())
                };
                self.meet_uncancelled(lookup, check).await
            }
            _ => {
                let creation = provider.connection_socket(Family::V4);
                self.meet_uncancelled(creation, |result| self.succeeds(result)).await
            }
        }
    }

    async fn start_on_socket(&self, socket: &ConnectionSocket) -> Outcome {
        use Operation::*;
        let hello = || Buf::copy_of(b"hello");
        match self.operation {
            Bind => self.meet(socket.bind(Family::V4.unspecified()), |result| self.succeeds(result)).await,
            Connect => self.meet(socket.connect(self.address("echo")?), |result| self.succeeds(result)).await,
            Refused => self.meet(socket.connect(self.address("closed")?), |result| self.is_refused(result)).await,
            ConnectEx | ConnectThenSend => {
                let connect = socket.connect_ex(self.address("echo")?, Some(hello()?));
                let check = |BufResult(result, buffer): BufResult<_, core::option::Option<Buf>>| {
                    expect_eq!(buffer.as_deref(), Some(b"hello".as_slice()));
                    self.succeeds(result)
                };
                self.meet(connect, check).await
            }
            ConnectExEmpty => {
                let connect = socket.connect_ex(self.address("echo")?, None);
                self.meet(connect, |BufResult(result, _)| self.succeeds(result)).await
            }
            Send => self.meet(socket.send(hello()?), |result| self.gives_back(result)).await,
            Receive => self.meet(socket.receive(Buf::with_capacity(5)?), |result| self.gives_back(result)).await,
            ReceiveExact => {
                self.meet(socket.receive_exact(Buf::with_capacity(5)?), |result| self.gives_back(result)).await
            }
            Disconnect => self.meet(socket.disconnect(), |result| self.succeeds(result)).await,
            Abort => self.meet(socket.abort(), |result| self.succeeds(result)).await,
            Option => self.meet(socket.option(IPPROTO_TCP, TCP_NODELAY), |result| self.succeeds(result)).await,
            SetOption => {
                self.meet(socket.set_option(IPPROTO_TCP, TCP_NODELAY, 1), |result| self.succeeds(result)).await
            }
            FastOpen => self.meet_uncancelled(socket.fast_open(), |result| self.succeeds(result)).await,
            SetFastOpen => self.meet_uncancelled(socket.set_fast_open(true), |result| self.succeeds(result)).await,
            LocalAddress => self.meet(socket.local_address(), |result| self.succeeds(result)).await,
            RemoteAddress => self.meet(socket.remote_address(), |result| self.succeeds(result)).await,
            // Not on a socket, or on one that it takes.
            Capture | ConnectionSocket | SocketConnect | SocketConnectRefused | Resolve | ResolveUnknown | Close
            | CloseReceiving => ensure!(false, "{:?} is started elsewhere", self.operation),
        }
    }

    async fn start_close(&self, socket: ConnectionSocket) -> Outcome {
        if self.operation == Operation::CloseReceiving {
            let mut receive = pin!(socket.receive(Buf::with_capacity(5)?));
            once(&mut receive).await;
        }
        self.meet_uncancelled(socket.close(), |result| self.succeeds(result)).await
    }

    /// Runs an operation to its fate. A result is told by `check`.
    async fn meet<F: Cancel<Output: time::Outcome>>(
        &self,
        operation: F,
        check: impl FnOnce(F::Output) -> Outcome,
    ) -> Outcome {
        if self.fate == Fate::TimesOut {
            return check(self.test.system().timers.timeout(LIMIT, operation).await);
        }
        let mut operation = pin!(operation);
        if let Some(output) = once(&mut operation).await {
            return check(output);
        }
        match self.fate {
            Fate::Completes | Fate::TimesOut => {}
            Fate::IsCancelled => operation.as_mut().cancel(),
            Fate::IsDropped | Fate::IsDroppedWithItsOwner => return Ok(()),
        }
        check(operation.await)
    }

    /// As [`meet`](Self::meet), for what cannot be cancelled: its end is its drop.
    async fn meet_uncancelled<F: Future>(&self, operation: F, check: impl FnOnce(F::Output) -> Outcome) -> Outcome {
        if self.fate == Fate::TimesOut {
            return match self.test.system().timers.expire(LIMIT, operation).await {
                Ok(output) => check(output),
                Err(status) => self.succeeds::<()>(Err(status)),
            };
        }
        let mut operation = pin!(operation);
        if let Some(output) = once(&mut operation).await {
            return check(output);
        }
        match self.fate {
            Fate::IsDropped | Fate::IsDroppedWithItsOwner => Ok(()),
            Fate::Completes | Fate::IsCancelled | Fate::TimesOut => check(operation.await),
        }
    }

    /// What an operation that was ended early may say.
    fn was_ended(&self, status: NtStatus) -> bool {
        match self.fate {
            Fate::IsCancelled => status == NtStatus::CANCELLED,
            Fate::TimesOut => status == NtStatus::IO_TIMEOUT,
            Fate::Completes | Fate::IsDropped | Fate::IsDroppedWithItsOwner => false,
        }
    }

    fn succeeds<T>(&self, result: Result<T>) -> Outcome {
        if let Err(status) = result {
            expect!(self.was_ended(status), "{status}");
        }
        Ok(())
    }

    fn is_refused<T>(&self, result: Result<T>) -> Outcome {
        match result {
            Ok(_) => ensure!(false, "connected"),
            Err(status) => ensure!(status == NtStatus::CONNECTION_REFUSED || self.was_ended(status), "{status}"),
        }
    }

    /// A buffer comes back whole, whatever became of the operation.
    fn gives_back(&self, BufResult(result, buffer): BufResult<usize, Buf>) -> Outcome {
        expect_eq!(buffer.capacity(), 5);
        self.succeeds(result)
    }
}
