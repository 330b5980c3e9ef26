//! Append-only buffers that a writer goes on filling while readers hold what was there before.
//!
//! This is what makes a snapshot a length and not a copy. An [`AppendBuffer`] has one writer. A [`Slice`] taken from it
//! covers the values written so far; the writer only ever writes behind them, and when the memory is full it moves to
//! a larger piece and leaves the old one to its readers. So no value that a reader can see ever changes, and no lock or
//! atomic is needed: whoever hands a slice to another thread (an `Arc` swap) orders the writes before the reads.
//!
//! This is the one module of the crate with `unsafe`. Its promises: `len <= capacity` always; positions below the length
//! of any slice are initialised and never written again; the memory lives as long as its last holder.
#![expect(unsafe_code, reason = "shared append-only memory; see the module's promises")]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::fmt;
use std::ops::Deref;
use std::panic::RefUnwindSafe;
use std::ptr::NonNull;
use std::sync::Arc;

use arrow::array::StringViewArray;
use arrow::buffer::{Buffer, NullBuffer, ScalarBuffer};
use arrow::datatypes::ArrowNativeType;

/// Plain values without padding, drop or interior pointers.
pub(crate) trait Plain: Copy + Send + Sync + RefUnwindSafe + 'static {}
impl Plain for u8 {}
impl Plain for u32 {}
impl Plain for i64 {}
impl Plain for u128 {}
impl Plain for f32 {}
impl Plain for f64 {}

/// One piece of memory for `capacity` values.
struct Memory<T> {
    start: NonNull<T>,
    capacity: usize,
}

// SAFETY: the memory is reached through `AppendBuffer` (one owner, writes behind every slice) and `Slice` (reads before
// its length) only; `T` is plain and itself `Send + Sync`.
unsafe impl<T: Plain> Send for Memory<T> {}
// SAFETY: as above: shared access reads positions that are never written again.
unsafe impl<T: Plain> Sync for Memory<T> {}

impl<T: Plain> Memory<T> {
    fn new(capacity: usize) -> Self {
        assert!(capacity > 0 && size_of::<T>() > 0, "a buffer holds something");
        let layout = Self::layout(capacity);
        // SAFETY: the layout is not empty: capacity and the size of a value are above zero.
        let raw = unsafe { alloc(layout) }.cast::<T>();
        let Some(start) = NonNull::new(raw) else { handle_alloc_error(layout) };
        Self { start, capacity }
    }

    fn layout(capacity: usize) -> Layout {
        Layout::array::<T>(capacity).expect("capacities stay far below isize::MAX bytes")
    }
}

impl<T> Drop for Memory<T> {
    fn drop(&mut self) {
        let layout = Layout::array::<T>(self.capacity).expect("the layout it was made with");
        // SAFETY: `start` came from `alloc` with this very layout and is given back once.
        unsafe { dealloc(self.start.as_ptr().cast(), layout) }
    }
}

/// The writer's end: append, and take slices. Not `Clone`: there is one writer.
pub(crate) struct AppendBuffer<T: Plain> {
    memory: Arc<Memory<T>>,
    len: usize,
}

impl<T: Plain> AppendBuffer<T> {
    /// An empty buffer with room for `capacity` values (at least one).
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self { memory: Arc::new(Memory::new(capacity.max(1))), len: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of memory it holds now; older pieces belong to whoever still reads them.
    pub(crate) fn bytes(&self) -> usize {
        self.memory.capacity * size_of::<T>()
    }

    /// Makes room for `more` values, at least doubling, up to `limit` values where that suffices.
    pub(crate) fn reserve(&mut self, more: usize, limit: usize) {
        let needed = self.len + more;
        if needed <= self.memory.capacity {
            return;
        }
        let doubled = (self.memory.capacity * 2).min(limit.max(needed));
        let larger = Memory::<T>::new(doubled.max(needed));
        // SAFETY: both pieces hold at least `len` values and do not overlap: `larger` is new.
        unsafe { std::ptr::copy_nonoverlapping(self.memory.start.as_ptr(), larger.start.as_ptr(), self.len) }
        self.memory = Arc::new(larger);
    }

    /// Appends one value.
    pub(crate) fn push(&mut self, value: T) {
        self.reserve(1, usize::MAX / 2);
        // SAFETY: `len < capacity` after reserve; no slice reaches this position, because slices end at an earlier `len`.
        unsafe { self.memory.start.as_ptr().add(self.len).write(value) }
        self.len += 1;
    }

    /// Appends all values of a slice.
    pub(crate) fn extend_from_slice(&mut self, values: &[T]) {
        self.reserve(values.len(), usize::MAX / 2);
        // SAFETY: room was made; `values` is another allocation, because this one is only lent out as `Slice`, whose
        // positions lie before `len` and thus before the target; a forward copy between disjoint ranges.
        unsafe {
            std::ptr::copy_nonoverlapping(values.as_ptr(), self.memory.start.as_ptr().add(self.len), values.len());
        }
        self.len += values.len();
    }

    /// Appends `count` times the same value.
    pub(crate) fn extend_repeat(&mut self, value: T, count: usize) {
        self.reserve(count, usize::MAX / 2);
        for _ in 0..count {
            self.push(value);
        }
    }

    /// The values written so far, to keep for as long as wanted.
    pub(crate) fn slice(&self) -> Slice<T> {
        Slice { memory: Arc::clone(&self.memory), len: self.len }
    }
}

impl<T: Plain> Deref for AppendBuffer<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        // SAFETY: positions below `len` are initialised; `&self` keeps the writer from writing meanwhile.
        unsafe { std::slice::from_raw_parts(self.memory.start.as_ptr(), self.len) }
    }
}

