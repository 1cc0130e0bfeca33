//! One case, from its start to its verdict: time limit, cleanup and leaks.

use crate::current::{self, Name};
use crate::live::{Counter, Live};
use crate::log_file::LogFile;
use crate::request::Request;
use crate::run::Reason;
use crate::start::{Start, StartCase};
use crate::suite::{Case, Outcome};
use crate::test::Test;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use wsk_async::driver::System;
use wsk_async::exec::{DispatchExecutor, JoinHandle};
use wsk_async::irql::Passive;
use wsk_async::mem::Shared;
use wsk_async::status::{NtStatus, Result};
use wsk_async::sys::DEVICE_OBJECT;
use wsk_async::time::{Instant, Timers};

/// How long an aborted case may take to end.
const ABORT_PATIENCE: Duration = Duration::from_secs(2);
/// How long memory may take to come back after the end of a case: closes of dropped sockets complete by themselves.
const LEAK_PATIENCE: Duration = Duration::from_secs(2);

/// What came out of a case.
pub(crate) enum Verdict {
    Passed,
    Failed,
    TimedOut,
    Skipped(Reason),
    /// It is known to fail here, and did.
    FailedAsExpected(&'static str),
}

/// A case has kept its executor for good: nothing can run after it.
pub(crate) struct Stuck;

/// What is run as a case.
pub(crate) struct Part {
    pub(crate) name: Name,
    /// Levels of indentation.
    pub(crate) depth: usize,
    /// How long it may take.
    pub(crate) limit: Duration,
    /// Nothing: then only what earlier parts have left is looked at.
    pub(crate) start: Option<StartCase>,
    /// Which of its parameters it runs with.
    pub(crate) index: usize,
}

/// What cases are run with.
pub(crate) struct Cases<'a> {
    pub(crate) passive: &'a Passive,
    pub(crate) timers: &'a Timers,
    pub(crate) counter: Counter,
    /// What the cases themselves run on; the harness runs elsewhere, so that a case that blocks does not block it.
    pub(crate) system: System,
    pub(crate) request: &'a Shared<Request>,
    /// Where the report also goes, if it was asked for.
    pub(crate) file: Option<&'a LogFile>,
    pub(crate) device: *mut DEVICE_OBJECT,
}

