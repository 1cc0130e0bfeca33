//! The driver: one control code that probes all targets of a request at a time.
//!
//! ```text
//! control (PASSIVE) --- for each target --> task (PASSIVE): resolve the name
//!      ^                                          '--> task (DISPATCH): tries, each with and without Fast Open
//!      '------------------- outcome of each target ---------'
//! ```
//! Tasks own what they use, so a request that is cancelled takes them with it: each handle aborts its task when it is
//! dropped, and a dropped attempt cancels its operation and closes its socket.

mod attempt;

use crate::protocol::{IOCTL_PROBE, Phase, Request, ResponseWriter, TargetResult};
use attempt::{Prober, Tried};
use core::net::{IpAddr, SocketAddr};
use core::pin::Pin;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::task::{Context, Poll};
use core::time::Duration;
use wsk_async::debug_print;
use wsk_async::device::Ioctl;
use wsk_async::driver::{Driver, System};
use wsk_async::exec::JoinHandle;
use wsk_async::irql::{Dispatch, Passive};
use wsk_async::mem::{Array, Shared};
use wsk_async::status::{NtStatus, Result};
use wsk_async::wsk::Provider;

/// How long a request waits for WSK's provider, which may start after this driver.
const PROVIDER_LIMIT: Duration = Duration::from_secs(10);

/// The probe. Its requests share nothing, so it has no state.
struct Probe;

wsk_async::driver!(Probe);

impl Driver for Probe {
    const NAME: &'static str = "TfoProbe";

    fn start(_: &System, _: &Passive) -> Result<Self> {
        Ok(Self)
    }

    async fn control(&self, system: &System, _: &Passive, ioctl: &mut Ioctl) -> Result<usize> {
        if ioctl.code() != IOCTL_PROBE {
            return Err(NtStatus::INVALID_DEVICE_REQUEST);
        }
        // The output lands in the input's buffer, and tasks outlive this call: they work on a copy.
        let bytes = Array::copy_of(ioctl.input())?;
        let request = Request::parse(&bytes).map_err(NtStatus)?;
        let (targets, tries) = (request.target_count(), request.tries());
        if ioctl.output_len() < request.response_len() {
            return Err(NtStatus::BUFFER_TOO_SMALL);
        }
        let provider = system.wsk.capture(&system.timers, PROVIDER_LIMIT).await?;
        let job = Shared::try_new(Job { bytes, system: system.clone(), provider, done: AtomicUsize::new(0) })?;

        let mut children = heapless::Vec::<_, { crate::protocol::MAX_TARGETS }>::new();
        for index in 0..targets {
            let job = job.clone();
            let child = system.passive.spawn(move |passive: Passive| target(job, index, passive)).map(Child);
            // The protocol allows no more targets than there is room for.
            let _ = children.push(child);
        }
        let mut response = ResponseWriter::new(ioctl.output(), targets, tries).map_err(NtStatus)?;
        for (index, child) in children.iter_mut().enumerate() {
            let outcome = match child {
                Ok(child) => child.await.and_then(|outcome| outcome),
                Err(status) => Err(*status),
            };
            write(&mut response, index, outcome).map_err(NtStatus)?;
        }
        Ok(response.len())
    }
}

/// A request on its way: what all its tasks share.
struct Job {
    bytes: Array<u8>,
    system: System,
    provider: Provider,
    /// How many targets are through.
    done: AtomicUsize,
}

impl Job {
    /// The request, which was checked when it came.
    fn request(&self) -> Result<Request<'_>> {
        Request::parse(&self.bytes).map_err(NtStatus)
    }
}

/// What was found out about a target.
struct Outcome {
    address: SocketAddr,
    /// The first decisive error.
    error: Option<(NtStatus, Phase)>,
    tries: Array<Tried>,
    tries_done: u32,
}

