//! Buffers that are used again: musl gives large ones back to the system at once, and new ones cost
//! a page fault for each of their pages.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Buffers that nobody uses at the moment.
#[derive(Debug, Default)]
pub(crate) struct Spare(Mutex<Vec<Vec<u8>>>);

impl Spare {
    /// An empty buffer.
    pub(crate) fn take(&self) -> Vec<u8> {
        self.lock().pop().unwrap_or_default()
    }

    /// Keeps a buffer for whoever wants the next one.
    pub(crate) fn give(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        self.lock().push(buffer);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_that_was_given_back_comes_empty_with_its_room() {
        let spare = Spare::default();
        spare.give(vec![1; 1000]);
        let buffer = spare.take();
        assert!(buffer.is_empty() && buffer.capacity() >= 1000);
        assert_eq!(spare.take().capacity(), 0, "there was only one");
    }
}
