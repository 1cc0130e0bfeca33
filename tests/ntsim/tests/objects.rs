//! What drivers rely on about objects that the host program or another driver has made: the registry, devices by their name,
//! references; and IRPs in memory of their own.

mod support;

use ntsim::{Kernel, RegistryValue};
use std::ffi::c_void;
use std::mem::{MaybeUninit, offset_of};
use std::ptr::{null, null_mut};
use std::sync::Mutex;
use support::*;
use wsk_sys::*;

/// Opens a key, relative to another or not.
fn open_key(root: HANDLE, path: &str) -> Result<HANDLE, NTSTATUS> {
    let path = Name::new(path);
    let (mut attributes, mut handle) = (MaybeUninit::uninit(), null_mut());
    // SAFETY: the structures are valid.
    let status = unsafe {
        let flags = OBJ_CASE_INSENSITIVE | OBJ_KERNEL_HANDLE;
        InitializeObjectAttributes(attributes.as_mut_ptr(), path.get().cast_mut(), flags, root, null_mut());
        ZwOpenKey(&mut handle, KEY_READ, attributes.as_ptr())
    };
    if status == STATUS_SUCCESS { Ok(handle) } else { Err(status) }
}

/// Reads a value into so much room: the status, the size needed, and what was written.
fn query(key: HANDLE, name: &str, room: usize) -> (NTSTATUS, u32, Vec<u8>) {
    let (mut buffer, mut needed) = (vec![0xEE; room + 4], 0);
    // SAFETY: the buffer has that room.
    let status = unsafe {
        let (name, class) = (Name::new(name), KeyValuePartialInformation);
        ZwQueryValueKey(key, name.get(), class, buffer.as_mut_ptr().cast(), room as u32, &mut needed)
    };
    assert_eq!(buffer.split_off(room), [0xEE; 4], "nothing is written beyond the room");
    (status, needed, buffer)
}

/// Type and data of a value.
fn value(key: HANDLE, name: &str) -> (u32, Vec<u8>) {
    let (status, needed, mut bytes) = query(key, name, 256);
    assert_eq!(status, STATUS_SUCCESS);
    bytes.truncate(needed as usize);
    let data = bytes.split_off(offset_of!(KEY_VALUE_PARTIAL_INFORMATION, Data));
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    assert_eq!((word(0), word(8)), (0, data.len() as u32));
    (word(4), data)
}

fn close(handle: HANDLE) {
    // SAFETY: an open handle.
    unsafe { assert_eq!(ZwClose(handle), STATUS_SUCCESS) };
}

#[test]
fn the_registry_is_what_the_host_program_says() {
    const KEY: &str = r"\Registry\Machine\Software\Test";
    let _kernel = Kernel::builder()
        .registry_value(KEY, "Number", RegistryValue::Dword(7))
        .registry_value(KEY, "Wide", RegistryValue::Qword(1 << 40))
        .registry_value(KEY, "Text", RegistryValue::Text("ab".into()))
        .registry_value(KEY, "Texts", RegistryValue::Texts(vec!["a".into(), "b".into()]))
        .registry_value(KEY, "", RegistryValue::Binary(vec![1, 2, 3]))
        .start();
    let key = open_key(null_mut(), KEY).unwrap();
    assert_eq!(value(key, "NUMBER"), (REG_DWORD, vec![7, 0, 0, 0]), "names have no case");
    assert_eq!(value(key, "Wide"), (REG_QWORD, vec![0, 0, 0, 0, 0, 1, 0, 0]));
    assert_eq!(value(key, "Text"), (REG_SZ, b"a\0b\0\0\0".into()));
    assert_eq!(value(key, "Texts"), (REG_MULTI_SZ, b"a\0\0\0b\0\0\0\0\0".into()));
    assert_eq!(value(key, ""), (REG_BINARY, vec![1, 2, 3]));
    assert_eq!(query(key, "Nothing", 64).0, STATUS_OBJECT_NAME_NOT_FOUND);

    let parent = open_key(null_mut(), r"\registry\MACHINE\software").unwrap();
    let same = open_key(parent, "test").unwrap();
    assert_eq!(value(same, "Number"), (REG_DWORD, vec![7, 0, 0, 0]));
    assert_eq!(open_key(parent, "other"), Err(STATUS_OBJECT_NAME_NOT_FOUND));
    assert_eq!(open_key(null_mut(), "Software"), Err(STATUS_OBJECT_NAME_INVALID));
    [same, parent, key].into_iter().for_each(close);
}