/// A reader's end: values that never change.
pub(crate) struct Slice<T: Plain> {
    memory: Arc<Memory<T>>,
    len: usize,
}

impl<T: Plain> Clone for Slice<T> {
    fn clone(&self) -> Self {
        Self { memory: Arc::clone(&self.memory), len: self.len }
    }
}

impl<T: Plain> fmt::Debug for Slice<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slice({} values)", self.len)
    }
}

impl<T: Plain> Deref for Slice<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        // SAFETY: positions below `len` were initialised when the slice was taken and are never written again.
        unsafe { std::slice::from_raw_parts(self.memory.start.as_ptr(), self.len) }
    }
}

impl<T: Plain> Slice<T> {
    /// The same memory as an Arrow buffer.
    pub(crate) fn to_buffer(&self) -> Buffer {
        let bytes = self.len * size_of::<T>();
        let owner: Arc<dyn arrow::alloc::Allocation> = Arc::<Memory<T>>::clone(&self.memory);
        // SAFETY: the pointer is valid for `bytes` initialised bytes that never change, and `owner` keeps them alive.
        unsafe { Buffer::from_custom_allocation(self.memory.start.cast(), bytes, owner) }
    }
}

impl<T: Plain + ArrowNativeType> Slice<T> {
    /// A run of the values as an Arrow buffer, without a copy.
    pub(crate) fn to_scalars(&self, from: usize, len: usize) -> ScalarBuffer<T> {
        assert!(from + len <= self.len, "a run within the slice");
        ScalarBuffer::new(self.to_buffer(), from, len)
    }
}

// `Allocation` asks for unwind safety: a panic elsewhere cannot leave this memory half written for its readers.
impl<T: Plain> RefUnwindSafe for Memory<T> {}

/// A string array from views made by a dictionary over its own blocks.
///
/// The caller owes: each view was made from UTF-8 text, is either inline or points into `blocks` at the very bytes it was
/// made from. [`Dictionary`](super::dictionary::Dictionary) is the only caller and makes its views so.
pub(crate) fn string_views(views: Vec<u128>, blocks: Arc<[Buffer]>, nulls: Option<NullBuffer>) -> StringViewArray {
    // SAFETY: the dictionary made each view with `make_view` from a `&str` it then copied to that place; blocks only grow.
    unsafe { StringViewArray::new_unchecked(ScalarBuffer::from(views), blocks, nulls) }
}

/// The bytes of a string view that holds its text itself.
///
/// # Panics
/// When `len` is above 12, the most a view holds itself.
pub(crate) fn inline_bytes(view: &u128, len: usize) -> &[u8] {
    assert!(len <= 12, "longer texts stand in a block");
    // SAFETY: a view is 16 bytes, the first four its length; at most 12 more are read.
    unsafe { StringViewArray::inline_value(view, len) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn slices_keep_what_they_saw(parts in prop::collection::vec(prop::collection::vec(any::<i64>(), 0..50), 0..20)) {
            let mut buffer = AppendBuffer::with_capacity(1);
            let mut written = Vec::new();
            let mut slices = Vec::new();
            for part in &parts {
                if part.len() % 2 == 0 { buffer.extend_from_slice(part) } else { part.iter().for_each(|v| buffer.push(*v)) }
                written.extend_from_slice(part);
                slices.push((buffer.slice(), written.clone()));
            }
            for (slice, expected) in &slices {
                prop_assert_eq!(&**slice, expected.as_slice());
                let scalars = slice.to_scalars(0, slice.len());
                prop_assert_eq!(&*scalars, expected.as_slice());
            }
        }
    }

    #[test]
    fn a_reader_on_another_thread_sees_a_constant_prefix() {
        let mut buffer = AppendBuffer::with_capacity(4);
        let (send, receive) = std::sync::mpsc::sync_channel::<Slice<u32>>(4);
        let reader = std::thread::spawn(move || {
            let mut checked = 0usize;
            for slice in receive {
                assert!(slice.iter().enumerate().all(|(i, v)| *v as usize == i));
                checked += slice.len();
            }
            checked
        });
        for round in 0..200u32 {
            for i in 0..37 {
                buffer.push(round * 37 + i);
            }
            send.send(buffer.slice()).expect("the reader lives");
        }
        drop(send);
        assert_eq!(reader.join().expect("no panic"), (1..=200).map(|r| r * 37).sum::<usize>());
    }

    #[test]
    fn an_arrow_array_outlives_its_buffer() {
        let mut buffer = AppendBuffer::with_capacity(2);
        buffer.extend_from_slice(&[1.5f64, 2.5, 3.5]);
        let scalars = buffer.slice().to_scalars(1, 2);
        buffer.extend_repeat(9.0, 100);
        drop(buffer);
        assert_eq!(&*scalars, &[2.5, 3.5]);
    }
}
