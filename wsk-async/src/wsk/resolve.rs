//! Name resolution. The provider's list of results may be given back at PASSIVE_LEVEL only, while an abandoned request can
//! complete at DISPATCH_LEVEL: a work item, allocated with the request, carries the list down.

use super::{Provider, RawAddress};
use crate::irp::{self, Request};
use crate::irql;
use crate::mem::NonPaged;
use crate::status::{NtStatus, Result};
use crate::time::Cancel;
use core::ffi::c_void;
use core::mem::ManuallyDrop;
use core::net::SocketAddr;
use core::ptr::{NonNull, null_mut};
use wsk_sys::*;

/// The addresses of a name, in the resolver's order of preference.
pub type Addresses = heapless::Vec<SocketAddr, 8>;

/// Longest name in UTF-16 units: what DNS allows.
const LONGEST: usize = 255;

/// Everything that the provider is pointed to, in a place of its own: it is too large to be moved about on a kernel stack.
struct Question {
    /// The result, null while there is none.
    first: *mut ADDRINFOEXW,
    /// Zero terminated, as WSK asks for.
    name: [u16; LONGEST + 1],
    name_string: UNICODE_STRING,
    hints: ADDRINFOEXW,
    port: u16,
    /// Holds the capture until the list is given back: a list must not outlive it. None once the provider dropped the IRP.
    provider: Option<Provider>,
    work_item: NonNull<IO_WORKITEM>,
}

// SAFETY: the pointers lead into the question itself, or to what it owns.
unsafe impl Send for Question {}

/// A question and its answer. Dropping it gives the answer back, at PASSIVE_LEVEL by the work item.
struct Resolve(ManuallyDrop<NonPaged<Question>>);

impl Resolve {
    fn new(provider: &Provider, host: &str, port: u16) -> Result<Self> {
        let device = provider.origin().device();
        if device.is_null() {
            return Err(NtStatus::INVALID_DEVICE_STATE);
        }
        // SAFETY: the device is the driver's own and outlives its operations.
        let work_item = unsafe { IoAllocateWorkItem(device) };
        let work_item = NonNull::new(work_item).ok_or(NtStatus::INSUFFICIENT_RESOURCES)?;
        let question = NonPaged::try_new(Question {
            first: null_mut(),
            name: [0; LONGEST + 1],
            name_string: UNICODE_STRING { Length: 0, MaximumLength: 0, Buffer: null_mut() },
            hints: ADDRINFOEXW {
                ai_flags: 0,
                ai_family: i32::from(AF_UNSPEC),
                ai_socktype: i32::from(SOCK_STREAM),
                ai_protocol: IPPROTO_TCP as i32,
                ai_addrlen: 0,
                ai_canonname: null_mut(),
                ai_addr: null_mut(),
                ai_blob: null_mut(),
                ai_bloblen: 0,
                ai_provider: null_mut(),
                ai_next: null_mut(),
            },
            port,
            provider: Some(provider.clone()),
            work_item,
        });
        let mut this = match question {
            Ok(question) => Self(ManuallyDrop::new(question)),
            Err(status) => {
                // SAFETY: it is not queued.
                unsafe { IoFreeWorkItem(work_item.as_ptr()) };
                return Err(status);
            }
        };
        this.set_name(host)?;
        Ok(this)
    }

    fn set_name(&mut self, host: &str) -> Result<()> {
        let question = &mut **self.0;
        let mut length = 0;
        for unit in host.encode_utf16() {
            match question.name.get_mut(..LONGEST).and_then(|room| room.get_mut(length)) {
                Some(place) if unit != 0 => *place = unit,
                _ => return Err(NtStatus::OBJECT_NAME_INVALID),
            }
            length += 1;
        }
        let bytes = (length * size_of::<u16>()) as u16;
        question.name_string.Length = bytes;
        question.name_string.MaximumLength = bytes + size_of::<u16>() as u16;
        question.name_string.Buffer = (&raw mut question.name).cast();
        Ok(())
    }

