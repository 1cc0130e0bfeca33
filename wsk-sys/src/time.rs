//! Clocks: the time of day and the time since the system started. (The performance counter is in `ke`.)
//!
//! For whoever stamps or measures. Times are counts of 100 ns.

/// A time that the system keeps up to date in the page it shares with everybody; see [`KeQuerySystemTime`].
/// WDK page: KeQuerySystemTime.
#[repr(C)]
#[derive(Debug)]
pub struct KSYSTEM_TIME {
    /// Low part.
    pub LowPart: u32,
    /// High part, written last and read first.
    pub High1Time: i32,
    /// High part, written first and read last: while the two differ, the reader tries again.
    pub High2Time: i32,
}
layout!(KSYSTEM_TIME, 12 / 4, LowPart @ 0, High1Time @ 4, High2Time @ 8);

/// Type of `KeQuerySystemTimePrecise` (Windows 8): the time of day to better than a microsecond. To be looked up at run time.
/// IRQL: any. WDK page: KeQuerySystemTimePrecise.
pub type PFN_KE_QUERY_SYSTEM_TIME_PRECISE = unsafe extern "system" fn(CurrentTime: *mut i64);

// On 64-bit Windows the two routines are inline functions over the shared page; the simulator exports the same names.

#[cfg(all(windows, not(feature = "sim")))]
mod inline {
    use super::KSYSTEM_TIME;
    use core::sync::atomic::{Ordering, fence};

    /// Address of the page (`KI_USER_SHARED_DATA`), the same on x64 and ARM64.
    const SHARED: usize = 0xFFFF_F780_0000_0000;
    const INTERRUPT_TIME: usize = SHARED + 0x8;
    const SYSTEM_TIME: usize = SHARED + 0x14;

    /// Loads a word that the system writes to at any moment. By a plain load and no other instruction: where there is no
    /// such page (Wine), the kernel does the load in its place, and knows only those.
    ///
    /// # Safety
    /// `word` is in the page, and aligned.
    #[inline(always)]
    unsafe fn load(word: *const u32) -> u32 {
        #[cfg(target_arch = "x86_64")]
        {
            let value: u32;
            // SAFETY: the caller's promise.
            unsafe {
                core::arch::asm!("mov {:e}, [{}]", out(reg) value, in(reg) word, options(nostack, preserves_flags));
            }
            value
        }
        #[cfg(not(target_arch = "x86_64"))]
        // SAFETY: the caller's promise.
        unsafe {
            word.read_volatile()
        }
    }

    /// A time of the shared page.
    #[inline(always)]
    fn read(address: usize) -> i64 {
        let time = core::ptr::with_exposed_provenance::<KSYSTEM_TIME>(address);
        loop {
            // SAFETY: the page is mapped as long as the system runs; its fields are aligned. The fences keep the order of the
            // reads on ARM64; x64 keeps it anyway.
            let (high, low, check) = unsafe {
                let high = load((&raw const (*time).High1Time).cast());
                fence(Ordering::Acquire);
                let low = load(&raw const (*time).LowPart);
                fence(Ordering::Acquire);
                (high, low, load((&raw const (*time).High2Time).cast()))
            };
            if high == check {
                return (u64::from(high) << 32 | u64::from(low)) as i64;
            }
            core::hint::spin_loop();
        }
    }

    /// The time of day, from 1601 on, universal. It steps with the clock interrupt (1 to 16 ms) and may be set. IRQL: any.
    /// WDK page: KeQuerySystemTime.
    ///
    /// # Safety
    /// Kernel mode; `CurrentTime` is valid for a write.
    #[inline(always)]
    pub unsafe fn KeQuerySystemTime(CurrentTime: *mut i64) {
        // SAFETY: the caller's promise.
        unsafe { CurrentTime.write(read(SYSTEM_TIME)) };
    }

    /// The time since the system started. It steps with the clock interrupt and is never set. IRQL: any.
    /// WDK page: KeQueryInterruptTime.
    ///
    /// # Safety
    /// Kernel mode only.
    #[inline(always)]
    pub unsafe fn KeQueryInterruptTime() -> u64 {
        read(INTERRUPT_TIME) as u64
    }
}
#[cfg(all(windows, not(feature = "sim")))]
pub use inline::*;

#[cfg(not(all(windows, not(feature = "sim"))))]
unsafe extern "system" {
    /// The time of day, from 1601 on, universal. IRQL: any. WDK page: KeQuerySystemTime.
    pub fn KeQuerySystemTime(CurrentTime: *mut i64);
    /// The time since the system started. IRQL: any. WDK page: KeQueryInterruptTime.
    pub fn KeQueryInterruptTime() -> u64;
}