/// Resolves a target's name and has it probed.
async fn target(job: Shared<Job>, index: usize, passive: Passive) -> Result<Outcome> {
    let outcome = probe_target(&job, index, &passive).await;
    let done = job.done.fetch_add(1, Ordering::Relaxed) + 1;
    if let Ok(request) = job.request() {
        debug_print!("tfo-probe: {} of {} targets done", done, request.target_count());
    }
    outcome
}

async fn probe_target(job: &Shared<Job>, index: usize, passive: &Passive) -> Result<Outcome> {
    let request = job.request()?;
    let target = request.targets().nth(index).ok_or(NtStatus::INVALID_PARAMETER)?;
    let limit = Duration::from_millis(u64::from(request.timeout_ms()));
    let resolving = job.provider.resolve(passive, target.host, target.port);
    let addresses = job.system.timers.expire(limit, resolving).await.and_then(|resolved| resolved)?;
    // As any client does: the next address where nobody answers at one. What is reported is the last that was tried.
    let mut outcome = Err(NtStatus::NO_MATCH);
    for &address in &addresses {
        let prober = Prober { provider: job.provider.clone(), timers: job.system.timers.clone(), address, limit };
        let (tries, mine) = (request.tries(), job.clone());
        let task = job.system.dispatch.spawn(move |_: Dispatch| tries_of(mine, prober, tries))?;
        outcome = Child(task).await?;
        if !matches!(&outcome, Ok(Outcome { error: Some((_, Phase::Create | Phase::Connect)), .. })) {
            break;
        }
    }
    outcome
}

/// Makes all tries of a target, each once with and once without Fast Open, until one in which both fail.
async fn tries_of(job: Shared<Job>, prober: Prober, tries: u32) -> Result<Outcome> {
    let request = job.request()?;
    let mut outcome = Outcome {
        address: prober.address,
        error: None,
        tries: Array::filled(Tried::EMPTY, tries as usize)?,
        tries_done: 0,
    };
    let mut any_success = false;
    for tried in outcome.tries.iter_mut() {
        *tried = prober.attempt_both(request.payload()).await;
        outcome.tries_done += 1;
        let (fast_open, plain) = (tried.fast_open.attempt, tried.plain);
        any_success |= fast_open.status >= 0 || plain.status >= 0;
        // A payload that no connect takes will not be taken by the next one either.
        let refused = fast_open.status == NtStatus::BUFFER_OVERFLOW.0;
        if refused || (fast_open.status < 0 && plain.status < 0) {
            if refused || !any_success {
                outcome.error = Some((NtStatus(fast_open.status), fast_open.phase));
            }
            break;
        }
    }
    Ok(outcome)
}

/// Writes a target's part of the response.
fn write(
    response: &mut ResponseWriter<'_>,
    index: usize,
    outcome: Result<Outcome>,
) -> core::result::Result<(), wsk_async::sys::NTSTATUS> {
    let mut result = TargetResult {
        status: NtStatus::SUCCESS.0,
        phase: Phase::None,
        family: 0,
        port: 0,
        address: [0; 16],
        tries_done: 0,
    };
    match outcome {
        Ok(outcome) => {
            if let Some((status, phase)) = outcome.error {
                (result.status, result.phase) = (status.0, phase);
            }
            result.port = outcome.address.port();
            match outcome.address.ip() {
                IpAddr::V4(ip) => {
                    result.family = 4;
                    for (to, from) in result.address.iter_mut().zip(ip.octets()) {
                        *to = from;
                    }
                }
                IpAddr::V6(ip) => (result.family, result.address) = (6, ip.octets()),
            }
            for (attempt, tried) in (0..outcome.tries_done).zip(outcome.tries.iter()) {
                response.attempts(index, attempt, &tried.fast_open, &tried.plain)?;
            }
            result.tries_done = outcome.tries_done;
        }
        Err(status) => (result.status, result.phase) = (status.0, Phase::Resolve),
    }
    response.target(index, &result)
}

/// A task that ends with its handle.
struct Child<T>(JoinHandle<T>);

impl<T> Future for Child<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl<T> Drop for Child<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