#[test]
fn a_value_says_how_much_room_it_needs() {
    let _kernel = Kernel::builder().registry_value(r"\Registry\A", "V", RegistryValue::Qword(0x11_2233)).start();
    let key = open_key(null_mut(), r"\Registry\A").unwrap();
    assert_eq!(query(key, "V", 11), (STATUS_BUFFER_TOO_SMALL, 20, vec![0xEE; 11]));
    let (status, needed, bytes) = query(key, "V", 14);
    assert_eq!((status, needed, &bytes[12..]), (STATUS_BUFFER_OVERFLOW, 20, [0x33, 0x22].as_slice()));
    assert_eq!(query(key, "V", 20).0, STATUS_SUCCESS);
    close(key);
}

/// The values that the driver below has found at its entry.
static FOUND: Mutex<Vec<(u32, Vec<u8>)>> = Mutex::new(Vec::new());

unsafe extern "system" fn read_own_key(driver: *mut DRIVER_OBJECT, path: *const UNICODE_STRING) -> NTSTATUS {
    // SAFETY: the arguments of an entry.
    let path = unsafe {
        (*driver).DriverUnload = Some(unload_nothing);
        String::from_utf16_lossy(std::slice::from_raw_parts((*path).Buffer, usize::from((*path).Length) / 2))
    };
    let service = open_key(null_mut(), &path).unwrap();
    let parameters = open_key(service, "Parameters").unwrap();
    FOUND.lock().unwrap().extend([value(service, "Type"), value(service, "Start"), value(parameters, "Retries")]);
    [parameters, service].into_iter().for_each(close);
    STATUS_SUCCESS
}

unsafe extern "system" fn unload_nothing(_: *mut DRIVER_OBJECT) {}

#[test]
fn a_driver_finds_its_parameters_below_its_registry_path() {
    let parameters = r"\Registry\Machine\System\CurrentControlSet\Services\reader\Parameters";
    let kernel = Kernel::builder().registry_value(parameters, "Retries", RegistryValue::Dword(3)).start();
    kernel.load("reader", read_own_key).unwrap().unload();
    let dword = |value: u8| (REG_DWORD, vec![value, 0, 0, 0]);
    assert_eq!(*FOUND.lock().unwrap(), [dword(1), dword(3), dword(3)]);
}

/// Opens a file for writing.
fn open_file(path: &str, disposition: u32) -> Result<HANDLE, NTSTATUS> {
    let path = Name::new(path);
    let (mut attributes, mut result, mut handle) = (MaybeUninit::uninit(), MaybeUninit::uninit(), null_mut());
    // SAFETY: the structures are valid.
    let status = unsafe {
        let nothing = null_mut();
        InitializeObjectAttributes(attributes.as_mut_ptr(), path.get().cast_mut(), OBJ_KERNEL_HANDLE, nothing, nothing);
        ZwCreateFile(
            &mut handle,
            GENERIC_WRITE | SYNCHRONIZE,
            attributes.as_ptr(),
            result.as_mut_ptr(),
            null(),
            FILE_ATTRIBUTE_NORMAL,
            FILE_SHARE_READ,
            disposition,
            FILE_SYNCHRONOUS_IO_NONALERT | FILE_NON_DIRECTORY_FILE,
            nothing,
            0,
        )
    };
    if status == STATUS_SUCCESS { Ok(handle) } else { Err(status) }
}

