//! [`DeviceControl`]: a control code for any device object.

use super::Request;
use crate::mem::Buf;
use crate::status::{BufResult, NtStatus, Result};
use wsk_sys::{
    DEVICE_OBJECT, IRP, IRP_MJ_DEVICE_CONTROL, IRP_MJ_INTERNAL_DEVICE_CONTROL, IoGetNextIrpStackLocation,
    IofCallDriver, NTSTATUS,
};

/// A control code of `METHOD_BUFFERED` to a device object. The filled part of the buffer is the input, its whole capacity
/// the room for output; it comes back filled with the output, and on an error empty. IRQL: <= DISPATCH_LEVEL, if the device
/// below takes that. WDK page: IRP_MJ_DEVICE_CONTROL.
pub struct DeviceControl {
    device: *mut DEVICE_OBJECT,
    major: u8,
    code: u32,
    input_length: u32,
    buf: Buf,
}

// SAFETY: the device pointer is only handed to the I/O manager.
unsafe impl Send for DeviceControl {}

impl DeviceControl {
    /// A control code as programs send it.
    ///
    /// # Safety
    /// The device exists until the request has ended, and takes this code from the kernel with the buffer it is given.
    pub unsafe fn new(device: *mut DEVICE_OBJECT, code: u32, mut buf: Buf) -> Self {
        let input_length = buf.len() as u32;
        buf.set_len(buf.capacity());
        Self { device, major: IRP_MJ_DEVICE_CONTROL, code, input_length, buf }
    }

    /// The same as `IRP_MJ_INTERNAL_DEVICE_CONTROL`, which only drivers send.
    pub fn internal(self) -> Self {
        Self { major: IRP_MJ_INTERNAL_DEVICE_CONTROL, ..self }
    }
}

// SAFETY: the IRP goes to the device once, by IofCallDriver; the buffer is the request's own.
unsafe impl Request for DeviceControl {
    type Output = BufResult<usize, Buf>;

    fn stack_size(&self) -> i8 {
        // SAFETY: the device exists, as promised to `new`; the field does not change while it is open for requests.
        unsafe { (*self.device).StackSize }
    }

    unsafe fn submit(this: *mut Self, irp: *mut IRP) -> NTSTATUS {
        // SAFETY: until the call nobody else uses the request or the IRP.
        unsafe {
            let next = IoGetNextIrpStackLocation(irp);
            let buf = &mut (*this).buf;
            (*irp).SystemBuffer = buf.as_mut_ptr().cast();
            (*next).MajorFunction = (*this).major;
            let control = &raw mut (*next).Parameters.DeviceIoControl;
            (*control).OutputBufferLength = buf.len() as u32;
            (*control).InputBufferLength = (*this).input_length;
            (*control).IoControlCode = (*this).code;
            IofCallDriver((*this).device, irp)
        }
    }

    fn finish(mut self, result: Result<usize>) -> BufResult<usize, Buf> {
        self.buf.set_len(result.unwrap_or(0));
        BufResult(result, self.buf)
    }

    fn claimed(_: NtStatus) -> Option<BufResult<usize, Buf>> {
        None
    }
}
