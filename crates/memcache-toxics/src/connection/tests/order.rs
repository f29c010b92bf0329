//! Replies that could be a quiet request's or another's: what the fault says stays in its turn.

use super::{saw, wire};

#[test]
fn an_error_that_could_be_a_quiet_requests_does_not_put_later_answers_out_of_order() {
    let mut wire = wire("mc_miss", "key_prefix=c");
    wire.up("ms a 1 q O1\r\nx\r\nget boom\r\n");
    // Of the second: the first went without saying.
    wire.down("SERVER_ERROR oom\r\n");
    saw(&mut wire, "ms a 1 q O1\r\nx\r\nget boom\r\n", "SERVER_ERROR oom\r\n");
    wire.up("get c\r\nget d\r\n");
    saw(&mut wire, "mn\r\nget d\r\n", "");
    wire.down("MN\r\nVALUE d 0 1\r\ny\r\nEND\r\n");
    saw(&mut wire, "", "END\r\nVALUE d 0 1\r\ny\r\nEND\r\n");
    // Now it is certain again.
    wire.up("get c\r\n");
    saw(&mut wire, "", "END\r\n");
    assert_eq!(wire.lost(), None);
}

#[test]
fn it_is_in_step_again_whoever_the_error_was_about() {
    for (error, rest) in
        [("", "END\r\n"), ("SERVER_ERROR for set\r\n", "END\r\n"), ("SERVER_ERROR for get\r\n", "")]
    {
        let mut wire = wire("mc_miss", "key_prefix=c");
        wire.up("ms a 1 q\r\nx\r\nget boom\r\ntouch d 1\r\nmn\r\nget c\r\nget d\r\n");
        wire.seen();
        wire.down(format!("{error}{rest}TOUCHED\r\nMN\r\nMN\r\nVALUE d 0 1\r\ny\r\nEND\r\n"));
        let wanted = format!("{error}{rest}TOUCHED\r\nMN\r\nEND\r\nVALUE d 0 1\r\ny\r\nEND\r\n");
        saw(&mut wire, "", &wanted);
        wire.up("get c\r\n");
        saw(&mut wire, "", "END\r\n");
        assert_eq!(wire.lost(), None);
    }
}

#[test]
fn an_error_never_stands_for_the_answer_to_a_probe() {
    let mut wire = wire("mc_miss", "key_prefix=c");
    // A server answers a malformed request though it has `noreply`.
    wire.up("mg a v q O1\r\nset b 0 0 1 noreply\r\nx\r\nget c\r\nget d\r\n");
    wire.seen();
    wire.down("SERVER_ERROR one\r\nSERVER_ERROR two\r\nMN\r\n");
    // It ends rather than that the miss of `c` comes too early and the `MN` for `d`.
    assert_eq!((wire.seen().1.as_str(), wire.ended[1]), ("SERVER_ERROR one\r\n", true));
}

#[test]
fn nothing_is_skipped_that_no_ambiguous_reply_can_have_answered() {
    let mut wire = wire("mc_miss", "key_prefix=c");
    wire.up("mg a v q\r\nget b\r\nget c\r\n");
    wire.down("MN\r\n");
    assert!(wire.ended[1], "an answer is owed, and the order is not understood");
    assert_eq!(wire.seen().1, "");
}
