//! The report in a file of the kernel's own system, as it grows: what is in it survives a crash of that system.

use crate::output;
use core::cell::Cell;
use core::mem::MaybeUninit;
use core::ptr::{null, null_mut};
use wsk_async::irql::Passive;
use wsk_async::mem::Array;
use wsk_async::status::{NtStatus, Result};
use wsk_async::sys::*;

/// Bytes written at once.
const CHUNK: usize = 512;

/// A file that is being written. Dropping it closes it.
pub(crate) struct LogFile {
    handle: HANDLE,
    /// How much of the report is in it.
    written: Cell<usize>,
    /// Nothing more is written after an error.
    failed: Cell<bool>,
}

impl LogFile {
    /// Makes a file, or empties one that exists. The path is the kernel's own: `\??\C:\kunit.ktap`.
    ///
    /// Errors: STATUS_INSUFFICIENT_RESOURCES and those of ZwCreateFile.
    pub(crate) fn create(_: &Passive, path: &str) -> Result<Self> {
        let mut units = Array::filled(0_u16, path.encode_utf16().count())?;
        units.iter_mut().zip(path.encode_utf16()).for_each(|(to, from)| *to = from);
        let bytes = u16::try_from(size_of_val(&*units)).map_err(|_| NtStatus::OBJECT_NAME_INVALID)?;
        let mut name = UNICODE_STRING { Length: bytes, MaximumLength: bytes, Buffer: units.as_mut_ptr() };
        let (mut attributes, mut status) = (MaybeUninit::uninit(), MaybeUninit::uninit());
        let mut handle = null_mut();
        let flags = OBJ_CASE_INSENSITIVE | OBJ_KERNEL_HANDLE;
        let options = FILE_SYNCHRONOUS_IO_NONALERT | FILE_NON_DIRECTORY_FILE | FILE_WRITE_THROUGH;
        // SAFETY: at PASSIVE_LEVEL; the structures live until the call has returned.
        NtStatus(unsafe {
            InitializeObjectAttributes(attributes.as_mut_ptr(), &mut name, flags, null_mut(), null_mut());
            ZwCreateFile(
                &mut handle,
                GENERIC_WRITE | SYNCHRONIZE,
                attributes.as_ptr(),
                status.as_mut_ptr(),
                null(),
                FILE_ATTRIBUTE_NORMAL,
                FILE_SHARE_READ,
                FILE_OVERWRITE_IF,
                options,
                null_mut(),
                0,
            )
        })
        .ok()?;
        Ok(Self { handle, written: Cell::new(0), failed: Cell::new(false) })
    }

    /// Writes what the report has gained.
    pub(crate) fn save(&self, _: &Passive) {
        let mut chunk = [0; CHUNK];
        while !self.failed.get() {
            let length = output::copy_from(self.written.get(), &mut chunk);
            if length == 0 {
                return;
            }
            let mut status = MaybeUninit::uninit();
            // SAFETY: at PASSIVE_LEVEL; an open handle of synchronous calls, and the chunk has that length.
            let written = NtStatus(unsafe {
                let (nothing, bytes) = (null_mut(), chunk.as_ptr().cast());
                ZwWriteFile(
                    self.handle,
                    nothing,
                    nothing,
                    nothing,
                    status.as_mut_ptr(),
                    bytes,
                    length as u32,
                    null(),
                    null(),
                )
            });
            self.written.set(self.written.get() + length);
            if !written.is_success() {
                self.failed.set(true);
                output::line(0, format_args!("# the file of the report: {written}"));
            }
        }
    }
}

impl Drop for LogFile {
    fn drop(&mut self) {
        // SAFETY: opened once, closed once; what was made at PASSIVE_LEVEL goes there.
        unsafe { ZwClose(self.handle) };
    }
}
