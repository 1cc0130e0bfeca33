//! One attempt: connect, send the payload, wait for the answer, end the connection; with or without Fast Open.

use crate::protocol::{Attempt, FastOpenAttempt, Path, Phase, Reply};
use core::net::SocketAddr;
use core::time::Duration;
use wsk_async::mem::Buf;
use wsk_async::status::{BufResult, NtStatus, Result};
use wsk_async::time::{Instant, Timers};
use wsk_async::wsk::{ConnectPath, ConnectionSocket, Family, Provider};

/// Bytes received at a time.
const RECEIVE_SIZE: usize = 16 * 1024;

/// A try: the same bytes over a connection with Fast Open and over a plain one.
#[derive(Clone, Copy)]
pub(super) struct Tried {
    pub(super) fast_open: FastOpenAttempt,
    pub(super) plain: Attempt,
}

impl Tried {
    pub(super) const EMPTY: Self = Self { fast_open: FastOpenAttempt::EMPTY, plain: Attempt::EMPTY };
}

/// What an attempt needs.
pub(super) struct Prober {
    pub(super) provider: Provider,
    pub(super) timers: Timers,
    pub(super) address: SocketAddr,
    /// Time limit of an attempt.
    pub(super) limit: Duration,
}

/// What is known of an attempt so far; it stays when the attempt is dropped at its limit.
struct Record {
    attempt: FastOpenAttempt,
    /// What was to be measured has been: an end that goes wrong takes nothing away.
    measured: bool,
}

impl Prober {
    /// Makes both attempts. Where the first shows that the payload is too long for any, the second is left out.
    pub(super) async fn attempt_both(&self, payload: &[u8]) -> Tried {
        let fast_open = self.attempt(payload, true).await;
        let plain = if fast_open.attempt.status == NtStatus::BUFFER_OVERFLOW.0 {
            fast_open.attempt
        } else {
            self.attempt(payload, false).await.attempt
        };
        Tried { fast_open, plain }
    }

    /// Makes an attempt within the limit. At the limit it is dropped: its operation is cancelled and its socket closed,
    /// which ends it also where the provider does not know cancellation.
    async fn attempt(&self, payload: &[u8], fast_open: bool) -> FastOpenAttempt {
        let mut record = Record { attempt: FastOpenAttempt::EMPTY, measured: false };
        let result = self.timers.expire(self.limit, self.run(payload, fast_open, &mut record)).await;
        match result.and_then(|result| result) {
            Err(status) if !record.measured => record.attempt.attempt.status = status.0,
            _ => record.attempt.attempt.phase = Phase::None,
        }
        record.attempt
    }

    async fn run(&self, payload: &[u8], fast_open: bool, record: &mut Record) -> Result<()> {
        let family = Family::of(&self.address);
        let attempt = &mut record.attempt.attempt;
        attempt.phase = Phase::Create;
        let data = Buf::copy_of(payload)?;
        let socket = self.provider.connection_socket(family).await?;
        if fast_open {
            // An error is worth a note; the connection works without.
            record.attempt.option_status = match socket.set_fast_open(true).await {
                Ok(()) => NtStatus::SUCCESS.0,
                Err(status) => status.0,
            };
        }
        socket.bind(family.unspecified()).await?;

        attempt.phase = Phase::Connect;
        let start = Instant::now();
        if fast_open {
            let BufResult(connected, _data) = socket.connect_ex(self.address, Some(data)).await;
            let connected = connected?;
            attempt.connect_us = Some(microseconds(start.elapsed()));
            attempt.bytes_sent = connected.sent as u32;
            record.attempt.path = match connected.path {
                ConnectPath::ConnectEx => Path::ConnectEx,
                ConnectPath::ConnectThenSend => Path::ConnectThenSend,
            };
        } else {
            socket.connect(self.address).await?;
            attempt.connect_us = Some(microseconds(start.elapsed()));
            if !data.is_empty() {
                attempt.phase = Phase::Send;
                let BufResult(sent, _data) = socket.send(data).await;
                attempt.bytes_sent = sent? as u32;
            }
        }
        // Nobody answers nothing.
        let mut own_server = false;
        if !payload.is_empty() {
            let reply = receive(&socket, payload, start, attempt).await?;
            record.attempt.syn_data = reply.server_report().and_then(|report| report.syn_data);
            own_server = reply.server_report().is_some();
        }
        record.measured = true;
        record.attempt.attempt.phase = Phase::Disconnect;
        end(socket, own_server).await
    }
}

/// Receives the answer to its end, as far as it is known: the whole echo of the probe's own server, the first bytes of any
/// other.
async fn receive(socket: &ConnectionSocket, payload: &[u8], start: Instant, attempt: &mut Attempt) -> Result<Reply> {
    attempt.phase = Phase::Receive;
    let mut buffer = Buf::with_capacity(RECEIVE_SIZE)?;
    let mut reply = Reply::new();
    while !reply.finished(payload) {
        let BufResult(received, filled) = socket.receive(buffer).await;
        if received? == 0 {
            return Err(NtStatus::END_OF_FILE);
        }
        if attempt.first_byte_us.is_none() {
            attempt.first_byte_us = Some(microseconds(start.elapsed()));
        }
        let checked = reply.push(&filled, payload);
        attempt.bytes_echoed = reply.bytes_echoed();
        if let Err(status) = checked {
            attempt.phase = Phase::Verify;
            return Err(NtStatus(status));
        }
        buffer = filled;
        buffer.clear();
    }
    Ok(reply)
}

/// Ends the connection in good order. The probe's own server closes when it has seen our end, and waiting for that keeps
/// the close from being a reset; another server may never close.
async fn end(socket: ConnectionSocket, wait_for_peer: bool) -> Result<()> {
    let disconnected = socket.disconnect().await;
    if wait_for_peer && disconnected.is_ok() {
        let mut buffer = Buf::with_capacity(1)?;
        loop {
            let BufResult(received, filled) = socket.receive(buffer).await;
            if !matches!(received, Ok(count) if count > 0) {
                break;
            }
            buffer = filled;
            buffer.clear();
        }
    }
    socket.close().await
}

/// A duration in microseconds. An hour is beyond every limit, so it fits.
fn microseconds(duration: Duration) -> u32 {
    let microseconds = duration.as_secs().saturating_mul(1_000_000).saturating_add(u64::from(duration.subsec_micros()));
    u32::try_from(microseconds).unwrap_or(u32::MAX - 1)
}
