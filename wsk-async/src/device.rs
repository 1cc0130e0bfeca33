//! A control device: a name that user mode opens, and control codes that are async functions.

use crate::irp::IncomingIrp;
use crate::irql::Passive;
use crate::status::{NtStatus, Result};
use core::ptr::{NonNull, null_mut};
use core::slice;
use wsk_sys::*;

/// Longest name of a device, in characters.
const LONGEST_NAME: usize = 64;
const NAME_SPACE: &str = r"\Device\";
const LINK_SPACE: &str = r"\DosDevices\";

/// A control device and the symbolic link that user mode opens it by. Dropping it removes both; IRQL: PASSIVE_LEVEL.
pub(crate) struct ControlDevice {
    device: NonNull<DEVICE_OBJECT>,
    name: Name,
    linked: bool,
}

// SAFETY: devices belong to no thread.
unsafe impl Send for ControlDevice {}

type Name = heapless::Vec<u16, { LONGEST_NAME + LINK_SPACE.len() }>;

/// A name in a part of the object tree.
fn full_name(space: &str, name: &str) -> Result<Name> {
    let mut full = Name::new();
    for unit in space.encode_utf16().chain(name.encode_utf16()) {
        full.push(unit).map_err(|_| NtStatus::OBJECT_NAME_INVALID)?;
    }
    Ok(full)
}

fn unicode(name: &Name) -> UNICODE_STRING {
    let bytes = size_of_val(name.as_slice()) as u16;
    UNICODE_STRING { Length: bytes, MaximumLength: bytes, Buffer: name.as_ptr().cast_mut() }
}

impl ControlDevice {
    /// Makes `\Device\NAME`, with an extension of one pointer, initially null. It cannot be opened by user mode yet.
    ///
    /// Errors: STATUS_OBJECT_NAME_INVALID, STATUS_OBJECT_NAME_COLLISION, STATUS_INSUFFICIENT_RESOURCES. WDK page:
    /// IoCreateDevice.
    ///
    /// # Safety
    /// `driver` is the driver object of the running DriverEntry.
    pub(crate) unsafe fn new(_: &Passive, driver: *mut DRIVER_OBJECT, name: &str) -> Result<Self> {
        let device_name = full_name(NAME_SPACE, name)?;
        let name = full_name(LINK_SPACE, name)?;
        let mut device = null_mut();
        // SAFETY: the caller's promise; the name lives through the call.
        let status = unsafe {
            IoCreateDevice(
                driver,
                size_of::<*mut ()>() as u32,
                &unicode(&device_name),
                FILE_DEVICE_UNKNOWN,
                FILE_DEVICE_SECURE_OPEN,
                FALSE,
                &mut device,
            )
        };
        NtStatus(status).ok()?;
        let device = NonNull::new(device).ok_or(NtStatus::UNSUCCESSFUL)?;
        Ok(Self { device, name, linked: false })
    }

    pub(crate) fn as_ptr(&self) -> *mut DEVICE_OBJECT {
        self.device.as_ptr()
    }

    /// Opens the device to user mode as `\\.\NAME`: everything must be ready to serve by then.
    ///
    /// Errors: STATUS_OBJECT_NAME_COLLISION, STATUS_INSUFFICIENT_RESOURCES. WDK page: IoCreateSymbolicLink.
    pub(crate) fn link(&mut self, _: &Passive, device_name: &str) -> Result<()> {
        let target = full_name(NAME_SPACE, device_name)?;
        // SAFETY: both names live through the call.
        NtStatus(unsafe { IoCreateSymbolicLink(&unicode(&self.name), &unicode(&target)) }).ok()?;
        self.linked = true;
        Ok(())
    }

    /// Closes the device to user mode.
    pub(crate) fn unlink(&mut self) {
        if core::mem::take(&mut self.linked) {
            // SAFETY: the name lives through the call.
            unsafe { IoDeleteSymbolicLink(&unicode(&self.name)) };
        }
    }
}

impl Drop for ControlDevice {
    fn drop(&mut self) {
        self.unlink();
        // SAFETY: the device is this driver's own and nothing of the driver uses it any more (I17).
        unsafe { IoDeleteDevice(self.device.as_ptr()) };
    }
}

