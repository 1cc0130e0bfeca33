//! Devices, names, the registry, and routines by their names.

use kunit::prelude::*;

#[kunit_tests(object)]
pub(crate) mod cases {
    use super::*;
    use crate::support::Name;
    use core::mem::{MaybeUninit, offset_of};
    use core::ptr::null_mut;
    use wsk_sys::*;

    /// Makes a device with this name.
    fn create(test: &Test, name: &str) -> Result<*mut DEVICE_OBJECT, NtStatus> {
        let (name, mut device) = (Name::new(name), null_mut());
        // SAFETY: the driver object is the test driver's.
        unsafe {
            let driver = (*test.device()).DriverObject;
            let string = name.string();
            NtStatus(IoCreateDevice(driver, 40, &string, FILE_DEVICE_UNKNOWN, 0, FALSE, &mut device)).ok()?;
        }
        Ok(device)
    }

    /// Makes or deletes a link.
    fn link(name: &str, target: Option<&str>) -> NtStatus {
        let name = Name::new(name);
        // SAFETY: the strings are valid.
        NtStatus(unsafe {
            match target {
                Some(target) => IoCreateSymbolicLink(&name.string(), &Name::new(target).string()),
                None => IoDeleteSymbolicLink(&name.string()),
            }
        })
    }

    #[test]
    fn a_name_is_one_devices(test: &Test) -> Outcome {
        const NAME: &str = r"\Device\KunitRules";
        for _ in 0..2 {
            let device = create(test, NAME)?;
            expect_eq!(create(test, NAME).err(), Some(NtStatus(STATUS_OBJECT_NAME_COLLISION)));
            // SAFETY: made here.
            unsafe {
                expect_eq!((*device).DriverObject, (*test.device()).DriverObject);
                expect_eq!((*(*device).DriverObject).DeviceObject, device, "the newest is the first of the list");
                expect_eq!((*device).StackSize, 1);
                let extension = core::slice::from_raw_parts((*device).DeviceExtension.cast::<u8>(), 40);
                expect!(extension.iter().all(|byte| *byte == 0));
                IoDeleteDevice(device);
                expect_ne!((*(*test.device()).DriverObject).DeviceObject, device);
            }
        }
        Ok(())
    }

    #[test(xfail(wine = "it has the flag never"))]
    fn a_fresh_device_is_being_initialized(test: &Test) -> Outcome {
        let device = create(test, r"\Device\KunitRules")?;
        // SAFETY: made here.
        unsafe {
            expect!((*device).Flags & DO_DEVICE_INITIALIZING != 0, "until its driver says otherwise");
            IoDeleteDevice(device);
        }
        Ok(())
    }

    const LINK: &str = r"\DosDevices\KunitRules";
    const TARGET: &str = r"\Device\Kunit";

    #[test(xfail(wine = "it answers STATUS_OBJECT_TYPE_MISMATCH"))]
    fn a_second_link_of_a_name_collides() {
        expect_eq!(link(LINK, Some(TARGET)), NtStatus::SUCCESS);
        expect_eq!(link(LINK, Some(TARGET)), NtStatus(STATUS_OBJECT_NAME_COLLISION));
        expect_eq!(link(LINK, None), NtStatus::SUCCESS);
    }

    #[test]
    fn a_link_is_there_until_it_is_deleted() {
        for _ in 0..2 {
            expect_eq!(link(LINK, Some(TARGET)), NtStatus::SUCCESS);
            expect!(!link(LINK, Some(TARGET)).is_success());
            expect_eq!(link(LINK, None), NtStatus::SUCCESS);
        }
        expect_eq!(link(LINK, None), NtStatus(STATUS_OBJECT_NAME_NOT_FOUND));
    }

    #[test(skip(wine = "it finds any name, and gives no file"))]
    fn a_device_is_found_by_its_name(test: &Test) {
        let (mut file, mut device) = (null_mut(), null_mut());
        // SAFETY: the pointers and strings are valid; the reference is given back.
        unsafe {
            let nobody = Name::new(r"\Device\KunitNobody");
            let status = NtStatus(IoGetDeviceObjectPointer(&nobody.string(), 0, &mut file, &mut device));
            expect!(!status.is_success() && file.is_null());
            let own = Name::new(r"\Device\Kunit");
            let status = NtStatus(IoGetDeviceObjectPointer(&own.string(), 0x8000_0000, &mut file, &mut device));
            if expect_eq!(status, NtStatus::SUCCESS) {
                expect_eq!((device, (*file).DeviceObject), (test.device(), test.device()));
                ObfDereferenceObject(file.cast());
            }
        }
    }

