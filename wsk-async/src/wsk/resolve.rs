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
pub type Addresses = heapless::Vec<SocketAddr, 16>;

/// Longest name in UTF-16 units: what DNS allows.
const LONGEST: usize = 255;

struct Resolve {
    list: List,
    /// Zero terminated, as WSK asks for.
    name: [u16; LONGEST + 1],
    name_string: UNICODE_STRING,
    hints: ADDRINFOEXW,
    port: u16,
}

// SAFETY: the pointers lead into the request itself or to what it owns.
unsafe impl Send for Resolve {}

/// A list of results, perhaps empty, and what it takes to give it back.
struct List(ManuallyDrop<NonPaged<Owned>>);

struct Owned {
    first: *mut ADDRINFOEXW,
    /// Holds the capture until the list is given back: a list must not outlive it.
    provider: Provider,
    work_item: NonNull<IO_WORKITEM>,
}

impl List {
    fn new(provider: &Provider) -> Result<Self> {
        // SAFETY: the device is the driver's own and outlives its operations.
        let work_item = unsafe { IoAllocateWorkItem(provider.origin().device()) };
        let work_item = NonNull::new(work_item).ok_or(NtStatus::INSUFFICIENT_RESOURCES)?;
        let owned = NonPaged::try_new(Owned { first: null_mut(), provider: provider.clone(), work_item });
        if owned.is_err() {
            // SAFETY: it is not queued.
            unsafe { IoFreeWorkItem(work_item.as_ptr()) };
        }
        owned.map(|owned| Self(ManuallyDrop::new(owned)))
    }

    fn addresses(&self, port: u16) -> Addresses {
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
                address.set_port(port);
                if addresses.push(address).is_err() {
                    break;
                }
            }
            next = info.ai_next;
        }
        addresses
    }
}

impl Owned {
    /// Gives everything back. IRQL: PASSIVE_LEVEL if there is a list.
    fn release(owned: NonPaged<Self>) {
        // SAFETY: the list came from this provider and is given back once; the work item is not queued, or this is its own
        // routine.
        unsafe {
            if !owned.first.is_null() {
                ((*owned.provider.dispatch()).WskFreeAddressInfo)(owned.provider.client(), owned.first);
            }
            IoFreeWorkItem(owned.work_item.as_ptr());
        }
    }
}

impl Drop for List {
    fn drop(&mut self) {
        // SAFETY: the list is dropped once, so its owner is taken out once.
        let owned = unsafe { ManuallyDrop::take(&mut self.0) };
        if owned.first.is_null() || irql::current() == PASSIVE_LEVEL {
            Owned::release(owned);
            return;
        }
        let work_item = owned.work_item.as_ptr();
        let context = owned.into_raw().as_ptr().cast();
        // SAFETY: the work item is the list's own and not queued; its routine takes the ownership over.
        unsafe { IoQueueWorkItem(work_item, release_at_passive, DelayedWorkQueue, context) };
    }
}

unsafe extern "system" fn release_at_passive(_: *mut DEVICE_OBJECT, owned: *mut c_void) {
    if let Some(owned) = NonNull::new(owned.cast::<Owned>()) {
        // SAFETY: `List::drop` gave the ownership to this routine.
        Owned::release(unsafe { NonPaged::from_raw(owned) });
    }
}

// SAFETY: name, hints and the result's cell lie in the block with the request; the provider is captured by the list.
unsafe impl Request for Resolve {
    type Output = Result<Addresses>;

    unsafe fn submit(this: *mut Self, irp: *mut IRP) -> NTSTATUS {
        // SAFETY: the request is pinned in its block, so the string's pointer into it stays valid.
        unsafe {
            (*this).name_string.Buffer = (&raw mut (*this).name).cast();
            let list: *mut Owned = &raw mut **(*this).list.0;
            let provider = &(*list).provider;
            ((*provider.dispatch()).WskGetAddressInfo)(
                provider.client(),
                &raw mut (*this).name_string,
                null_mut(),
                NS_ALL,
                null_mut(),
                &raw mut (*this).hints,
                &raw mut (*list).first,
                null_mut(),
                null_mut(),
                irp,
            )
        }
    }

    fn finish(mut self, result: Result<usize>) -> Result<Addresses> {
        if let Err(status) = result {
            // Nothing came, whatever the cell holds.
            self.list.0.first = null_mut();
            return Err(status);
        }
        let addresses = self.list.addresses(self.port);
        if addresses.is_empty() { Err(NtStatus::NO_MATCH) } else { Ok(addresses) }
    }

    fn claimed(status: NtStatus) -> Option<Self::Output> {
        Some(Err(status))
    }
}

pub(super) fn resolve(
    provider: &Provider,
    host: &str,
    port: u16,
) -> Result<impl Cancel<Output = Result<Addresses>> + 'static> {
    let mut name = [0; LONGEST + 1];
    let mut length = 0;
    for unit in host.encode_utf16() {
        match name.get_mut(..LONGEST).and_then(|room| room.get_mut(length)) {
            Some(place) if unit != 0 => *place = unit,
            _ => return Err(NtStatus::OBJECT_NAME_INVALID),
        }
        length += 1;
    }
    let bytes = (length * size_of::<u16>()) as u16;
    let hints = ADDRINFOEXW {
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
    };
    let name_string = UNICODE_STRING { Length: bytes, MaximumLength: bytes + 2, Buffer: null_mut() };
    let list = List::new(provider)?;
    Ok(irp::start(provider.origin(), Resolve { list, name, name_string, hints, port }))
}
