//! The last points, rendered, each with a number that is never used again.

use std::collections::VecDeque;

/// Numbers count from 0; points that had to go keep theirs.
#[derive(Debug)]
pub(crate) struct Ring {
    most: usize,
    /// Number of the first that is still there.
    first: u64,
    points: VecDeque<Box<str>>,
}

impl Ring {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, first: 0, points: VecDeque::with_capacity(most) }
    }

    pub(crate) fn push(&mut self, point: String) {
        if self.points.len() == self.most {
            self.points.pop_front();
            self.first += 1;
        }
        self.points.push_back(point.into_boxed_str());
    }

    /// The number of the next point.
    pub(crate) fn next(&self) -> u64 {
        self.first + self.points.len() as u64
    }

    /// Appends at most `most` points from number `from` on, with commas between; gives the number that follows.
    pub(crate) fn write(&self, from: u64, most: usize, text: &mut String) -> u64 {
        let from = from.max(self.first);
        let skipped = usize::try_from(from - self.first).unwrap_or(usize::MAX);
        let mut next = from;
        for point in self.points.iter().skip(skipped).take(most) {
            if next > from {
                text.push(',');
            }
            text.push_str(point);
            next += 1;
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_and_numbers_stay() {
        let mut ring = Ring::new(3);
        (0..5).for_each(|n| ring.push(n.to_string()));
        let written = |from, most| {
            let mut text = String::new();
            let next = ring.write(from, most, &mut text);
            (text, next)
        };
        assert_eq!(written(0, 9), ("2,3,4".to_owned(), 5));
        assert_eq!(written(3, 1), ("3".to_owned(), 4));
        assert_eq!(written(5, 9), (String::new(), 5));
        assert_eq!(ring.next(), 5);
    }
}
