//! A bound on memory: an allocation beyond it fails, and ends the run as a finding.
//!
//! libFuzzer's own limit looks at the process once a second. This one sees each allocation, also one whose pages are never
//! touched, and knows how large the input was.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

static HELD: AtomicUsize = AtomicUsize::new(0);
static HELD_MAX: AtomicUsize = AtomicUsize::new(usize::MAX);

/// The allocator of a target's program.
#[derive(Debug)]
pub struct Bounded;

/// Bounds what is held to so many bytes more than now, until it is dropped.
pub(crate) fn bound(bytes: usize) -> impl Drop {
    struct Bound;
    impl Drop for Bound {
        fn drop(&mut self) {
            HELD_MAX.store(usize::MAX, Ordering::Relaxed);
        }
    }
    HELD_MAX.store(HELD.load(Ordering::Relaxed).saturating_add(bytes), Ordering::Relaxed);
    Bound
}

fn take(bytes: usize) -> bool {
    let held = HELD.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
    if held > HELD_MAX.load(Ordering::Relaxed) {
        HELD.fetch_sub(bytes, Ordering::Relaxed);
        return false;
    }
    true
}

// SAFETY: every call goes to the system's allocator with the layout it came with; a call that is refused gives null, which is
// how an allocator says that there is no memory.
unsafe impl GlobalAlloc for Bounded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !take(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: as the caller promises for `layout`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !take(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: as the caller promises for `layout`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: `at` came from the system's allocator with this layout.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        if !take(bytes) {
            return std::ptr::null_mut();
        }
        // SAFETY: `at` came from the system's allocator with this layout; the rest as the caller promises.
        let moved = unsafe { System.realloc(at, layout, bytes) };
        HELD.fetch_sub(if moved.is_null() { bytes } else { layout.size() }, Ordering::Relaxed);
        moved
    }
}
