//! Winsock Kernel: name resolution.

use kunit::prelude::*;

#[kunit_tests(wsk_name)]
pub(crate) mod cases {
    use super::*;
    use crate::support::Name;
    use crate::support::socket::{Provider, Request, pointer};
    use core::ptr::null_mut;
    use wsk_sys::*;

    /// Calls WskGetAddressInfo for a name and a port.
    fn resolve(provider: &Provider, name: &Name, found: *mut *mut ADDRINFOEXW, irp: *mut IRP) -> NTSTATUS {
        let service = Name::new("12345");
        let (node, service) = (name.string(), service.string());
        // SAFETY: captured; the strings outlive the call, which copies them, and the result's place outlives the request.
        unsafe {
            (provider.table().WskGetAddressInfo)(
                provider.client(),
                pointer(&node),
                pointer(&service),
                NS_ALL,
                null_mut(),
                null_mut(),
                found,
                null_mut(),
                null_mut(),
                irp,
            )
        }
    }

    #[test]
    fn without_an_irp_it_is_refused() -> Outcome {
        let provider = Provider::capture()?;
        let mut found = null_mut();
        let status = resolve(&provider, &Name::new("127.0.0.1"), &mut found, null_mut());
        expect_eq!(NtStatus(status), NtStatus::INVALID_PARAMETER);
        Ok(())
    }

    #[test]
    fn a_name_that_nobody_has_is_not_found() -> Outcome {
        let provider = Provider::capture()?;
        let (mut found, name) = (null_mut(), Name::new("no-such-host.invalid"));
        // The information is the status again by the header, and 0 as others have seen it: nobody may look at it.
        let (returned, status, _) = Request::new()?.run(|irp| resolve(&provider, &name, &mut found, irp))?;
        expect_eq!(returned, NtStatus::PENDING);
        // Windows 7 has the second.
        expect!(matches!(status, NtStatus::NOT_FOUND | NtStatus::NO_MATCH), "{status}");
        Ok(())
    }

    #[test]
    fn a_number_is_found_with_its_port() -> Outcome {
        let provider = Provider::capture()?;
        let (mut found, name) = (null_mut(), Name::new("127.0.0.1"));
        let result = Request::new()?.run(|irp| resolve(&provider, &name, &mut found, irp))?;
        ensure_eq!(result, (NtStatus::PENDING, NtStatus::SUCCESS, 0))?;
        let (mut next, mut count) = (found, 0);
        // SAFETY: the list is valid until it is given back.
        unsafe {
            while let Some(info) = next.as_ref() {
                expect_eq!((info.ai_addrlen, info.ai_family), (size_of::<SOCKADDR_IN>(), i32::from(AF_INET)));
                let address = &*info.ai_addr.cast::<SOCKADDR_IN>();
                expect_eq!((address.sin_family, u16::from_be(address.sin_port)), (AF_INET, 12_345));
                expect_eq!(address.sin_addr, [127, 0, 0, 1]);
                next = info.ai_next;
                count += 1;
            }
            (provider.table().WskFreeAddressInfo)(provider.client(), found);
        }
        expect!(count >= 1);
        Ok(())
    }
}