    #[test]
    fn routines_are_found_by_their_names() {
        // SAFETY: the strings are valid.
        unsafe {
            for known in ["IoAllocateIrp", "KeSetEvent", "KeQueryPerformanceCounter"] {
                expect!(!MmGetSystemRoutineAddress(&Name::new(known).string()).is_null(), "{known}");
            }
            expect!(MmGetSystemRoutineAddress(&Name::new("KeNobodyHasThis").string()).is_null());
        }
    }

    #[test]
    fn the_system_is_windows_7_or_newer() {
        // SAFETY: a structure of integers, which says its size.
        let version = unsafe {
            let mut version: OSVERSIONINFOW = core::mem::zeroed();
            version.dwOSVersionInfoSize = size_of::<OSVERSIONINFOW>() as u32;
            expect_eq!(NtStatus(RtlGetVersion(&mut version)), NtStatus::SUCCESS);
            version
        };
        expect!((version.dwMajorVersion, version.dwMinorVersion) >= (6, 1), "{}", version.dwMajorVersion);
        expect!(version.dwBuildNumber >= 7600 && version.dwPlatformId == 2);
    }

    /// Opens a key.
    fn open(root: HANDLE, path: UNICODE_STRING) -> Result<HANDLE, NtStatus> {
        let (mut attributes, mut handle, mut path) = (MaybeUninit::uninit(), null_mut(), path);
        // SAFETY: the structures are valid.
        let status = unsafe {
            let flags = OBJ_CASE_INSENSITIVE | OBJ_KERNEL_HANDLE;
            InitializeObjectAttributes(attributes.as_mut_ptr(), &mut path, flags, root, null_mut());
            ZwOpenKey(&mut handle, KEY_READ, attributes.as_ptr())
        };
        NtStatus(status).ok().map(|()| handle)
    }

    fn close(handle: HANDLE) {
        // SAFETY: an open handle.
        expect_eq!(NtStatus(unsafe { ZwClose(handle) }), NtStatus::SUCCESS);
    }

    /// Reads a value into so much room: the status, and how much is needed.
    fn query(key: HANDLE, name: &str, buffer: &mut [u32], room: usize) -> (NtStatus, usize) {
        let mut needed = 0;
        // SAFETY: the buffer has that room.
        let status = unsafe {
            let (name, out) = (Name::new(name), buffer.as_mut_ptr().cast());
            let room = room.min(size_of_val(buffer)) as u32;
            ZwQueryValueKey(key, &name.string(), KeyValuePartialInformation, out, room, &mut needed)
        };
        (NtStatus(status), needed as usize)
    }

    #[test]
    fn a_driver_has_the_key_of_its_service(test: &Test) -> Outcome {
        const HEAD: usize = offset_of!(KEY_VALUE_PARTIAL_INFORMATION, Data);
        const SERVICE_KERNEL_DRIVER: u32 = 1;
        // SAFETY: the driver object is live.
        let name = unsafe { (*(*test.device()).DriverObject).DriverName };
        let services = Name::new(r"\Registry\Machine\System\CurrentControlSet\Services");
        let services = open(null_mut(), services.string())?;
        // Behind `\Driver\`.
        const PREFIX: u16 = 2 * 8;
        let own = UNICODE_STRING {
            Length: name.Length - PREFIX,
            MaximumLength: name.Length - PREFIX,
            Buffer: name.Buffer.wrapping_byte_add(usize::from(PREFIX)),
        };
        let key = open(services, own)?;
        let mut buffer = [0; 16];
        expect_eq!(query(key, "type", &mut buffer, 64), (NtStatus::SUCCESS, HEAD + 4), "names have no case");
        expect_eq!(buffer[1..4], [REG_DWORD, 4, SERVICE_KERNEL_DRIVER]);
        expect_eq!(query(key, "NoSuchValue", &mut buffer, 64).0, NtStatus(STATUS_OBJECT_NAME_NOT_FOUND));
        expect_eq!(query(key, "Type", &mut buffer, HEAD - 1), (NtStatus::BUFFER_TOO_SMALL, HEAD + 4));
        expect_eq!(query(key, "Type", &mut buffer, HEAD), (NtStatus::BUFFER_OVERFLOW, HEAD + 4));
        let other = Name::new("NoSuchKey");
        expect_eq!(open(key, other.string()).err(), Some(NtStatus(STATUS_OBJECT_NAME_NOT_FOUND)));
        [key, services].into_iter().for_each(close);
        Ok(())
    }
}
