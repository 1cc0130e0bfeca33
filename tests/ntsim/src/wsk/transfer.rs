//! Sending, receiving and disconnecting: two queues per socket, each served first in, first out.
//!
//! A lane is served by one thread at a time. While that thread completes an IRP, with no lock held, the lane is `busy`:
//! others only add to the queue, and the thread goes on with what they have added. So completions of one direction come
//! in the order of their requests, and a completion routine that posts the next request cannot nest.

use super::buffer::Data;
use super::request::{Irp, Outcome};
use super::socket::{Phase, Socket, State};
use super::transport::Endpoint;
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Poll;
use wsk_sys::{
    NTSTATUS, STATUS_CANCELLED, STATUS_CONNECTION_ABORTED, STATUS_INVALID_DEVICE_STATE, STATUS_PENDING, STATUS_SUCCESS,
    WSK_EVENT_RECEIVE,
};

/// Requests completed in one go before the lane waits for its next turn, so that one socket cannot keep a processor.
const BUDGET: usize = 64;

/// Which of a socket's queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Send,
    Receive,
}

/// One direction's queue.
#[derive(Default)]
pub(super) struct Lane {
    queue: VecDeque<Transfer>,
    /// A thread completes an IRP of this lane, and looks after the queue when it comes back.
    busy: bool,
}

impl Lane {
    /// Nothing is queued.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether the network should call for it.
    pub(super) fn waits(&self) -> bool {
        !self.busy && self.queue.front().is_some_and(|first| !first.cancelled && !first.irp.fate().held)
    }
}

/// A pending request of a lane.
struct Transfer {
    irp: Irp,
    work: Work,
    /// Bytes transferred.
    done: usize,
    /// Its cancel routine is on its way.
    cancelled: bool,
}

/// What a request asks for.
pub(super) enum Work {
    /// Send all of the data. `push`: without waiting to fill a segment.
    Send { data: Data, push: bool },
    /// Send all of the data, then this side's end.
    Disconnect { data: Option<Data> },
    /// Receive something; with `all`, until the buffer is full or the peer's end comes.
    Receive { data: Data, all: bool },
    /// Wait until something can be received.
    Await,
    /// Read and drop until the peer's end comes.
    Drain,
}

impl Work {
    fn direction(&self) -> Direction {
        match self {
            Work::Send { .. } | Work::Disconnect { .. } => Direction::Send,
            Work::Receive { .. } | Work::Await | Work::Drain => Direction::Receive,
        }
    }
}

impl Socket {
    /// Starts a transfer: finishes it inside the call if it can, else queues it.
    pub(super) fn transfer(self: &Arc<Self>, irp: Irp, work: Work) -> NTSTATUS {
        let direction = work.direction();
        let mut state = self.lock();
        if let Err(status) = state.admit(&work) {
            drop((state, work));
            return self.finish(irp, Err(status));
        }
        let mut transfer = Transfer { irp, work, done: 0, cancelled: false };
        let lane = state.lane(direction);
        let inline = !lane.busy && lane.queue.is_empty() && !irp.fate().pends;
        let mut attempt = Poll::Pending;
        if inline {
            lane.busy = true;
            (state, attempt) = self.insist(&irp, state, |state| state.attempt(&mut transfer));
        }
        if let Poll::Ready(outcome) = attempt {
            drop((state, transfer));
            if self.defers(irp, outcome, true, move |socket| socket.release_lane(direction)) {
                return STATUS_PENDING;
            }
            let returned = irp.returns_done(outcome.status);
            self.complete(irp, outcome);
            let mut state = self.lock();
            state.lane(direction).busy = false;
            state.rearm();
            let broken = state.broken.is_some();
            let stirred = state.events.take_stirred();
            drop(state);
            if stirred {
                self.stir();
            }
            if broken {
                self.advance_all();
            }
            return returned;
        }
        if inline {
            state.lane(direction).busy = false;
        }
        if !irp.pend(self) {
            let done = transfer.done;
            drop((state, transfer));
            return self.finish(irp, Outcome::cancelled(done));
        }
        let queue = &mut state.lane(direction).queue;
        if inline {
            // What came while this call waited inside is behind it.
            queue.push_front(transfer);
        } else {
            queue.push_back(transfer);
        }
        state.rearm();
        STATUS_PENDING
    }

