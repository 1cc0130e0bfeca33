//! SLists: last in, first out, for several processors at a time.

use kunit::prelude::*;

#[kunit_tests(slist)]
pub(crate) mod cases {
    use super::*;
    use crate::support::object::{Fixed, Thread};
    use crate::support::raise;
    use core::ptr::null_mut;
    use core::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use wsk_async::status::Result;
    use wsk_sys::*;

    struct List(Fixed<SLIST_HEADER>);

    impl List {
        fn new() -> Result<List> {
            // SAFETY: two words.
            let head = unsafe { Fixed::<SLIST_HEADER>::zeroed()? };
            // SAFETY: memory for one.
            unsafe { InitializeSListHead(head.get()) };
            Ok(List(head))
        }

        /// Puts an entry on top; gives the one that was there.
        fn push(&self, entry: &Fixed<SLIST_ENTRY>) -> *mut SLIST_ENTRY {
            // SAFETY: initialized; the entry is on no list and outlives the case's use of this one.
            unsafe { ExpInterlockedPushEntrySList(self.0.get(), entry.get()) }
        }

        fn pop(&self) -> *mut SLIST_ENTRY {
            // SAFETY: initialized.
            unsafe { ExpInterlockedPopEntrySList(self.0.get()) }
        }

        fn flush(&self) -> *mut SLIST_ENTRY {
            // SAFETY: initialized.
            unsafe { ExpInterlockedFlushSList(self.0.get()) }
        }

        fn depth(&self) -> u16 {
            // SAFETY: initialized.
            unsafe { ExQueryDepthSList(self.0.get()) }
        }
    }

    fn entries() -> Result<[Fixed<SLIST_ENTRY>; 3]> {
        // SAFETY: a link may be zero.
        unsafe { Ok([Fixed::zeroed()?, Fixed::zeroed()?, Fixed::zeroed()?]) }
    }

    #[test]
    fn begins_empty() -> Outcome {
        let list = List::new()?;
        expect_eq!((list.depth(), list.pop(), list.flush()), (0, null_mut(), null_mut()));
        Ok(())
    }

    #[test]
    fn gives_the_last_first() -> Outcome {
        let (list, [a, b, c]) = (List::new()?, entries()?);
        expect_eq!((list.push(&a), list.depth()), (null_mut(), 1));
        expect_eq!((list.push(&b), list.depth()), (a.get(), 2));
        expect_eq!((list.push(&c), list.depth()), (b.get(), 3));
        expect_eq!((list.pop(), list.depth()), (c.get(), 2));
        expect_eq!(list.push(&c), b.get());
        for entry in [c.get(), b.get(), a.get(), null_mut()] {
            expect_eq!(list.pop(), entry);
        }
        expect_eq!(list.depth(), 0);
        Ok(())
    }

    #[test]
    fn a_flush_gives_all_of_them_linked() -> Outcome {
        let (list, [a, b, c]) = (List::new()?, entries()?);
        for entry in [&a, &b, &c] {
            list.push(entry);
        }
        let mut entry = list.flush();
        expect_eq!((list.depth(), list.pop()), (0, null_mut()));
        for expected in [&c, &b, &a] {
            expect_eq!(entry, expected.get());
            // SAFETY: an entry that was on the list.
            entry = unsafe { (*entry).Next };
        }
        expect_eq!(entry, null_mut());
        Ok(())
    }

    #[test(needs = irql)]
    fn works_at_dispatch_level() -> Outcome {
        let (list, [a, ..]) = (List::new()?, entries()?);
        let _raised = raise(DISPATCH_LEVEL);
        list.push(&a);
        expect_eq!((list.depth(), list.pop()), (1, a.get()));
        Ok(())
    }

    #[test]
    fn threads_lose_and_double_nothing() -> Outcome {
        const ROUNDS: usize = 300;
        let (list, all) = (List::new()?, [entries()?, entries()?]);
        let popped = AtomicUsize::new(0);
        for entry in all.iter().flatten() {
            list.push(entry);
        }
        let work = || {
            for _ in 0..ROUNDS {
                let entry = list.pop();
                if !entry.is_null() {
                    popped.fetch_add(1, SeqCst);
                    // SAFETY: taken off the list, hence this thread's.
                    unsafe { ExpInterlockedPushEntrySList(list.0.get(), entry) };
                }
            }
        };
        let threads = [Thread::start(work)?, Thread::start(work)?];
        for thread in &threads {
            thread.ends()?;
        }
        expect!(popped.load(SeqCst) >= ROUNDS);
        expect_eq!(list.depth(), 6);
        let mut left = all.iter().flatten().map(Fixed::get).collect::<heapless::Vec<_, 6>>();
        while let Some(place) = Some(list.pop()).and_then(|entry| left.iter().position(|one| *one == entry)) {
            left.swap_remove(place);
        }
        expect_eq!((left.len(), list.pop()), (0, null_mut()));
        Ok(())
    }
}
