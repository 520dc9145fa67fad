//! Bytes for files.

/// `length` bytes that differ at every offset and by `seed`, so that a piece from the wrong place or file is noticed.
#[must_use]
pub fn pattern(seed: u64, length: usize) -> Vec<u8> {
    let step = 0x9E37_79B9_7F4A_7C15;
    (0..length as u64).map(|at| (at.wrapping_add(seed << 40).wrapping_mul(step) >> 56) as u8).collect()
}
