//! A first suite: what a driver's own memory does.

use kunit::prelude::*;

kunit::main!(buffers);

#[kunit_tests(buffers)]
mod buffers {
    use super::*;

    #[test]
    fn keep_what_they_are_given() -> Outcome {
        let mut buffer = Buf::with_capacity(8)?;
        buffer.extend(b"kunit")?;
        expect_eq!(&*buffer, b"kunit");
        ensure!(buffer.spare() == 3, "{buffer:?}")?;
        Ok(())
    }

    #[test(irql = dispatch, params = [1, 1460, 65_535])]
    async fn are_as_large_as_asked_for(test: &Test, size: &usize) -> Outcome {
        let buffer = Buf::with_capacity(*size)?;
        test.system().timers.sleep(core::time::Duration::from_millis(1)).await;
        expect_eq!(buffer.capacity(), *size);
        Ok(())
    }
}
