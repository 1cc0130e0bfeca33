//! Memory: one owner, several owners, arrays and buffers, at both levels.

use kunit::prelude::*;

#[kunit_tests(mem)]
pub(crate) mod cases {
    use super::*;
    use crate::support::Alive;
    use core::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use wsk_async::mem::{Array, NonPaged, Shared, live};

    #[test(irql = dispatch)]
    fn one_owner_drops_once() -> Outcome {
        static ALIVE: AtomicUsize = AtomicUsize::new(0);
        let mut value = NonPaged::try_new((Alive::new(&ALIVE), 7_u128))?;
        expect_eq!(&raw const *value as usize % 16, 0, "the pool's alignment");
        value.1 += 1;
        let raw = value.into_raw();
        expect_eq!(ALIVE.load(SeqCst), 1);
        // SAFETY: it came from `into_raw`.
        let value = unsafe { NonPaged::from_raw(raw) };
        expect_eq!(value.1, 8);
        drop(value);
        expect_eq!(ALIVE.load(SeqCst), 0);
        Ok(())
    }

    #[test]
    fn what_is_live_is_counted() -> Outcome {
        let before = live();
        let mut values = [const { None }; 64];
        for place in &mut values {
            *place = Some(NonPaged::try_new(0)?);
        }
        // A few tasks that ended earlier may be freed meanwhile.
        let grown = live().wrapping_sub(before);
        expect!((56..=64).contains(&grown), "{grown}");
        Ok(())
    }

    #[test]
    async fn several_owners_drop_once(test: &Test) -> Outcome {
        static ALIVE: AtomicUsize = AtomicUsize::new(0);
        let shared = Shared::try_new((Alive::new(&ALIVE), AtomicUsize::new(0)))?;
        let other = Shared::try_new((Alive::new(&ALIVE), AtomicUsize::new(0)))?;
        expect!(Shared::same(&shared, &shared.clone()) && !Shared::same(&shared, &other));
        drop(other);
        let (a, b) = (shared.clone(), shared.clone());
        let system = test.system();
        let first = system.dispatch.spawn(move |_| async move {
            for _ in 0..1000 {
                a.clone().1.fetch_add(1, SeqCst);
            }
        })?;
        let second = system.passive.spawn(move |_| async move {
            for _ in 0..1000 {
                b.clone().1.fetch_add(1, SeqCst);
            }
        })?;
        first.await?;
        second.await?;
        expect_eq!((shared.1.load(SeqCst), ALIVE.load(SeqCst)), (2000, 1));
        drop(shared);
        expect_eq!(ALIVE.load(SeqCst), 0);
        Ok(())
    }

    #[test(irql = dispatch, params = [0, 1, 4096, 100_000])]
    fn arrays_are_filled(length: &usize) -> Outcome {
        let mut array = Array::filled(0xA5_u8, *length)?;
        expect!(array.len() == *length && array.iter().all(|byte| *byte == 0xA5));
        array.iter_mut().zip((0..=255).cycle()).for_each(|(byte, n)| *byte = n);
        let copy = Array::copy_of(&array)?;
        expect!(*copy == *array);
        Ok(())
    }

    #[test]
    fn an_array_beyond_all_memory_is_an_error() {
        expect_eq!(Array::filled(0_u64, usize::MAX / 4).map(|_| ()), Err(NtStatus::INSUFFICIENT_RESOURCES));
    }

    #[test(irql = dispatch)]
    fn buffers_take_what_fits() -> Outcome {
        let mut buffer = Buf::with_capacity(8)?;
        expect_eq!((buffer.len(), buffer.capacity(), buffer.spare()), (0, 8, 8));
        buffer.extend(b"abcde")?;
        expect_eq!(buffer.extend(b"fghi"), Err(NtStatus::BUFFER_TOO_SMALL));
        expect_eq!(&*buffer, b"abcde", "nothing was changed");
        buffer.extend(b"fgh")?;
        buffer.consume(2);
        expect_eq!((&*buffer, buffer.spare()), (b"cdefgh".as_slice(), 2));
        buffer.consume(100);
        expect!(buffer.is_empty());
        buffer.set_len(100);
        expect_eq!(buffer.len(), 8);
        buffer.clear();
        expect_eq!(buffer.spare(), 8);
        Ok(())
    }

    #[test]
    fn buffers_have_a_size() -> Outcome {
        expect_eq!(Buf::with_capacity(Buf::MAX_CAPACITY + 1).err(), Some(NtStatus::INVALID_BUFFER_SIZE));
        let empty = Buf::with_capacity(0)?;
        expect_eq!((empty.len(), empty.capacity()), (0, 0));
        drop(empty);
        let new = Buf::with_capacity(5000)?;
        let mut grown = new;
        grown.set_len(5000);
        expect!(grown.iter().all(|byte| *byte == 0), "what was never written is zero");
        Ok(())
    }
}
