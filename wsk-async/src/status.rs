//! Results: [`NtStatus`] with the names and meanings of `ntstatus.h`, [`Result`], and [`BufResult`] for operations that own
//! a buffer.

use core::fmt;
use wsk_sys::NTSTATUS;

/// A status of the kernel: severity, facility and code. WDK page: Using NTSTATUS Values.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct NtStatus(pub NTSTATUS);

/// The result of an operation: an error is an [`NtStatus`] that is not a success.
pub type Result<T> = core::result::Result<T, NtStatus>;

macro_rules! named {
    ($($name:ident = $constant:ident;)*) => {
        impl NtStatus {
            $(#[doc = concat!("`", stringify!($constant), "`: see [`wsk_sys::", stringify!($constant), "`].")]
            pub const $name: Self = Self(wsk_sys::$constant);)*
        }
    };
}

named! {
    SUCCESS = STATUS_SUCCESS;
    TIMEOUT = STATUS_TIMEOUT;
    PENDING = STATUS_PENDING;
    BUFFER_OVERFLOW = STATUS_BUFFER_OVERFLOW;
    DEVICE_BUSY = STATUS_DEVICE_BUSY;
    UNSUCCESSFUL = STATUS_UNSUCCESSFUL;
    NOT_IMPLEMENTED = STATUS_NOT_IMPLEMENTED;
    INVALID_PARAMETER = STATUS_INVALID_PARAMETER;
    INVALID_DEVICE_REQUEST = STATUS_INVALID_DEVICE_REQUEST;
    END_OF_FILE = STATUS_END_OF_FILE;
    MORE_PROCESSING_REQUIRED = STATUS_MORE_PROCESSING_REQUIRED;
    BUFFER_TOO_SMALL = STATUS_BUFFER_TOO_SMALL;
    REVISION_MISMATCH = STATUS_REVISION_MISMATCH;
    INSUFFICIENT_RESOURCES = STATUS_INSUFFICIENT_RESOURCES;
    DEVICE_NOT_READY = STATUS_DEVICE_NOT_READY;
    IO_TIMEOUT = STATUS_IO_TIMEOUT;
    FILE_FORCED_CLOSED = STATUS_FILE_FORCED_CLOSED;
    NOT_SUPPORTED = STATUS_NOT_SUPPORTED;
    INVALID_BUFFER_SIZE = STATUS_INVALID_BUFFER_SIZE;
    DATA_ERROR = STATUS_DATA_ERROR;
    DELETE_PENDING = STATUS_DELETE_PENDING;
    CANCELLED = STATUS_CANCELLED;
    INVALID_ADDRESS = STATUS_INVALID_ADDRESS;
    INVALID_DEVICE_STATE = STATUS_INVALID_DEVICE_STATE;
    CONNECTION_RESET = STATUS_CONNECTION_RESET;
    CONNECTION_REFUSED = STATUS_CONNECTION_REFUSED;
    NO_MATCH = STATUS_NO_MATCH;
    NOT_FOUND = STATUS_NOT_FOUND;
    OBJECT_NAME_INVALID = STATUS_OBJECT_NAME_INVALID;
}

impl NtStatus {
    /// Whether it counts as a success. `STATUS_PENDING` and `STATUS_TIMEOUT` do; no operation of this crate returns them.
    #[inline]
    pub const fn is_success(self) -> bool {
        wsk_sys::NT_SUCCESS(self.0)
    }

    /// `Ok` for a success.
    #[inline]
    pub const fn ok(self) -> Result<()> {
        if self.is_success() { Ok(()) } else { Err(self) }
    }

    /// The status, or STATUS_UNSUCCESSFUL in place of one that counts as a success: for an error on its way out.
    pub(crate) const fn or_unsuccessful(self) -> Self {
        if self.is_success() { Self::UNSUCCESSFUL } else { self }
    }

    /// Its name in `ntstatus.h`, if it is one of those that this crate knows.
    pub fn name(self) -> Option<&'static str> {
        self.info().map(|info| info.name)
    }

    /// What it means, as half a sentence.
    pub fn meaning(self) -> Option<&'static str> {
        self.info().map(|info| info.meaning)
    }

    fn info(self) -> Option<&'static wsk_sys::StatusInfo> {
        wsk_sys::STATUS_TABLE.iter().find(|info| info.value == self.0)
    }
}

impl fmt::Display for NtStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "0x{:08X}", self.0),
        }
    }
}

impl fmt::Debug for NtStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl core::error::Error for NtStatus {}

/// The result of an operation that owned a buffer while it was in flight, and the buffer, which comes back in any case.
#[must_use]
#[derive(Debug)]
pub struct BufResult<T, B>(pub Result<T>, pub B);

impl<T, B> BufResult<T, B> {
    /// Maps the success value.
    #[inline]
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> BufResult<U, B> {
        BufResult(self.0.map(f), self.1)
    }
}
