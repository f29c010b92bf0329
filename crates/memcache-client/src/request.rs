//! What is asked of one server in one attempt, and what it answers: one op, or the server's part of a batch.

use std::borrow::Cow;

use crate::error::Error;
use crate::op::{Op, Reply};

pub(crate) enum Request<'a> {
    One(&'a Op),
    /// Ops, and where to put their ends, in order. Those without one share the error of the whole.
    Many(&'a [Cow<'a, Op>], &'a mut Replies),
}

pub(crate) enum Answer {
    One(Reply),
    Many,
}

/// The ends of the first ops of a batch.
pub(crate) struct Replies {
    pub(crate) ends: Vec<Result<Reply, Error>>,
    refused: Option<Error>,
}

impl Replies {
    /// For a batch of `ops` ops.
    pub(crate) fn new(ops: usize) -> Self {
        Self { ends: Vec::with_capacity(ops), refused: None }
    }

    /// The end of the next op. A refusal is a whole one: what is behind it can be read. Any other error is given back: it
    /// ends the batch.
    pub(crate) fn push(&mut self, end: Result<Reply, Error>) -> Result<(), Error> {
        match &end {
            Ok(_) => {}
            Err(error @ (Error::Server(_) | Error::Unsupported { .. })) => self.refused = Some(error.clone()),
            Err(error) => return Err(error.clone()),
        }
        self.ends.push(end);
        Ok(())
    }

    /// What the whole says of the server, once all ops have their ends.
    pub(crate) fn answer(&mut self) -> Result<Answer, Error> {
        self.refused.take().map_or(Ok(Answer::Many), Err)
    }
}