    /// WskDisconnect with WSK_FLAG_ABORTIVE: a reset, which cancels what is pending.
    pub(super) fn abort(self: &Arc<Self>, irp: Irp) -> NTSTATUS {
        let connected = self.lock().connected();
        if let Err(status) = connected {
            return self.finish(irp, Err(status));
        }
        self.end(STATUS_CANCELLED);
        self.finish(irp, Ok(0))
    }

    /// Goes on with a lane whose last completion was deferred.
    fn release_lane(self: &Arc<Self>, direction: Direction) {
        self.lock().lane(direction).busy = false;
        if self.advance(direction) {
            self.advance_all();
        }
    }

    /// Serves a lane as far as the network allows. True if the socket is dead or closed.
    pub(super) fn advance(self: &Arc<Self>, direction: Direction) -> bool {
        let mut completed = 0;
        let mut state = self.lock();
        while !state.lane(direction).busy && (completed < BUDGET || state.broken.is_some()) {
            let Some((irp, outcome)) = self.take_finished(&mut state, direction) else { break };
            state.lane(direction).busy = true;
            drop(state);
            if self.defers(irp, outcome, false, move |socket| socket.release_lane(direction)) {
                // Which may have happened already.
                state = self.lock();
                break;
            }
            self.complete(irp, outcome);
            completed += 1;
            state = self.lock();
            state.lane(direction).busy = false;
        }
        state.rearm();
        let broken = state.broken.is_some();
        let stirred = state.events.take_stirred();
        drop(state);
        if stirred {
            self.stir();
        }
        broken
    }

    /// Works on the front of a lane; takes it out if it is finished.
    fn take_finished(self: &Arc<Self>, state: &mut State, direction: Direction) -> Option<(Irp, Outcome)> {
        let mut transfer = state.lane(direction).queue.pop_front()?;
        if !transfer.irp.claim::<Socket>() {
            // Its cancel routine comes, and finds it in the queue.
            transfer.cancelled = true;
            state.lane(direction).queue.push_front(transfer);
            return None;
        }
        let outcome = match state.attempt(&mut transfer) {
            Poll::Ready(outcome) => outcome,
            Poll::Pending if transfer.irp.pend(self) => {
                state.lane(direction).queue.push_front(transfer);
                return None;
            }
            Poll::Pending => Outcome::cancelled(transfer.done),
        };
        Some((transfer.irp, outcome))
    }
}

impl State {
    fn lane(&mut self, direction: Direction) -> &mut Lane {
        match direction {
            Direction::Send => &mut self.sends,
            Direction::Receive => &mut self.receives,
        }
    }

    /// Errors of what needs a connection.
    pub(super) fn connected(&self) -> Result<(), NTSTATUS> {
        self.alive()?;
        if self.phase == Phase::Connected { Ok(()) } else { Err(STATUS_INVALID_DEVICE_STATE) }
    }

    /// Whether a transfer may start; notes a disconnect, after which nothing more can be sent.
    fn admit(&mut self, work: &Work) -> Result<(), NTSTATUS> {
        self.connected()?;
        if work.direction() == Direction::Send && self.disconnecting {
            return Err(STATUS_INVALID_DEVICE_STATE);
        }
        self.disconnecting |= matches!(work, Work::Disconnect { .. });
        Ok(())
    }

    /// Takes a cancelled transfer out of its queue: its IRP, and how many bytes it had transferred.
    pub(super) fn remove_transfer(&mut self, irp: Irp) -> (Irp, usize) {
        let mut lanes = [&mut self.sends, &mut self.receives].into_iter();
        let transfer = lanes.find_map(|lane| {
            let index = lane.queue.iter().position(|transfer| transfer.irp == irp)?;
            lane.queue.remove(index)
        });
        let Transfer { irp, done, .. } = transfer.expect("a request stays in its queue until its owner takes it out");
        (irp, done)
    }