/// Writes, behind what was written last or at an offset.
fn write_file(file: HANDLE, text: &[u8], offset: Option<i64>) -> (NTSTATUS, usize) {
    let mut result = IO_STATUS_BLOCK { Status: STATUS_UNSUCCESSFUL, Information: 77 };
    let offset = offset.as_ref().map_or(null(), std::ptr::from_ref);
    // SAFETY: the buffer is valid.
    let status = unsafe {
        let (nothing, length) = (null_mut(), text.len() as u32);
        ZwWriteFile(file, nothing, nothing, nothing, &mut result, text.as_ptr().cast(), length, offset, null())
    };
    assert_eq!(status, result.Status);
    (status, result.Information)
}

#[test]
fn drive_c_is_a_folder_of_the_host() {
    let folder = tempfile::tempdir().unwrap();
    let _kernel = Kernel::builder().drive_c(folder.path()).start();
    let content = || std::fs::read_to_string(folder.path().join("Log.txt")).unwrap();
    let file = open_file(r"\??\c:\Log.txt", FILE_CREATE).unwrap();
    assert_eq!(write_file(file, b"one ", None), (STATUS_SUCCESS, 4));
    assert_eq!(write_file(file, b"two", None), (STATUS_SUCCESS, 3));
    assert_eq!(content(), "one two");
    assert_eq!(write_file(file, b"O", Some(0)), (STATUS_SUCCESS, 1));
    close(file);
    assert_eq!(content(), "One two");
    assert_eq!(open_file(r"\DosDevices\C:\Log.txt", FILE_CREATE), Err(STATUS_OBJECT_NAME_COLLISION));
    let file = open_file(r"\DosDevices\C:\Log.txt", FILE_OPEN).unwrap();
    assert_eq!(write_file(file, b"!", None), (STATUS_SUCCESS, 1));
    close(file);
    assert_eq!(content(), "!ne two");
    close(open_file(r"\??\C:\Log.txt", FILE_OVERWRITE_IF).unwrap());
    assert_eq!(content(), "");
    for nowhere in [r"\??\C:\nothing.txt", r"\??\D:\Log.txt", r"\??\C:\..\x", r"\??\C:\", r"\Device\Disk\Log.txt"] {
        assert_eq!(open_file(nowhere, FILE_OPEN), Err(STATUS_OBJECT_NAME_NOT_FOUND), "{nowhere}");
    }
}

/// The requests that the driver below was sent.
static REQUESTS: Mutex<Vec<(u8, KPROCESSOR_MODE)>> = Mutex::new(Vec::new());

unsafe extern "system" fn note(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: a dispatch routine owns its IRP.
    unsafe {
        let major = (*IoGetCurrentIrpStackLocation(irp)).MajorFunction;
        REQUESTS.lock().unwrap().push((major, (*irp).RequestorMode));
        IoCompleteRequest(irp, STATUS_SUCCESS, 0);
    }
    STATUS_SUCCESS
}

unsafe fn create_noting_device(driver: *mut DRIVER_OBJECT) {
    // There is one kernel at a time, so nobody else's are lost.
    REQUESTS.lock().unwrap().clear();
    // SAFETY: the driver object is live.
    unsafe {
        create_device(driver);
        (*driver).MajorFunction.fill(Some(note));
    }
}

