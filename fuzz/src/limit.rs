//! A limit for memory. libFuzzer's own needs a sanitizer to see allocations, and without one it
//! sees only memory that was touched; a length that is believed and allocated is a finding even if
//! nothing is ever written there.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that may be allocated at a time: more than any parser needs for an input of a fuzzer, a
/// kernel's or initrd's limit of growth included ([`GROWTH`](crate::tree::GROWTH)).
const MOST: usize = 512 << 20;

#[global_allocator]
static LIMITED: Limited = Limited;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

struct Limited;

fn take(more: usize) {
    let before = ALLOCATED.fetch_add(more, Ordering::Relaxed);
    if before.saturating_add(more) > MOST {
        // A panic would allocate.
        ALLOCATED.store(0, Ordering::Relaxed);
        eprintln!("memory limit: {before} bytes are allocated, and {more} more are asked for");
        std::process::abort();
    }
}

// SAFETY: every request goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Limited {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        // SAFETY: the caller's promises are those that are asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        // SAFETY: the caller's promises are those that are asked for.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are those that are asked for.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        take(size);
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are those that are asked for.
        unsafe { System.realloc(memory, layout, size) }
    }
}
