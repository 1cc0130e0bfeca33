//! Requests of the host program: opening a device, I/O control codes, closing. What user mode and the I/O manager are to
//! a driver on Windows.

use crate::cpu::{self, current};
use crate::driver::Slot;
use crate::pool::{self, Found, Kind};
use crate::sched::{Gate, Mutex};
use crate::verifier::Call;
use crate::{complete, device, irp, thread};
use std::ptr::null_mut;
use std::sync::Arc;
use wsk_sys::*;

/// `Type` of a file object.
const FILE_TYPE: i16 = 5;

/// One request of the I/O manager, from when its IRP is sent until the host program has the result.
pub(crate) struct Request {
    state: Mutex<State>,
    done: Gate,
}

struct State {
    irp: *mut IRP,
    /// The request itself until it is complete, and those who cancel it: the last frees the IRP.
    users: usize,
    system_buffer: usize,
    output_length: usize,
    result: Option<(NTSTATUS, usize, Vec<u8>)>,
}

// SAFETY: the IRP is freed by its last user, under the lock.
unsafe impl Send for State {}

impl State {
    fn leave(&mut self) {
        self.users -= 1;
        if self.users == 0 {
            let irp = std::mem::replace(&mut self.irp, null_mut());
            // SAFETY: it is complete, and that was its last user.
            unsafe { irp::release(irp) };
        }
    }
}

impl Request {
    /// Makes a request for an open file and sends it. The calling thread is at PASSIVE_LEVEL.
    fn send(file: &Handle, major: u8, code: u32, input: &[u8], output_length: usize) -> Arc<Request> {
        let call = match major {
            IRP_MJ_CREATE => "open by the host program",
            IRP_MJ_CLEANUP | IRP_MJ_CLOSE => "close by the host program",
            _ => "ioctl by the host program",
        };
        let _call = Call::begin(call);
        assert!(cpu::irql() == PASSIVE_LEVEL, "user mode runs at PASSIVE_LEVEL");
        // One buffer for input and output, with guards: a driver that writes beyond it is told.
        let size = input.len().max(output_length);
        let system_buffer =
            if size == 0 { null_mut() } else { pool::allocate(Kind::Pool { paged: false }, size, SYSTEM_TAG).as_ptr() };
        let request = Arc::new(Request {
            state: Mutex::new(State {
                irp: null_mut(),
                users: 1,
                system_buffer: system_buffer as usize,
                output_length,
                result: None,
            }),
            done: Gate::default(),
        });
        // SAFETY: the device is held by its open file; the IRP is fresh, and this thread's until it is sent.
        unsafe {
            let stack_size = (*file.device).StackSize;
            let irp = irp::allocate(stack_size, Some(request.clone()));
            request.state.lock().irp = irp;
            if !input.is_empty() {
                system_buffer.copy_from_nonoverlapping(input.as_ptr(), input.len());
            }
            (*irp).SystemBuffer = system_buffer.cast();
            (*irp).RequestorMode = if current().driver.get() == Slot::HOST { UserMode } else { KernelMode };
            (*irp).Overlay.Thread = thread::current_object();
            (*irp).Overlay.OriginalFileObject = file.object;
            let next = IoGetNextIrpStackLocation(irp);
            (*next).MajorFunction = major;
            (*next).FileObject = file.object;
            if major == IRP_MJ_DEVICE_CONTROL {
                (*next).Parameters.DeviceIoControl.IoControlCode = code;
                (*next).Parameters.DeviceIoControl.InputBufferLength = input.len() as u32;
                (*next).Parameters.DeviceIoControl.OutputBufferLength = output_length as u32;
            }
            complete::call(file.device, irp, call);
        }
        request
    }

    /// The IRP is complete: takes the result out of it. At <= DISPATCH_LEVEL on any thread.
    pub(crate) fn finish(&self, irp: *mut IRP) {
        let mut state = self.state.lock();
        // SAFETY: a complete IRP of the I/O manager is the request's, until its last user leaves.
        let IO_STATUS_BLOCK { Status: status, Information: information } = unsafe { (*irp).IoStatus };
        let mut output = Vec::new();
        // Warnings come with their output, errors do not.
        let is_error = (status as u32) >> 30 == 3;
        if state.system_buffer != 0 && !is_error {
            let length = information.min(state.output_length);
            // SAFETY: the buffer has at least `output_length` bytes.
            output = unsafe { std::slice::from_raw_parts(state.system_buffer as *const u8, length) }.to_vec();
        }
        if state.system_buffer != 0
            && let Found::Live(block) = pool::find(state.system_buffer)
        {
            pool::free(state.system_buffer, &block);
        }
        state.result = Some((status, information, output));
        state.leave();
        drop(state);
        self.done.notify_all();
    }

    fn is_done(&self) -> bool {
        self.state.lock().result.is_some()
    }

