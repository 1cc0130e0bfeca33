//! What faults make of the calls on a socket: failing, holding back, completing elsewhere and late, ending the connection.
//! Which of it happens to a call is decided when its IRP is accepted, see [`Fate`](crate::fault::Fate).

use super::request::{Irp, Outcome};
use super::socket::{Phase, Socket, State};
use crate::fault::Operation;
use crate::sched::{self, MutexGuard};
use crate::{clock, cpu};
use std::sync::Arc;
use std::task::Poll;
use wsk_sys::{NTSTATUS, STATUS_CONNECTION_RESET, STATUS_PENDING};

impl Socket {
    /// What a call returns whose work is not done because of a fault; `None` if it is to be done.
    pub(super) fn intercept(self: &Arc<Self>, irp: Irp, operation: Operation) -> Option<NTSTATUS> {
        let fate = irp.fate();
        if let Some((status, delay)) = fate.end {
            let socket = Arc::clone(self);
            let end = move || {
                // A reset ends nothing but a connection.
                let connected = matches!(socket.lock().phase, Phase::Connecting | Phase::Connected);
                if connected || status != STATUS_CONNECTION_RESET {
                    socket.end(status);
                }
            };
            cpu::after(self.processor(), delay, Box::new(end));
        }
        if let Some(status) = fate.status {
            if operation.is_ended_by(status) {
                self.end(status);
            }
            return Some(self.finish(irp, Err(status)));
        }
        (fate.held && !operation.waits_in_a_queue()).then(|| self.hold(irp))
    }

    /// Ends the connection by a reset: what is queued is completed with `status`.
    pub(super) fn end(self: &Arc<Self>, status: NTSTATUS) {
        let mut state = self.lock();
        state.kill(status);
        let endpoint = state.endpoint.take();
        drop(state);
        // Not under the lock: this ends the endpoint's registration with the processor.
        drop(endpoint);
        self.advance_all();
    }

    /// Keeps an IRP until it is cancelled or the socket is closed.
    fn hold(self: &Arc<Self>, irp: Irp) -> NTSTATUS {
        let mut state = self.lock();
        if !irp.pend(self) {
            drop(state);
            return self.finish(irp, Outcome::cancelled(0));
        }
        state.held.push(irp);
        STATUS_PENDING
    }

    /// Completes what is held, at the close.
    pub(super) fn release_held(self: &Arc<Self>) {
        // What cannot be claimed is completed by its cancel routine.
        let released: Vec<Irp> = self.lock().held.extract_if(.., |irp| irp.claim::<Socket>()).collect();
        for irp in released {
            self.end_request(irp, Outcome::cancelled(0));
        }
    }

    /// Tries once, or for a while if the call waits inside for the network; others may use the socket in between.
    pub(super) fn insist<'a, R>(
        &'a self,
        irp: &Irp,
        mut state: MutexGuard<'a, State>,
        mut attempt: impl FnMut(&mut State) -> Poll<R>,
    ) -> (MutexGuard<'a, State>, Poll<R>) {
        let deadline = clock::now() + clock::from_duration(irp.fate().patience);
        let mut result = attempt(&mut state);
        while result.is_pending() && clock::now() < deadline {
            drop(state);
            sched::pause();
            state = self.lock();
            result = attempt(&mut state);
        }
        (state, result)
    }

    /// Completes an IRP outside its call, now or when its fate says.
    pub(super) fn end_request(self: &Arc<Self>, irp: Irp, outcome: Outcome) {
        if !self.defers(irp, outcome, false, |_| ()) {
            self.complete(irp, outcome);
        }
    }

    /// Sees to it that an IRP is completed elsewhere or later, if that is its fate, and that `then` follows. `inside`: its
    /// call has not returned, and returns STATUS_PENDING if this says yes.
    pub(super) fn defers(
        self: &Arc<Self>,
        irp: Irp,
        outcome: Outcome,
        inside: bool,
        then: impl FnOnce(&Arc<Socket>) + Send + 'static,
    ) -> bool {
        let Some((processor, delay)) = irp.fate().deferral(self.processor(), inside) else { return false };
        let socket = Arc::clone(self);
        let complete = move || {
            socket.complete(irp, outcome);
            then(&socket);
        };
        cpu::after(processor, delay, Box::new(complete));
        true
    }
}

impl State {
    /// Takes out the IRP that is held and was cancelled, if it is this one.
    pub(super) fn take_held(&mut self, irp: &Irp) -> Option<Irp> {
        let index = self.held.iter().position(|other| other == irp)?;
        Some(self.held.swap_remove(index))
    }
}
