//! The pool: memory that is marked when it is freed and given back to the host when the next execution begins.

use super::world::{access, with_world};
use crate::tool::Mark;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ffi::c_void;
use std::rc::Rc;

pub(crate) struct Block {
    memory: *mut u8,
    layout: Layout,
    free: bool,
    mark: Rc<Mark>,
}

impl Block {
    pub(crate) fn contains(&self, address: usize) -> bool {
        (self.memory as usize..self.memory as usize + self.layout.size()).contains(&address)
    }

    pub(crate) fn is_free(&self) -> bool {
        self.free
    }

    pub(crate) fn mark(&self) -> Rc<Mark> {
        self.mark.clone()
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout, freed once.
        unsafe { dealloc(self.memory, self.layout) };
    }
}

#[unsafe(no_mangle)]
unsafe extern "system" fn ExAllocatePoolWithTag(_pool: i32, bytes: usize, _tag: u32) -> *mut c_void {
    let layout = Layout::from_size_align(bytes, 16).expect("a size");
    // SAFETY: callers ask for at least one byte.
    let memory = unsafe { alloc_zeroed(layout) };
    let block = Block { memory, layout, free: false, mark: Rc::new(Mark::new()) };
    with_world(|world| world.blocks.push(block));
    memory.cast()
}

#[unsafe(no_mangle)]
unsafe extern "system" fn ExFreePoolWithTag(memory: *mut c_void, _tag: u32) {
    access(memory as usize);
    let mark = with_world(|world| {
        let block = world.blocks.iter_mut().find(|block| block.memory == memory.cast()).expect("memory of the pool");
        block.free = true;
        block.mark()
    });
    mark.write();
}