/// The pointer that a device's extension holds.
///
/// # Safety
/// `device` was made by [`ControlDevice::new`].
pub(crate) unsafe fn extension<T>(device: *mut DEVICE_OBJECT) -> *mut *mut T {
    // SAFETY: the caller's promise.
    unsafe { (*device).DeviceExtension.cast() }
}

/// A control code from user mode, being served. WDK page: IRP_MJ_DEVICE_CONTROL.
///
/// Only METHOD_BUFFERED codes arrive here, so input and output are one buffer in kernel memory: the input is gone where
/// output was written. User mode cannot change it meanwhile. IRQL of its methods: <= DISPATCH_LEVEL.
pub struct Ioctl {
    irp: IncomingIrp,
    code: u32,
    buffer: *mut u8,
    input: usize,
    output: usize,
    /// How much of the buffer is initialised.
    initialised: usize,
}

// SAFETY: the buffer belongs to the IRP, which belongs to this request.
unsafe impl Send for Ioctl {}

impl Ioctl {
    /// Whether a request can become an [`Ioctl`]: its code says METHOD_BUFFERED.
    ///
    /// # Safety
    /// `irp` is the IRP of the running IRP_MJ_DEVICE_CONTROL dispatch routine.
    pub(crate) unsafe fn is_buffered(irp: NonNull<IRP>) -> bool {
        // SAFETY: the caller's promise.
        unsafe {
            (*IoGetCurrentIrpStackLocation(irp.as_ptr())).Parameters.DeviceIoControl.IoControlCode & 3
                == METHOD_BUFFERED
        }
    }

    /// # Safety
    /// `incoming` pends an IRP for which [`Ioctl::is_buffered`] holds.
    pub(crate) unsafe fn new(incoming: IncomingIrp) -> Self {
        // SAFETY: the IRP is pended, hence ours; the parameters are those of a device control.
        unsafe {
            let irp = incoming.irp();
            let parameters = (*IoGetCurrentIrpStackLocation(irp)).Parameters.DeviceIoControl;
            let buffer = (*irp).SystemBuffer.cast();
            Self {
                irp: incoming,
                code: parameters.IoControlCode,
                buffer,
                input: parameters.InputBufferLength as usize,
                output: parameters.OutputBufferLength as usize,
                initialised: parameters.InputBufferLength as usize,
            }
        }
    }

    /// The control code.
    pub fn code(&self) -> u32 {
        self.code
    }

    /// The input.
    pub fn input(&self) -> &[u8] {
        if self.buffer.is_null() {
            return &[];
        }
        // SAFETY: the I/O manager allocated the system buffer for the larger of both lengths and filled in the input; it is
        // ours until the request is completed.
        unsafe { slice::from_raw_parts(self.buffer, self.input) }
    }

    /// Room for the output. It holds what it held before: the input, then zeros.
    pub fn output(&mut self) -> &mut [u8] {
        if self.buffer.is_null() {
            return &mut [];
        }
        if let Some(rest) = self.output.checked_sub(self.initialised) {
            // SAFETY: as in `input`. The I/O manager does not initialise what lies behind the input.
            unsafe { self.buffer.add(self.initialised).write_bytes(0, rest) };
            self.initialised = self.output;
        }
        // SAFETY: as in `input`, and all of it is initialised.
        unsafe { slice::from_raw_parts_mut(self.buffer, self.output) }
    }

    /// How many bytes of output there is room for.
    pub fn output_len(&self) -> usize {
        self.output
    }

    pub(crate) fn serve(&mut self) {
        self.irp.serve();
    }

    /// Completes the request with the number of bytes of output, or an error.
    pub(crate) fn complete(mut self, result: Result<usize>) {
        match result {
            Ok(bytes) => {
                let bytes = bytes.min(self.output);
                if bytes > self.initialised {
                    // What was not written goes to user mode as zeros, not as what the pool held.
                    self.output();
                }
                self.irp.complete(NtStatus::SUCCESS, bytes);
            }
            Err(status) => self.irp.complete(status.or_unsuccessful(), 0),
        }
    }
}