    /// Tries to finish a transfer that the caller has claimed. An error of the network is the end of the socket.
    fn attempt(&mut self, transfer: &mut Transfer) -> Poll<Outcome> {
        match self.broken {
            None => {}
            Some(STATUS_CANCELLED) => return Poll::Ready(Outcome::cancelled(transfer.done)),
            Some(status) => return Poll::Ready(Err(status).into()),
        }
        let Some(endpoint) = &self.endpoint else { return Poll::Ready(Err(STATUS_CONNECTION_ABORTED).into()) };
        let fate = transfer.irp.fate();
        // What a callback looks at right now comes before all else, if it is not taken.
        let indicated = transfer.work.direction() == Direction::Receive && self.events.runs(WSK_EVENT_RECEIVE);
        if fate.held || indicated {
            return Poll::Pending;
        }
        let (done, first) = (&mut transfer.done, fate.first_piece);
        let result = match &transfer.work {
            Work::Send { data, push } => send(&**endpoint, data, *push, first, done),
            Work::Disconnect { data } => {
                match data.as_ref().map_or(Poll::Ready(Ok(())), |data| send(&**endpoint, data, false, first, done)) {
                    Poll::Ready(Ok(())) => Poll::Ready(endpoint.shutdown().map(|()| self.sent_end = true)),
                    other => other,
                }
            }
            Work::Receive { data, all } if self.arrivals.has_left() => {
                let left = self.arrivals.take_left(data.len() - *done);
                // SAFETY: the request is claimed and not completed.
                unsafe { data.copy_in(*done, &left) };
                *done += left.len();
                data.note_received(*done);
                if *all && *done < data.len() {
                    receive(&**endpoint, data, *all, first, done, &mut self.received_end)
                } else {
                    Poll::Ready(Ok(()))
                }
            }
            Work::Receive { data, all } => receive(&**endpoint, data, *all, first, done, &mut self.received_end),
            Work::Await if self.arrivals.has_left() => Poll::Ready(Ok(())),
            Work::Await => endpoint.peek().map_ok(|more| self.received_end |= !more),
            Work::Drain => {
                self.arrivals.drop_left();
                drain(&**endpoint, &mut self.received_end)
            }
        };
        if result.is_ready() && transfer.work.direction() == Direction::Receive {
            self.arrivals.resume();
            self.events.stir();
        }
        match result {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(())) => {
                let information = if matches!(transfer.work, Work::Disconnect { .. }) { 0 } else { transfer.done };
                Poll::Ready(Outcome { status: STATUS_SUCCESS, information })
            }
            Poll::Ready(Err(status)) => {
                self.kill(status);
                Poll::Ready(Err(status).into())
            }
        }
    }
}

/// Where a turn ends that goes on at `done`: at the end of the first piece, if there is one, else at the end.
fn end_of_turn(data: &Data, first: usize, done: usize) -> usize {
    if done < first { data.len().min(first) } else { data.len() }
}

/// Sends the rest of the data; with a first piece, pauses when that is sent.
pub(super) fn send(
    endpoint: &dyn Endpoint,
    data: &Data,
    push: bool,
    first: usize,
    done: &mut usize,
) -> Poll<Result<(), NTSTATUS>> {
    while *done < data.len() {
        let end = end_of_turn(data, first, *done);
        // SAFETY: the request is claimed and not completed.
        match unsafe { data.with_slices(*done..end, |slices| endpoint.send(slices, push)) } {
            Poll::Ready(Ok(sent)) => {
                *done += sent;
                if *done == first && *done < data.len() {
                    return Poll::Pending;
                }
            }
            Poll::Ready(Err(status)) => return Poll::Ready(Err(status)),
            Poll::Pending => return Poll::Pending,
        }
    }
    Poll::Ready(Ok(()))
}

fn receive(
    endpoint: &dyn Endpoint,
    data: &Data,
    all: bool,
    first: usize,
    done: &mut usize,
    end: &mut bool,
) -> Poll<Result<(), NTSTATUS>> {
    loop {
        // SAFETY: the request is claimed and not completed.
        match unsafe { data.with_slices_mut(*done..end_of_turn(data, first, *done), |into| endpoint.receive(into)) } {
            Poll::Ready(Ok(0)) => {
                *end = true;
                return Poll::Ready(Ok(()));
            }
            Poll::Ready(Ok(received)) => {
                *done += received;
                data.note_received(*done);
            }
            Poll::Ready(Err(status)) => return Poll::Ready(Err(status)),
            Poll::Pending => return Poll::Pending,
        }
        if !all || *done == data.len() {
            return Poll::Ready(Ok(()));
        }
    }
}

fn drain(endpoint: &dyn Endpoint, end: &mut bool) -> Poll<Result<(), NTSTATUS>> {
    let mut dropped = [0; 16 * 1024];
    loop {
        match endpoint.receive(&mut [std::io::IoSliceMut::new(&mut dropped)]) {
            Poll::Ready(Ok(0)) => {
                *end = true;
                return Poll::Ready(Ok(()));
            }
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(status)) => return Poll::Ready(Err(status)),
            Poll::Pending => return Poll::Pending,
        }
    }
}
