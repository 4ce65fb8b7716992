//! Sets of stretches of event time.

/// Half-open stretches of milliseconds: sorted, disjoint, and merged where they touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges(Vec<(i64, i64)>);

impl Ranges {
    /// One stretch.
    pub fn of(start: i64, end: i64) -> Self {
        let mut ranges = Self::default();
        ranges.add(start, end);
        ranges
    }

    /// The stretches, ascending.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (i64, i64)> + '_ {
        self.0.iter().copied()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many milliseconds it covers.
    pub fn total(&self) -> i64 {
        self.iter().map(|(start, end)| end.saturating_sub(start)).fold(0, i64::saturating_add)
    }

    /// Adds `start..end`.
    pub fn add(&mut self, mut start: i64, mut end: i64) {
        if start >= end {
            return;
        }
        let first = self.0.partition_point(|range| range.1 < start);
        let last = self.0.partition_point(|range| range.0 <= end);
        if let Some(touched) = self.0.get(first..last).filter(|touched| !touched.is_empty()) {
            start = start.min(touched[0].0);
            end = end.max(touched[touched.len() - 1].1);
        }
        self.0.splice(first..last.max(first), [(start, end)]);
    }

    /// Takes `start..end` out.
    pub fn remove(&mut self, start: i64, end: i64) {
        if start >= end {
            return;
        }
        let first = self.0.partition_point(|range| range.1 <= start);
        let last = self.0.partition_point(|range| range.0 < end);
        if first >= last {
            return;
        }
        let (left, right) = (self.0[first].0, self.0[last - 1].1);
        let rest = [(left, start), (end, right)].into_iter().filter(|(from, to)| from < to);
        self.0.splice(first..last, rest);
    }

    /// The first stretch that reaches beyond `point`, cut to begin there at the earliest.
    pub fn first_from(&self, point: i64) -> Option<(i64, i64)> {
        let index = self.0.partition_point(|range| range.1 <= point);
        self.0.get(index).map(|&(start, end)| (start.max(point), end))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn stretches_merge_where_they_touch_and_split_where_something_is_taken_out() {
        let mut ranges = Ranges::of(10, 20);
        ranges.add(30, 40);
        ranges.add(20, 25);
        ranges.add(5, 5);
        assert_eq!(ranges, Ranges(vec![(10, 25), (30, 40)]));
        ranges.add(24, 30);
        assert_eq!(ranges, Ranges(vec![(10, 40)]));
        ranges.remove(15, 18);
        ranges.remove(0, 11);
        assert_eq!(ranges, Ranges(vec![(11, 15), (18, 40)]));
        assert_eq!(ranges.total(), 26);
        assert_eq!(
            [ranges.first_from(0), ranges.first_from(15), ranges.first_from(20), ranges.first_from(40)],
            [Some((11, 15)), Some((18, 40)), Some((20, 40)), None]
        );
    }

    proptest! {
        #[test]
        fn a_set_of_ranges_is_a_set_of_numbers(changes in prop::collection::vec((any::<bool>(), 0i64..40, 0i64..40), 0..20)) {
            let (mut ranges, mut model) = (Ranges::default(), [false; 40]);
            for (add, start, end) in changes {
                if add { ranges.add(start, end) } else { ranges.remove(start, end) }
                (start..end).for_each(|number| model[number as usize] = add);
            }
            let held: Vec<i64> = ranges.iter().flat_map(|(start, end)| start..end).collect();
            let expect: Vec<i64> = (0..40).filter(|&number| model[number as usize]).collect();
            prop_assert_eq!(held, expect);
            prop_assert!(ranges.0.windows(2).all(|pair| pair[0].1 < pair[1].0));
        }
    }
}
