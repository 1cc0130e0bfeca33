//! What std would bring: entry, pipes, heap, panic handler and the compiler's memory functions.

use core::alloc::{GlobalAlloc, Layout};
use core::ffi::c_void;
use core::ptr::null_mut;

type Handle = *mut c_void;
const STD_INPUT_HANDLE: u32 = -10i32 as u32;
const STD_OUTPUT_HANDLE: u32 = -11i32 as u32;
const HEAP_ZERO_MEMORY: u32 = 8;
/// Exit code of a panic.
const EXIT_PANIC: u32 = 101;

#[link(name = "kernel32.dll", kind = "raw-dylib", modifiers = "+verbatim")]
unsafe extern "system" {
    fn GetStdHandle(which: u32) -> Handle;
    fn ReadFile(file: Handle, buffer: *mut u8, bytes: u32, done: *mut u32, overlapped: *mut c_void) -> i32;
    fn WriteFile(file: Handle, buffer: *const u8, bytes: u32, done: *mut u32, overlapped: *mut c_void) -> i32;
    fn GetProcessHeap() -> Handle;
    fn HeapAlloc(heap: Handle, flags: u32, bytes: usize) -> *mut u8;
    fn HeapFree(heap: Handle, flags: u32, block: *mut u8) -> i32;
    fn ExitProcess(code: u32) -> !;
}

// The memory functions that the compiler calls by itself. The linker finds them by these names.
#[allow(dead_code)]
#[link(name = "ntdll.dll", kind = "raw-dylib", modifiers = "+verbatim")]
unsafe extern "C" {
    fn memcpy(to: *mut u8, from: *const u8, bytes: usize) -> *mut u8;
    fn memmove(to: *mut u8, from: *const u8, bytes: usize) -> *mut u8;
    fn memset(to: *mut u8, value: i32, bytes: usize) -> *mut u8;
    fn memcmp(one: *const u8, other: *const u8, bytes: usize) -> i32;
}

/// Standard input and output.
pub(crate) struct Pipes {
    input: Handle,
    output: Handle,
}

impl Pipes {
    /// Fills the buffer; false at the end of the input and on errors.
    pub(crate) fn read(&self, mut buffer: &mut [u8]) -> bool {
        while !buffer.is_empty() {
            let mut done = 0;
            // SAFETY: the buffer is valid for its length, which fits: requests are smaller than 4 GiB.
            let ok = unsafe { ReadFile(self.input, buffer.as_mut_ptr(), buffer.len() as u32, &mut done, null_mut()) };
            if ok == 0 || done == 0 {
                return false;
            }
            buffer = &mut buffer[done as usize..];
        }
        true
    }

    /// Writes the buffer; false on errors.
    pub(crate) fn write(&self, mut buffer: &[u8]) -> bool {
        while !buffer.is_empty() {
            let mut done = 0;
            // SAFETY: the buffer is valid for its length, which fits: responses are smaller than 4 GiB.
            let ok = unsafe { WriteFile(self.output, buffer.as_ptr(), buffer.len() as u32, &mut done, null_mut()) };
            if ok == 0 || done == 0 {
                return false;
            }
            buffer = &buffer[done as usize..];
        }
        true
    }
}

/// The program's entry.
#[unsafe(no_mangle)]
extern "system" fn entry() -> ! {
    // SAFETY: plain calls; the handles stay open as long as the process.
    unsafe {
        let pipes = Pipes { input: GetStdHandle(STD_INPUT_HANDLE), output: GetStdHandle(STD_OUTPUT_HANDLE) };
        ExitProcess(crate::serve::serve(pipes))
    }
}

/// The process heap.
struct Heap;

// SAFETY: HeapAlloc gives blocks of 16-byte alignment, and nothing here asks for more.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the process heap is always there.
        unsafe { HeapAlloc(GetProcessHeap(), 0, layout.size()) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe { HeapAlloc(GetProcessHeap(), HEAP_ZERO_MEMORY, layout.size()) }
    }

    unsafe fn dealloc(&self, block: *mut u8, _layout: Layout) {
        // SAFETY: the caller gives back what `alloc` gave.
        unsafe { HeapFree(GetProcessHeap(), 0, block) };
    }
}

#[global_allocator]
static HEAP: Heap = Heap;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: ends the process.
    unsafe { ExitProcess(EXIT_PANIC) }
}

/// Referred to by every object that may hold floating point code.
#[unsafe(no_mangle)]
static _fltused: i32 = 0;

/// Referred to by a `core` that was built to unwind; without unwinding nobody calls it.
#[unsafe(no_mangle)]
extern "C" fn __CxxFrameHandler3() {}
