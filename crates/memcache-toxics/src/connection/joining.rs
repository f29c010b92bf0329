//! Where a toxic that is added to an open connection begins to follow it: at a request, when nothing is under way.
//!
//! A connection without bytes is in step. On another one it waits for a moment of rest (the last bytes of both directions are
//! line ends, the server spoke last) and then for a chunk of the client that begins with a command. A value can look like
//! that, and replies to requests before may be still under way: the toxic is *sure* of its step only when a reply has brought
//! back an opaque or answered a probe. Until then it lets replies pass that nobody waits for, has the server answer a probe
//! before it says anything of its own, and begins anew when it does not understand something. A fault may then meet the
//! wrong op; one that only holds bytes changes none even so.

use toxiproxy::toxic::Joined;
use toxiproxy::wire::Stream;

use crate::parse::request::begins_with_command;

const LINE_END: [u8; 2] = *b"\r\n";

#[derive(Debug)]
pub(super) struct Joining {
    /// The last two bytes of each direction.
    tails: [[u8; 2]; 2],
    last: Option<Stream>,
}

impl Joining {
    /// `None`: in step already.
    pub(super) fn new(joined: &Joined) -> Option<Self> {
        (joined.bytes != [0, 0]).then_some(Self { tails: joined.tails, last: joined.last })
    }

    /// It was no rest: waits for the next one.
    pub(super) fn anew() -> Self {
        Self { tails: [[0; 2]; 2], last: None }
    }

    /// Looks at the next chunk: does the toxic begin with it?
    pub(super) fn begins(&mut self, stream: Stream, bytes: &[u8]) -> bool {
        let rests = self.last == Some(Stream::Downstream) && self.tails == [LINE_END; 2];
        if rests && stream == Stream::Upstream && begins_with_command(bytes) {
            return true;
        }
        let tail = &mut self.tails[stream as usize];
        for byte in &bytes[bytes.len().saturating_sub(2)..] {
            *tail = [tail[1], *byte];
        }
        self.last = Some(stream);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_with_the_first_request_after_a_rest() {
        assert!(Joining::new(&Joined::default()).is_none());
        let tails = [LINE_END, *b"ab"];
        let joined = Joined { bytes: [9, 9], tails, last: Some(Stream::Downstream) };
        let mut joining = Joining::new(&joined).unwrap();
        let (up, down) = (Stream::Upstream, Stream::Downstream);
        for (stream, bytes, begins) in [
            // Inside a reply.
            (up, &b"get k\r\n"[..], false),
            (down, b"c\r", false),
            (down, b"\n", false),
            // At rest, but these are no commands.
            (up, b"some value\r\n", false),
            (down, b"END\r\n", false),
            (up, b"ge", false),
            (up, b"t k\r\n", false),
            (down, b"END\r\n", false),
            // The server speaks again.
            (down, b"VA 3", false),
            (up, b"get k\r\n", false),
            (down, b"END\r\n", false),
            (up, b"get k\r\n", true),
        ] {
            assert_eq!(joining.begins(stream, bytes), begins, "{bytes:?}");
        }
        let rest = Joined { tails: [LINE_END; 2], ..joined };
        assert!(Joining::new(&rest).unwrap().begins(up, b"mn\r\n"));
    }
}
