//! The registry, as far as drivers read it: keys with values. What is in it the host program says, before the start; each
//! loaded driver also has the key of its service.

use crate::cpu::current;
use crate::device;
use crate::driver::Slot;
use crate::rules;
use crate::sched::Mutex;
use crate::system::system;
use crate::verifier::{require_irql, violation};
use std::collections::{BTreeMap, HashMap};
use std::ffi::c_void;
use std::mem::offset_of;
use wsk_sys::*;

/// Where the services are, of which a driver is one.
const SERVICES: &str = r"\Registry\Machine\System\CurrentControlSet\Services";
/// First handle of a key; they are multiples of four, and no thread's.
const FIRST_HANDLE: usize = 0x9000_0004;

/// A value of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegistryValue {
    /// REG_DWORD.
    Dword(u32),
    /// REG_QWORD.
    Qword(u64),
    /// REG_SZ.
    Text(String),
    /// REG_MULTI_SZ.
    Texts(Vec<String>),
    /// REG_BINARY.
    Binary(Vec<u8>),
}

impl RegistryValue {
    /// Its type and data.
    fn encode(&self) -> (u32, Vec<u8>) {
        let utf16 = |text: &str| -> Vec<u8> { text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect() };
        match self {
            RegistryValue::Dword(value) => (REG_DWORD, value.to_le_bytes().into()),
            RegistryValue::Qword(value) => (REG_QWORD, value.to_le_bytes().into()),
            RegistryValue::Text(text) => (REG_SZ, utf16(text)),
            RegistryValue::Texts(texts) => {
                (REG_MULTI_SZ, texts.iter().flat_map(|text| utf16(text)).chain([0, 0]).collect())
            }
            RegistryValue::Binary(bytes) => (REG_BINARY, bytes.clone()),
        }
    }
}

/// The values of a key by name. All names are in lower case, since they compare without case.
type Values = BTreeMap<String, (u32, Vec<u8>)>;

/// The registry.
#[derive(Default)]
pub(crate) struct Registry {
    keys: Mutex<BTreeMap<String, Values>>,
    open: Mutex<Open>,
}

/// Open handles, with their key and who opened them.
#[derive(Default)]
struct Open {
    handles: HashMap<usize, (String, Slot)>,
    made: usize,
}

impl Registry {
    /// Sets a value; makes its key, and those above it.
    pub(crate) fn set(&self, key: &str, name: &str, value: &RegistryValue) {
        let key = key.to_lowercase();
        let mut keys = self.keys.lock();
        for (end, _) in key.match_indices('\\').filter(|(end, _)| *end != 0) {
            keys.entry(key[..end].into()).or_default();
        }
        keys.entry(key).or_default().insert(name.to_lowercase(), value.encode());
    }

    /// Makes the key of a driver's service, as the service control manager does.
    pub(crate) fn add_service(&self, driver: &str) {
        const SERVICE_KERNEL_DRIVER: u32 = 1;
        const SERVICE_DEMAND_START: u32 = 3;
        const SERVICE_ERROR_NORMAL: u32 = 1;
        let key = service_key(driver);
        for (name, value) in
            [("Type", SERVICE_KERNEL_DRIVER), ("Start", SERVICE_DEMAND_START), ("ErrorControl", SERVICE_ERROR_NORMAL)]
        {
            self.set(&key, name, &RegistryValue::Dword(value));
        }
        self.set(&key, "ImagePath", &RegistryValue::Text(format!(r"\??\C:\{driver}.sys")));
    }
}

/// The key of a driver's service.
pub(crate) fn service_key(driver: &str) -> String {
    format!(r"{SERVICES}\{driver}")
}

/// Closes a handle; false if it is none of a key.
pub(crate) fn close(handle: HANDLE) -> bool {
    system().registry.open.lock().handles.remove(&(handle as usize)).is_some()
}

/// How many keys the drivers have open.
pub(crate) fn live_of_drivers() -> usize {
    system().registry.open.lock().handles.values().filter(|(_, owner)| *owner != Slot::HOST).count()
}

