//! [`ConnectEx`]: connect with the first data, or connect and then send where the system cannot.
//!
//! ```text
//!   start --too long--------------------------------------------------------> STATUS_BUFFER_OVERFLOW, buffer back
//!     |--no WskConnectEx on this system--> [connecting] --ok, data--> [sending] --> ConnectThenSend
//!     |                                      ^      |--ok, no data--------------> ConnectThenSend
//!     '--> [combined] --NOT_IMPLEMENTED------'      '--error--------------------> error, buffer back
//!                |--ok, error-------------------------------------------------------> ConnectEx
//! ```

use super::requests;
use super::socket::ConnectionSocket;
use crate::irp::IrpFuture;
use crate::mem::Buf;
use crate::platform;
use crate::status::{BufResult, NtStatus};
use crate::time::Cancel;
use core::net::SocketAddr;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use pin_project_lite::pin_project;

/// Longest first data of WskConnectEx, in bytes.
const LONGEST: usize = 65_535;

/// How a connection with data was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConnectPath {
    /// By WskConnectEx: the system may have put data into the SYN.
    ConnectEx,
    /// By WskConnect and WskSend, since the system or the provider has no WskConnectEx.
    ConnectThenSend,
}

/// The outcome of [`ConnectionSocket::connect_ex`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Connected {
    /// How it was made.
    pub path: ConnectPath,
    /// How many bytes were sent.
    pub sent: usize,
}

pin_project! {
    /// The future of [`ConnectionSocket::connect_ex`].
    #[must_use = "futures do nothing unless polled"]
    pub struct ConnectEx<'a> {
        socket: &'a ConnectionSocket,
        remote: SocketAddr,
        // A buffer without data: kept out of the call and given back.
        empty: Option<Buf>,
        // A step that completes meanwhile is not the end: the next one is cancelled too.
        cancelled: bool,
        #[pin]
        step: Step<'a>,
    }
}

pin_project! {
    #[project = StepProjection]
    enum Step<'a> {
        Refused { buffer: Option<Buf>, status: NtStatus },
        Combined { #[pin] request: IrpFuture<'a, requests::ConnectEx> },
        // The buffer waits for the connection.
        Connecting { buffer: Option<Buf>, #[pin] request: IrpFuture<'a, requests::WithAddress> },
        Sending { #[pin] request: IrpFuture<'a, requests::SendData> },
    }
}

impl<'a> ConnectEx<'a> {
    pub(super) fn new(socket: &'a ConnectionSocket, remote: SocketAddr, buffer: Option<Buf>) -> Self {
        // Whether the provider takes an empty buffer is not documented; to connect alone is what it means.
        let (data, empty) = match buffer {
            Some(buffer) if buffer.is_empty() => (None, Some(buffer)),
            buffer => (buffer, None),
        };
        let step = match data {
            Some(data) if data.len() > LONGEST => {
                Step::Refused { buffer: Some(data), status: NtStatus::BUFFER_OVERFLOW }
            }
            data if platform::has_connect_ex() => Step::Combined { request: socket.start_connect_ex(&remote, data) },
            data => Step::Connecting { buffer: data, request: socket.start_connect(&remote) },
        };
        Self { socket, remote, empty, cancelled: false, step }
    }
}

impl Future for ConnectEx<'_> {
    type Output = BufResult<Connected, Option<Buf>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let next = match this.step.as_mut().project() {
                StepProjection::Refused { buffer, status } => {
                    return Poll::Ready(BufResult(Err(*status), buffer.take()));
                }
                StepProjection::Combined { request } => match ready!(request.poll(cx)) {
                    BufResult(Err(NtStatus::NOT_IMPLEMENTED), buffer) => {
                        Step::Connecting { buffer, request: this.socket.start_connect(this.remote) }
                    }
                    BufResult(result, buffer) => {
                        let result = result.map(|sent| Connected { path: ConnectPath::ConnectEx, sent });
                        return Poll::Ready(BufResult(result, buffer.or(this.empty.take())));
                    }
                },
                StepProjection::Connecting { buffer, request } => match (ready!(request.poll(cx)), buffer.take()) {
                    (Ok(()), Some(buffer)) => Step::Sending { request: this.socket.start_send(buffer) },
                    (result, buffer) => {
                        let buffer = buffer.or(this.empty.take());
                        return Poll::Ready(BufResult(result.map(|()| then_sent(0)), buffer));
                    }
                },
                StepProjection::Sending { request } => {
                    let BufResult(result, buffer) = ready!(request.poll(cx));
                    return Poll::Ready(BufResult(result.map(then_sent), Some(buffer)));
                }
            };
            this.step.set(next);
            if *this.cancelled {
                this.step.as_mut().cancel();
            }
        }
    }
}

fn then_sent(sent: usize) -> Connected {
    Connected { path: ConnectPath::ConnectThenSend, sent }
}

impl Cancel for ConnectEx<'_> {
    fn cancel(self: Pin<&mut Self>) {
        let this = self.project();
        *this.cancelled = true;
        this.step.cancel();
    }
}

impl Step<'_> {
    fn cancel(self: Pin<&mut Self>) {
        match self.project() {
            StepProjection::Refused { .. } => {}
            StepProjection::Combined { request } => request.cancel(),
            StepProjection::Connecting { request, .. } => request.cancel(),
            StepProjection::Sending { request } => request.cancel(),
        }
    }
}