impl Cases<'_> {
    /// Brings the file of the report up to now.
    pub(crate) fn save(&self) {
        if let Some(file) = self.file {
            file.save(self.passive);
        }
    }

    /// Runs a case with one of its parameters.
    pub(crate) async fn run(
        &self,
        case: &'static Case,
        name: Name,
        depth: usize,
        index: usize,
    ) -> core::result::Result<Verdict, Stuck> {
        let expected = self.request.expected_failure(case);
        let part = Part { name, depth, limit: case.limit(), start: Some(case.start), index };
        let verdict = if case.irql.is_dispatch() && case.processor != 0 {
            // Its executor is made for it, so that every driver has no more than it needs.
            let Ok(executor) = DispatchExecutor::start(self.passive, case.processor) else {
                return Ok(Verdict::Skipped(Reason::Plain("there is no such processor")));
            };
            let system = System { dispatch: executor.spawner(), ..self.system.clone() };
            let on_processor = Cases { system, ..*self };
            let verdict = on_processor.execute(part, Some(self.counter.now())).await;
            drop(on_processor);
            match verdict {
                Ok(verdict) => {
                    executor.stop().wait_closed(self.passive);
                    verdict
                }
                Err(stuck) => {
                    // It would wait for ever.
                    core::mem::forget(executor);
                    return Err(stuck);
                }
            }
        } else {
            self.execute(part, Some(self.counter.now())).await?
        };
        Ok(match (verdict, expected) {
            (Verdict::Failed | Verdict::TimedOut, Some(why)) => Verdict::FailedAsExpected(why),
            (Verdict::Passed, Some(why)) => {
                crate::output::line(depth, format_args!("# {name}: passed, although known to fail here: {why}"));
                Verdict::Failed
            }
            (verdict, _) => verdict,
        })
    }

    /// Runs something as a case. At its end no more may be allocated than `before`, if that is given.
    pub(crate) async fn execute(&self, part: Part, before: Option<Live>) -> core::result::Result<Verdict, Stuck> {
        let begin = Instant::now();
        let running = Running::begin(part.name, part.depth);
        let timed_out = match self.watch(&part).await {
            Ok(timed_out) => timed_out,
            Err(Unended::Unstarted(status)) => {
                current::fail_plainly(format_args!("NOT STARTED: {status}"));
                false
            }
            Err(Unended::Stuck) => {
                current::fail_plainly(format_args!("TIMEOUT: it did not end after it was aborted"));
                running.end();
                return Err(Stuck);
            }
        };
        let took = begin.elapsed();
        if let Some(before) = before {
            self.find_leaks(before).await;
        }
        current::note(format_args!("{} us", took.as_micros()));
        let ended = running.end();
        Ok(match ended.skipped {
            _ if timed_out => Verdict::TimedOut,
            _ if ended.failures > 0 => Verdict::Failed,
            Some(reason) => Verdict::Skipped(Reason::Plain(reason)),
            None => Verdict::Passed,
        })
    }

    /// Starts a case and sees to its end; says whether that was its time limit.
    async fn watch(&self, part: &Part) -> core::result::Result<bool, Unended> {
        let (Some(start), limit) = (part.start, part.limit) else { return Ok(false) };
        let test = Test::new(self.system.clone(), self.request.clone(), self.device).map_err(Unended::Unstarted)?;
        let started = start(Start { test: test.clone(), system: self.system.clone(), index: part.index });
        let mut task = Guarded(started.map_err(Unended::Unstarted)?);
        let in_time = self.timers.expire(limit, &mut task).await;
        let timed_out = match in_time {
            Ok(outcome) => {
                match outcome {
                    Ok(Ok(())) => {}
                    Ok(Err(abort)) => current::record(&abort),
                    Err(status) => current::fail_plainly(format_args!("NOT FINISHED: {status}")),
                }
                false
            }
            Err(_) => {
                current::fail_plainly(format_args!("TIMEOUT after {} ms", limit.as_millis()));
                task.0.abort();
                if self.timers.expire(ABORT_PATIENCE, &mut task).await.is_err() {
                    return Err(Unended::Stuck);
                }
                true
            }
        };
        test.run_actions(self.passive);
        Ok(timed_out)
    }

    /// Waits until what ended before has been freed, as far as that can be seen: then its memory does not hide a leak.
    pub(crate) async fn settle(&self) {
        for _ in 0..100 {
            let seen = self.counter.now();
            self.timers.sleep(Duration::from_millis(1)).await;
            if seen.beyond(self.counter.now()).is_none() {
                return;
            }
        }
    }

    /// Waits until no more is allocated than before; records a failure if that does not come.
    async fn find_leaks(&self, before: Live) {
        let deadline = Instant::now() + LEAK_PATIENCE;
        while let Some(leak) = self.counter.now().beyond(before) {
            if Instant::now() >= deadline {
                let patience = LEAK_PATIENCE.as_millis();
                return current::fail_plainly(format_args!("LEAK: {leak} are left after {patience} ms"));
            }
            self.timers.sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Why a case has not come to an end.
enum Unended {
    Unstarted(NtStatus),
    Stuck,
}

/// The current case, also where the run is given up in the middle of it.
struct Running(bool);

impl Running {
    fn begin(name: Name, depth: usize) -> Self {
        current::begin(name, depth);
        Running(true)
    }

    fn end(mut self) -> current::Ended {
        self.0 = false;
        current::end()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.0 {
            current::end();
        }
    }
}

/// A case's task, which is aborted where the run is given up.
struct Guarded(JoinHandle<Outcome>);

impl Future for Guarded {
    type Output = Result<Outcome>;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.0.abort();
    }
}
