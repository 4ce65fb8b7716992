//! Finds the values of a line: where the runs of blanks end and begin, 64 bytes at a time.
//!
//! Each block of 64 bytes becomes one word with a bit per byte (blank or not); the edges between runs are one shift
//! and one exclusive or away. So the cost follows the length of the line, not the number or the length of its values,
//! and the processor has no branch to guess wrong.

/// How many places [`edges`] needs beyond those that the caller looks at: edges are written in groups.
pub(crate) const SLACK: usize = 8;

/// The values of a line, for those who look at one line only. Blanks are the space and the control characters 9 to
/// 13, so the `\r` of a Windows line belongs to no value.
pub(crate) fn values(line: &str) -> impl Iterator<Item = &str> + Clone {
    line.split(|c| matches!(c, ' ' | '\t'..='\r')).filter(|value| !value.is_empty())
}

/// Writes the edges of the values in `bytes[start..end]` to `out`: where the first value begins, where it ends, where
/// the second begins, and so on; gives how many there are, which may be more than were written. What is a blank is
/// as in [`values`].
///
/// `out` must have [`SLACK`] places more than the caller looks at: they are filled with whatever is convenient.
#[inline]
pub(crate) fn edges(bytes: &[u8], start: usize, end: usize, out: &mut [u32]) -> usize {
    let mut found = 0;
    let mut at = start;
    let mut in_value = 0;
    while at < end {
        let mut values = match bytes[at..].first_chunk::<64>() {
            Some(block) => values_in(block),
            None => {
                let mut block = [b' '; 64];
                block[..bytes.len() - at].copy_from_slice(&bytes[at..]);
                values_in(&block)
            }
        };
        let left = end - at;
        if left < 64 {
            values &= (1 << left) - 1;
        }
        let mut bits = values ^ (values << 1 | in_value);
        let count = bits.count_ones() as usize;
        // Eight at a time whether there are eight or not: cheaper than a branch that is guessed wrong.
        let mut written = 0;
        while written < count {
            let Some(places) = out.get_mut(found + written..).and_then(<[u32]>::first_chunk_mut::<8>) else {
                break;
            };
            for place in places {
                *place = at as u32 + bits.trailing_zeros();
                bits &= bits.wrapping_sub(1);
            }
            written += 8;
        }
        found += count;
        in_value = values >> 63;
        at += 64;
    }
    // A value that ends with the line and a block: no later blank showed its end.
    if in_value == 1 {
        if let Some(place) = out.get_mut(found) {
            *place = end as u32;
        }
        found += 1;
    }
    found
}

/// A bit for every byte that is no blank, the first byte lowest: eight bytes at a time, in arithmetic.
#[inline]
fn values_in(block: &[u8; 64]) -> u64 {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    const ONES: u64 = 0x0101_0101_0101_0101;
    let mut values = 0;
    for index in 0..8 {
        let word = block[index * 8..].first_chunk::<8>().map_or(0, |word| u64::from_le_bytes(*word));
        // In the highest bit of each byte: whether it is no space, is above 13, is below 9. Bytes from 128 on have
        // that bit set themselves.
        let space = word ^ (ONES * b' ' as u64);
        let not_space = ((space & LOW) + LOW) | space;
        let above_13 = (word & LOW) + ONES * (0x80 - 14);
        let below_9 = !((word & LOW) + ONES * (0x80 - 9));
        let values_of_word = not_space & (above_13 | below_9 | word) & !LOW;
        // Gathers the eight highest bits in the top byte of the product.
        values |= ((values_of_word >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) << (index * 8);
    }
    values
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What `edges` finds in the middle of other text, as the values themselves.
    fn found(page: &str, start: usize, end: usize) -> Vec<&str> {
        let mut out = vec![0; 2 * (end - start) + 2 + SLACK];
        let count = edges(page.as_bytes(), start, end, &mut out);
        assert!(count.is_multiple_of(2), "every value that begins ends");
        out[..count].chunks(2).map(|edge| &page[edge[0] as usize..edge[1] as usize]).collect()
    }

    fn check(before: &str, line: &str, after: &str) {
        let page = format!("{before}{line}{after}");
        let expect: Vec<&str> = values(line).collect();
        assert_eq!(
            found(&page, before.len(), before.len() + line.len()),
            expect,
            "{before:?} {line:?} {after:?}"
        );
    }

    #[test]
    fn values_are_found_wherever_blocks_begin_and_end() {
        for length in 0..200 {
            let line: String = (0..length).map(|at| if at % 7 == 3 { ' ' } else { 'x' }).collect();
            for (before, after) in [("", ""), ("abc", "\n"), ("abc ", " def"), ("", &*"y".repeat(70))] {
                check(before, &line, after);
                check(before, &"x".repeat(length), after);
                check(before, &" ".repeat(length), after);
            }
        }
    }

    #[test]
    fn a_line_with_more_values_than_there_are_places_is_still_counted() {
        let line = "a ".repeat(500);
        let mut out = [0; 8 + SLACK];
        assert_eq!(edges(line.as_bytes(), 0, line.len(), &mut out), 1000);
        assert_eq!(out[..8], [0, 1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn every_byte_is_a_blank_or_part_of_a_value() {
        for byte in 0..=255 {
            let mut block = [b'x'; 64];
            block[5] = byte;
            block[63] = byte;
            let is_blank = byte == b' ' || (9..=13).contains(&byte);
            assert_eq!(values_in(&block), if is_blank { !(1 << 5 | 1 << 63) } else { u64::MAX }, "{byte}");
        }
    }

    proptest! {
        #[test]
        fn any_text_splits_as_a_slow_loop_splits_it(before in "[ -~é\t]{0,80}", line in "[ -~é\t\r]{0,300}", after in "[ -~é\n]{0,80}") {
            check(&before, &line, &after);
        }
    }
}