    fn addresses(&self) -> Addresses {
        let mut addresses = Addresses::new();
        let mut next = self.0.first;
        // SAFETY: the list is the provider's and valid until it is given back; lengths are checked before reading.
        while let Some(info) = unsafe { next.as_ref() } {
            let mut raw = RawAddress::EMPTY;
            if !info.ai_addr.is_null() && info.ai_addrlen <= size_of::<RawAddress>() {
                // SAFETY: as above.
                unsafe { raw.as_mut_ptr().cast::<u8>().copy_from(info.ai_addr.cast(), info.ai_addrlen) };
            }
            if let Some(mut address) = raw.get() {
                address.set_port(self.0.port);
                if addresses.push(address).is_err() {
                    break;
                }
            }
            next = info.ai_next;
        }
        addresses
    }
}

impl Question {
    /// Gives everything back. IRQL: PASSIVE_LEVEL if there is a list.
    fn release(question: NonPaged<Self>) {
        // SAFETY: the list came from this provider and is given back once; the work item is not queued, or this is its own
        // routine.
        unsafe {
            if let Some(provider) = question.provider.as_ref().filter(|_| !question.first.is_null()) {
                ((*provider.dispatch()).WskFreeAddressInfo)(provider.client(), question.first);
            }
            IoFreeWorkItem(question.work_item.as_ptr());
        }
    }
}

impl Drop for Resolve {
    fn drop(&mut self) {
        // SAFETY: a value is dropped once, so its question is taken out once.
        let question = unsafe { ManuallyDrop::take(&mut self.0) };
        if question.first.is_null() || irql::current() == PASSIVE_LEVEL {
            Question::release(question);
            return;
        }
        let work_item = question.work_item.as_ptr();
        let context = question.into_raw().as_ptr().cast();
        // SAFETY: the work item is the question's own and not queued; its routine takes the ownership over.
        unsafe { IoQueueWorkItem(work_item, release_at_passive, DelayedWorkQueue, context) };
    }
}

unsafe extern "system" fn release_at_passive(_: *mut DEVICE_OBJECT, question: *mut c_void) {
    if let Some(question) = NonNull::new(question.cast::<Question>()) {
        // SAFETY: `Resolve::drop` gave the ownership to this routine.
        Question::release(unsafe { NonPaged::from_raw(question) });
    }
}

// SAFETY: all that the provider is pointed to lies in the question, which the request owns; the provider is captured as
// long as it lives. The IRP goes to it once.
unsafe impl Request for Resolve {
    type Output = Result<Addresses>;

    unsafe fn submit(this: *mut Self, irp: *mut IRP) -> NTSTATUS {
        // SAFETY: the question has a place of its own.
        unsafe {
            let question: *mut Question = &raw mut **(*this).0;
            let Some(provider) = &(*question).provider else { return STATUS_INVALID_DEVICE_STATE };
            ((*provider.dispatch()).WskGetAddressInfo)(
                provider.client(),
                &raw mut (*question).name_string,
                null_mut(),
                NS_ALL,
                null_mut(),
                &raw mut (*question).hints,
                &raw mut (*question).first,
                null_mut(),
                null_mut(),
                irp,
            )
        }
    }

    fn finish(mut self, result: Result<usize>) -> Result<Addresses> {
        if let Err(status) = result {
            // Nothing came, whatever the cell holds.
            self.0.first = null_mut();
            return Err(status);
        }
        let addresses = self.addresses();
        if addresses.is_empty() { Err(NtStatus::NO_MATCH) } else { Ok(addresses) }
    }

    fn claimed(status: NtStatus) -> Option<Self::Output> {
        Some(Err(status))
    }

    unsafe fn release(this: *mut Self) {
        // SAFETY: the question has a place of its own, and the provider was not pointed to its capture.
        unsafe {
            let question: *mut Question = &raw mut **(*this).0;
            drop((*question).provider.take());
        }
    }
}

// Not inlined: what it needs of the stack is not needed by the task that waits.
#[inline(never)]
pub(super) fn resolve(
    provider: &Provider,
    host: &str,
    port: u16,
) -> Result<impl Cancel<Output = Result<Addresses>> + 'static> {
    Ok(irp::start(provider.origin(), Resolve::new(provider, host, port)?))
}
