//! The five functions that `netio.sys` exports.

use super::client::Client;
use super::{Provider, lock, provider, rules};
use crate::fault::{self, Operation};
use crate::verifier::{self, require_irql};
use std::sync::Arc;
use std::time::Duration;
use wsk_sys::{
    DISPATCH_LEVEL, NTSTATUS, PASSIVE_LEVEL, STATUS_DEVICE_NOT_READY, STATUS_INVALID_PARAMETER, STATUS_SUCCESS,
    WSK_CLIENT_NPI, WSK_INFINITE_WAIT, WSK_NO_WAIT, WSK_PROVIDER_CHARACTERISTICS, WSK_PROVIDER_NPI, WSK_REGISTRATION,
    WSK_VERSION_1_0,
};

/// `ReservedRegistrationState` of a block whose registration has ended.
const ENDED: u64 = u64::from_be_bytes(*b"wskended");

/// # Safety
/// The contract of `WskRegister`.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn WskRegister(npi: *mut WSK_CLIENT_NPI, registration: *mut WSK_REGISTRATION) -> NTSTATUS {
    let _call = require_irql("WskRegister", PASSIVE_LEVEL);
    if npi.is_null() || registration.is_null() {
        return STATUS_INVALID_PARAMETER;
    }
    // SAFETY: the contract of the function: both are valid.
    let version = unsafe {
        let dispatch = (*npi).Dispatch;
        if dispatch.is_null() {
            return STATUS_INVALID_PARAMETER;
        }
        (*dispatch).Version
    };
    if let Some(status) = fault::failure(Operation::Register) {
        return status;
    }
    let provider = provider("WskRegister");
    let client = Arc::new(Client::new(&provider, registration as usize, version));
    {
        let mut clients = lock(&provider.clients);
        if clients.iter().any(|client| client.block == registration as usize) {
            verifier::violation(
                &rules::REGISTRATION_TWICE,
                format_args!("WskRegister with the block at {registration:p}"),
            );
        }
        clients.push(Arc::clone(&client));
    }
    client.look_for_provider();
    // SAFETY: the contract of the function.
    unsafe {
        registration.write(WSK_REGISTRATION {
            ReservedRegistrationState: 0,
            ReservedRegistrationContext: client.pointer(),
            ReservedRegistrationLock: 0,
        });
    }
    STATUS_SUCCESS
}

/// # Safety
/// The contract of `WskCaptureProviderNPI`.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn WskCaptureProviderNPI(
    registration: *mut WSK_REGISTRATION,
    timeout: u32,
    npi: *mut WSK_PROVIDER_NPI,
) -> NTSTATUS {
    let name = "WskCaptureProviderNPI";
    let highest = if timeout == WSK_NO_WAIT { DISPATCH_LEVEL } else { PASSIVE_LEVEL };
    let _call = require_irql(name, highest);
    let provider = provider(name);
    // SAFETY: the contract of the function.
    let Some(client) = (unsafe { find_or_ended(&provider, registration, name) }) else {
        return STATUS_DEVICE_NOT_READY;
    };
    let limit = match timeout {
        WSK_INFINITE_WAIT => None,
        milliseconds => Some(Duration::from_millis(milliseconds.into())),
    };
    if let Some(status) = fault::failure(Operation::Capture) {
        return status;
    }
    match client.capture(limit) {
        Ok(captured) => {
            // SAFETY: the contract of the function.
            unsafe { npi.write(captured) };
            STATUS_SUCCESS
        }
        Err(status) => status,
    }
}

/// # Safety
/// The contract of `WskReleaseProviderNPI`.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn WskReleaseProviderNPI(registration: *mut WSK_REGISTRATION) {
    let _call = require_irql("WskReleaseProviderNPI", DISPATCH_LEVEL);
    find(&provider("WskReleaseProviderNPI"), registration, "WskReleaseProviderNPI").release();
}

/// # Safety
/// The contract of `WskQueryProviderCharacteristics`.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn WskQueryProviderCharacteristics(
    registration: *mut WSK_REGISTRATION,
    characteristics: *mut WSK_PROVIDER_CHARACTERISTICS,
) -> NTSTATUS {
    let name = "WskQueryProviderCharacteristics";
    let _call = require_irql(name, DISPATCH_LEVEL);
    let provider = provider(name);
    // SAFETY: the contract of the function.
    let client = unsafe { find_or_ended(&provider, registration, name) };
    if !client.is_some_and(|client| client.provider_is_there()) {
        return STATUS_DEVICE_NOT_READY;
    }
    if let Some(status) = fault::failure(Operation::QueryProvider) {
        return status;
    }
    let versions = WSK_PROVIDER_CHARACTERISTICS { HighestVersion: WSK_VERSION_1_0, LowestVersion: WSK_VERSION_1_0 };
    // SAFETY: the contract of the function.
    unsafe { characteristics.write(versions) };
    STATUS_SUCCESS
}

/// # Safety
/// The contract of `WskDeregister`.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn WskDeregister(registration: *mut WSK_REGISTRATION) {
    let _call = require_irql("WskDeregister", PASSIVE_LEVEL);
    let provider = provider("WskDeregister");
    let client = find(&provider, registration, "WskDeregister");
    client.deregister();
    // SAFETY: the contract of the function: the block is still the caller's registration.
    unsafe {
        (*registration).ReservedRegistrationContext = std::ptr::null_mut();
        (*registration).ReservedRegistrationState = ENDED;
    }
    lock(&provider.clients).retain(|other| !Arc::ptr_eq(other, &client));
}

/// The client of a live registration.
fn find(provider: &Provider, registration: *mut WSK_REGISTRATION, call: &'static str) -> Arc<Client> {
    let clients = lock(&provider.clients);
    let found = clients.iter().find(|client| client.block == registration as usize).cloned();
    found.unwrap_or_else(|| {
        let detail = format_args!("{call} with the block at {registration:p}, which is not registered");
        verifier::violation(&rules::REGISTRATION_BAD, detail)
    })
}

/// As [`find`], for a call that is legal when the registration has ended: none then.
///
/// # Safety
/// `registration` is a block that WskRegister has filled in.
unsafe fn find_or_ended(
    provider: &Provider,
    registration: *mut WSK_REGISTRATION,
    call: &'static str,
) -> Option<Arc<Client>> {
    let clients = lock(&provider.clients);
    if let Some(client) = clients.iter().find(|client| client.block == registration as usize) {
        return Some(Arc::clone(client));
    }
    drop(clients);
    // SAFETY: the caller's promise; an ended registration's block is still intact.
    if !registration.is_null() && unsafe { (*registration).ReservedRegistrationState } == ENDED {
        return None;
    }
    let detail = format_args!("{call} with the block at {registration:p}, which was never registered");
    verifier::violation(&rules::REGISTRATION_BAD, detail)
}
