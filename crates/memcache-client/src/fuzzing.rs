//! What must hold for any bytes, as functions of a fuzzer's input. The targets in `fuzz/` call them; the test at the end
//! replays the committed inputs. Not part of the API: only tests and fuzzers have this module.

mod reply;
mod request;

pub use reply::reply;
pub use request::request;

/// Takes choices off a fuzzer's input. When it is used up, every choice is the first one.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    /// One of `n` ways, at most 256. The digit 0 chooses the first, so that inputs can be written by hand.
    fn pick(&mut self, n: usize) -> usize {
        match self.take(1) {
            [byte] => usize::from(byte.wrapping_sub(b'0')) % n,
            _ => 0,
        }
    }

    fn one_of<T: Copy, const N: usize>(&mut self, of: [T; N]) -> T {
        of[self.pick(N)]
    }

    fn number(&mut self) -> u64 {
        self.take(8).iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    }

    fn short(&mut self) -> usize {
        usize::from(self.byte()) << 8 | usize::from(self.byte())
    }

    /// The next `n` bytes, or as many as there are.
    fn take(&mut self, n: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(n.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// Runs `property` over every committed input of a target.
    fn replay(target: &str, property: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
        let mut inputs = 0;
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            property(&std::fs::read(&path).unwrap());
            inputs += 1;
        }
        assert!(inputs > 0, "{} is empty", folder.display());
    }

    #[test]
    fn the_committed_inputs_of_the_reply_parser_hold() {
        replay("reply", super::reply);
    }

    #[test]
    fn the_committed_inputs_of_the_request_encoder_hold() {
        replay("request", super::request);
    }
}