    fn cancel(&self) {
        let irp = {
            let mut state = self.state.lock();
            if state.result.is_some() {
                return;
            }
            state.users += 1;
            state.irp
        };
        let call = Call::begin("cancel by the host program");
        // SAFETY: this is one of the IRP's users.
        unsafe { irp::cancel(irp) };
        drop(call);
        self.state.lock().leave();
    }

    fn wait(&self) -> (NTSTATUS, usize, Vec<u8>) {
        let mut state = self.state.lock();
        loop {
            if let Some(result) = state.result.clone() {
                return result;
            }
            self.done.wait(&mut state);
        }
    }
}

/// Tag of system buffers.
const SYSTEM_TAG: u32 = u32::from_le_bytes(*b"Io  ");

/// An open handle: the file object. The last of the file and its pending requests closes it.
struct Handle {
    device: *mut DEVICE_OBJECT,
    object: *mut FILE_OBJECT,
}

// SAFETY: the device is held while the handle lives, and the file object is only passed on.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

impl Handle {
    /// Gives back what an open took.
    fn release(&self) {
        // SAFETY: made by `open`, and no request refers to it any more.
        drop(unsafe { Box::from_raw(self.object) });
        device::close(self.device);
    }
}

/// A file as the host program sees it. Dropping it sends IRP_MJ_CLEANUP; IRP_MJ_CLOSE follows when no request is pending.
#[derive(Clone)]
pub struct File {
    shared: Arc<Shared>,
}

/// What the clones of a file share.
struct Shared {
    handle: Arc<Closing>,
}

/// Closes the handle.
struct Closing(Handle);

impl Drop for Shared {
    fn drop(&mut self) {
        Request::send(&self.handle.0, IRP_MJ_CLEANUP, 0, &[], 0).wait();
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        Request::send(&self.0, IRP_MJ_CLOSE, 0, &[], 0).wait();
        self.0.release();
    }
}

/// Opens a path such as `\\.\TfoProbe`.
pub(crate) fn open(path: &str) -> Result<File, NTSTATUS> {
    cpu::processor();
    let device = device::open(path)?;
    // SAFETY: a file object is plain data, for which zero is valid.
    let mut object: Box<FILE_OBJECT> = unsafe { Box::new(std::mem::zeroed()) };
    object.Type = FILE_TYPE;
    object.Size = size_of::<FILE_OBJECT>() as i16;
    object.DeviceObject = device;
    let handle = Handle { device, object: Box::into_raw(object) };
    let (status, ..) = Request::send(&handle, IRP_MJ_CREATE, 0, &[], 0).wait();
    if !NT_SUCCESS(status) {
        handle.release();
        return Err(status);
    }
    Ok(File { shared: Arc::new(Shared { handle: Arc::new(Closing(handle)) }) })
}

impl File {
    /// Closes the handle; the file object stays open.
    pub(crate) fn into_object(self) -> FileObject {
        FileObject(self.shared.handle.clone())
    }

    /// Sends a control code and waits; the output is copied as far as the driver's information and `output` reach. Returns
    /// the status and the information.
    pub fn ioctl(&self, code: u32, input: &[u8], output: &mut [u8]) -> (NTSTATUS, usize) {
        let request = Request::send(&self.shared.handle.0, IRP_MJ_DEVICE_CONTROL, code, input, output.len());
        let (status, information, bytes) = request.wait();
        output[..bytes.len()].copy_from_slice(&bytes);
        (status, information)
    }

    /// Sends a control code and does not wait.
    pub fn ioctl_start(&self, code: u32, input: Vec<u8>, output_len: usize) -> Pending {
        let handle = self.shared.handle.clone();
        let request = Request::send(&handle.0, IRP_MJ_DEVICE_CONTROL, code, &input, output_len);
        Pending { request, _handle: handle }
    }
}

/// A file object without a handle. Dropping it sends IRP_MJ_CLOSE.
pub(crate) struct FileObject(Arc<Closing>);

impl FileObject {
    /// Where it is.
    pub(crate) fn address(&self) -> *mut FILE_OBJECT {
        self.0.0.object
    }

    /// The device that it is open on.
    pub(crate) fn device(&self) -> *mut DEVICE_OBJECT {
        self.0.0.device
    }
}

/// A request that may be pending. Dropping it cancels it and waits, as the end of a thread does on Windows.
pub struct Pending {
    request: Arc<Request>,
    /// Keeps the file object until the request is complete.
    _handle: Arc<Closing>,
}

impl Pending {
    /// Whether the driver has completed it.
    pub fn is_done(&self) -> bool {
        self.request.is_done()
    }

    /// Asks the driver to cancel it (IoCancelIrp); it still completes, with whatever status the driver chooses.
    pub fn cancel(&self) {
        self.request.cancel();
    }

    /// Waits; returns the status and the output.
    pub fn wait(self) -> (NTSTATUS, Vec<u8>) {
        let (status, _, output) = self.request.wait();
        (status, output)
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.request.cancel();
        self.request.wait();
    }
}
