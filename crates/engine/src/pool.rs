//! Buffers for encoded batches, used again and again: a body of two megabytes should not be mapped and faulted in anew
//! for every batch.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Buffers that are not in use.
#[derive(Debug)]
pub(crate) struct BufferPool {
    free: Mutex<Vec<Vec<u8>>>,
    keep: usize,
}

/// A buffer that returns to its pool when the last [`Bytes`] over it is gone.
struct Pooled {
    buffer: Vec<u8>,
    pool: Arc<BufferPool>,
}

/// A larger buffer is not kept: one giant record must not hold its memory for ever.
const LARGEST_KEPT: usize = 8 << 20;

// === impl BufferPool ===

impl BufferPool {
    /// A pool that keeps at most `keep` buffers.
    pub(crate) fn new(keep: usize) -> Arc<Self> {
        Arc::new(Self { free: Mutex::new(Vec::with_capacity(keep)), keep })
    }

    pub(crate) fn take(&self) -> Vec<u8> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    /// The buffer as shared bytes that return to this pool.
    pub(crate) fn share(self: &Arc<Self>, buffer: Vec<u8>) -> Bytes {
        Bytes::from_owner(Pooled { buffer, pool: Arc::clone(self) })
    }

    fn give_back(&self, mut buffer: Vec<u8>) {
        if buffer.capacity() > LARGEST_KEPT {
            return;
        }
        buffer.clear();
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < self.keep {
            free.push(buffer);
        }
    }
}

// === impl Pooled ===

impl AsRef<[u8]> for Pooled {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        self.pool.give_back(std::mem::take(&mut self.buffer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_when_the_last_slice_of_it_is_gone() {
        let pool = BufferPool::new(1);
        let mut buffer = pool.take();
        buffer.extend_from_slice(b"0123456789");
        let at = buffer.as_ptr();
        let bytes = pool.share(buffer);
        let slice = bytes.slice(2..4);
        drop(bytes);
        assert_eq!(pool.take().capacity(), 0, "still in use");
        drop(slice);
        let again = pool.take();
        assert_eq!((again.as_ptr(), again.len()), (at, 0));
    }
}