#[test]
fn a_device_is_found_by_its_name_and_held_by_its_file() {
    let kernel = Kernel::builder().start();
    let driver = load(&kernel, create_noting_device, delete_device);
    let pointer = |name: &str| {
        let (mut file, mut device) = (null_mut(), null_mut());
        // SAFETY: the name and the pointers are valid.
        let status = unsafe { IoGetDeviceObjectPointer(Name::new(name).get(), 0, &mut file, &mut device) };
        (status, file, device)
    };
    assert_eq!(pointer(r"\Device\Nobody").0, STATUS_OBJECT_NAME_NOT_FOUND);
    let (status, file, device) = pointer(r"\Device\Test");
    assert_eq!(status, STATUS_SUCCESS);
    // The handle is closed again, the file object is open.
    let user = UserMode;
    assert_eq!(std::mem::take(&mut *REQUESTS.lock().unwrap()), [(IRP_MJ_CREATE, user), (IRP_MJ_CLEANUP, user)]);
    // SAFETY: the file object and the device are held.
    unsafe {
        assert_eq!((*file).DeviceObject, device);
        assert_eq!(ObfReferenceObject(file.cast()), 2);
        assert_eq!(ObfReferenceObject(device.cast()), ObfDereferenceObject(device.cast()) + 1);
        assert_eq!(ObfDereferenceObject(file.cast()), 1);
        assert!(REQUESTS.lock().unwrap().is_empty());
        assert_eq!(ObfDereferenceObject(file.cast()), 0);
    }
    assert_eq!(*REQUESTS.lock().unwrap(), [(IRP_MJ_CLOSE, user)]);
    driver.unload();
}

#[test]
fn a_thread_object_lives_as_long_as_its_references() {
    let _kernel = Kernel::builder().start();
    unsafe extern "system" fn end(_: *mut c_void) {}
    let handle = start_thread(end, null_mut());
    let mut object = null_mut();
    // SAFETY: an open handle, and then references.
    unsafe {
        ObReferenceObjectByHandle(handle, SYNCHRONIZE, null_mut(), KernelMode, &mut object, null_mut());
        ObfReferenceObject(object);
        ZwClose(handle);
        ObfDereferenceObject(object);
        assert_eq!(wait(object, PATIENCE), STATUS_SUCCESS);
        // The thread's own reference goes at about this time.
        assert!(ObfDereferenceObject(object) <= 1);
    }
}

#[test]
fn an_irp_in_own_memory_is_sent_and_used_again() {
    let kernel = Kernel::builder().start();
    let driver = load(&kernel, create_noting_device, delete_device);
    let (mut file, mut device) = (null_mut(), null_mut());
    let event = Event::new(SynchronizationEvent, false);
    let memory = pool(usize::from(IoSizeOfIrp(2)) + 32);
    // SAFETY: the memory is an IRP's with two stack locations, and the device is held by its file.
    unsafe {
        IoGetDeviceObjectPointer(Name::new(r"\Device\Test").get(), 0, &mut file, &mut device);
        let irp: *mut IRP = memory.byte_add(16).cast();
        for round in 0..3 {
            // In any of the ways that there are.
            if round == 1 {
                IoReuseIrp(irp, STATUS_SUCCESS)
            } else {
                IoInitializeIrp(irp, IoSizeOfIrp(2), 2)
            }
            assert_eq!(((*irp).StackCount, (*irp).CurrentLocation, (*irp).Size), (2, 3, IoSizeOfIrp(2)));
            (*IoGetNextIrpStackLocation(irp)).MajorFunction = IRP_MJ_WRITE;
            IoSetCompletionRoutine(irp, keep, event.0.cast(), true, true, true);
            assert_eq!(IofCallDriver(device, irp), STATUS_SUCCESS);
            assert_eq!(event.wait(0), STATUS_SUCCESS);
        }
        free(memory);
        ObfDereferenceObject(file.cast());
    }
    driver.unload();
}

#[test]
fn the_times_agree_with_the_host() {
    let _kernel = Kernel::builder().start();
    let mut now = 0;
    // SAFETY: valid for a write.
    let (before, after) = unsafe {
        let before = KeQueryInterruptTime();
        KeQuerySystemTime(&mut now);
        (before, KeQueryInterruptTime())
    };
    assert!(before <= after && after - before < SECOND as u64);
    let since_1601 = std::time::Duration::from_secs(11_644_473_600);
    let host = (std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap() + since_1601).as_nanos() / 100;
    assert!((host as i64 - now).abs() < SECOND, "{host} {now}");
}