/// Stops the run if the driver has a key open.
pub(crate) fn unload_checks(driver: Slot) {
    let open = system().registry.open.lock();
    if let Some((handle, (key, _))) = open.handles.iter().find(|(_, (_, owner))| *owner == driver) {
        violation(&rules::LEAK_HANDLE, format_args!("the handle {handle:#x} to the key {key} is open"));
    }
}

/// # Safety
/// The pointers are valid.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn ZwOpenKey(
    KeyHandle: *mut HANDLE,
    _DesiredAccess: u32,
    ObjectAttributes: *const OBJECT_ATTRIBUTES,
) -> NTSTATUS {
    let _call = require_irql("ZwOpenKey", PASSIVE_LEVEL);
    // SAFETY: the caller's promise.
    let (attributes, name) = unsafe { (&*ObjectAttributes, device::to_string((*ObjectAttributes).ObjectName)) };
    if attributes.Length as usize != size_of::<OBJECT_ATTRIBUTES>() {
        return STATUS_INVALID_PARAMETER;
    }
    let registry = &system().registry;
    let mut open = registry.open.lock();
    let key = if attributes.RootDirectory.is_null() {
        if !name.starts_with('\\') {
            return STATUS_OBJECT_NAME_INVALID;
        }
        name
    } else {
        match open.handles.get(&(attributes.RootDirectory as usize)) {
            Some((root, _)) if name.is_empty() => root.clone(),
            Some((root, _)) => format!(r"{root}\{name}"),
            None => return STATUS_INVALID_HANDLE,
        }
    };
    let key = key.to_lowercase();
    if !registry.keys.lock().contains_key(&key) {
        return STATUS_OBJECT_NAME_NOT_FOUND;
    }
    let handle = FIRST_HANDLE + 4 * open.made;
    open.made += 1;
    open.handles.insert(handle, (key, current().driver.get()));
    // SAFETY: the caller's promise.
    unsafe { KeyHandle.write(handle as HANDLE) };
    STATUS_SUCCESS
}

/// # Safety
/// The pointers are valid, `KeyValueInformation` for `Length` bytes.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn ZwQueryValueKey(
    KeyHandle: HANDLE,
    ValueName: *const UNICODE_STRING,
    KeyValueInformationClass: KEY_VALUE_INFORMATION_CLASS,
    KeyValueInformation: *mut c_void,
    Length: u32,
    ResultLength: *mut u32,
) -> NTSTATUS {
    const HEAD: usize = offset_of!(KEY_VALUE_PARTIAL_INFORMATION, Data);
    let _call = require_irql("ZwQueryValueKey", PASSIVE_LEVEL);
    if KeyValueInformationClass != KeyValuePartialInformation {
        return STATUS_INVALID_PARAMETER;
    }
    let registry = &system().registry;
    let open = registry.open.lock();
    let Some((key, _)) = open.handles.get(&(KeyHandle as usize)) else { return STATUS_INVALID_HANDLE };
    // SAFETY: the caller's promise.
    let name = unsafe { device::to_string(ValueName) }.to_lowercase();
    let keys = registry.keys.lock();
    let Some((kind, data)) = keys.get(key).and_then(|values| values.get(&name)) else {
        return STATUS_OBJECT_NAME_NOT_FOUND;
    };
    let room = Length as usize;
    // SAFETY: the caller's promise; nothing is written beyond `Length`.
    unsafe {
        ResultLength.write((HEAD + data.len()) as u32);
        if room < HEAD {
            return STATUS_BUFFER_TOO_SMALL;
        }
        let head = [0, *kind, data.len() as u32];
        let out: *mut u8 = KeyValueInformation.cast();
        out.copy_from_nonoverlapping(head.as_ptr().cast(), HEAD);
        out.add(HEAD).copy_from_nonoverlapping(data.as_ptr(), data.len().min(room - HEAD));
    }
    if room < HEAD + data.len() { STATUS_BUFFER_OVERFLOW } else { STATUS_SUCCESS }
}
