//! Results: names and meanings, and what counts as a success.

use kunit::prelude::*;

#[kunit_tests(status)]
pub(crate) mod cases {
    use super::*;
    use core::fmt::Write;
    use wsk_async::sys;

    /// Text of a few bytes.
    struct Text([u8; 64], usize);

    impl Text {
        fn of(value: impl core::fmt::Display) -> Self {
            let mut text = Self([0; 64], 0);
            expect!(write!(text, "{value}").is_ok());
            text
        }

        fn as_str(&self) -> &str {
            self.0.get(..self.1).and_then(|text| core::str::from_utf8(text).ok()).unwrap_or_default()
        }
    }

    impl Write for Text {
        fn write_str(&mut self, text: &str) -> core::fmt::Result {
            for byte in text.bytes() {
                *self.0.get_mut(self.1).ok_or(core::fmt::Error)? = byte;
                self.1 += 1;
            }
            Ok(())
        }
    }

    #[test(params = [
        (sys::STATUS_SUCCESS, "STATUS_SUCCESS", true),
        (sys::STATUS_PENDING, "STATUS_PENDING", true),
        (sys::STATUS_TIMEOUT, "STATUS_TIMEOUT", true),
        (sys::STATUS_CANCELLED, "STATUS_CANCELLED", false),
        (sys::STATUS_BUFFER_OVERFLOW, "STATUS_BUFFER_OVERFLOW", false),
    ])]
    fn statuses_have_names((status, name, success): &(sys::NTSTATUS, &str, bool)) {
        let status = NtStatus(*status);
        expect_eq!(status.name(), Some(*name));
        expect!(status.meaning().is_some_and(|meaning| !meaning.is_empty()));
        expect_eq!(Text::of(status).as_str(), *name);
        expect_eq!(status.is_success(), *success);
        expect_eq!(status.ok().is_ok(), *success);
    }

    #[test]
    fn an_unknown_status_is_a_number() {
        let status = NtStatus(0xE123_4567_u32.cast_signed());
        expect_eq!(status.name(), None);
        expect_eq!(Text::of(status).as_str(), "0xE1234567");
    }

    #[test]
    fn a_result_keeps_its_buffer() -> Outcome {
        let BufResult(result, buffer) = BufResult(Ok(2), Buf::copy_of(b"abc")?).map(|count| count * 2);
        expect_eq!((result, &*buffer), (Ok(4), b"abc".as_slice()));
        let BufResult(result, buffer) = BufResult(Err::<usize, _>(NtStatus::DATA_ERROR), buffer).map(|count| count * 2);
        expect_eq!((result, &*buffer), (Err(NtStatus::DATA_ERROR), b"abc".as_slice()));
        Ok(())
    }
}
