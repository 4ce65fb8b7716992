//! Prefetching without `unsafe`.

/// Loads these bytes, each from a cache line that is needed soon, so that the misses overlap instead of following one
/// another.
///
/// The processor's prefetch instruction is `unsafe` to call. Loads that only a checksum depends on wait for each other as
/// little, and `black_box` keeps the compiler from leaving the checksum out.
#[inline]
pub fn prefetch(bytes: impl Iterator<Item = u8>) {
    std::hint::black_box(bytes.fold(0, |sum: u8, byte| sum ^ byte));
}
