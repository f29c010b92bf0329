//! One direction of one connection, without its sockets: a chain of stages that chunks, and finally the end, go through.
//!
//! ```text
//!  push ─▶ [toxic 1] ─▶ [toxic 2] ─▶ … ─▶ output ─▶ (written by the connection)
//! ```
//!
//! A stage's dice are thrown when it starts: when the connection opens, when the toxic is added or updated, and for the
//! toxic directly before one that is added or removed. A stage that its dice spare passes everything untouched.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use super::dice::Dice;
use super::dose::{Dose, LinkDose};
use crate::toxic::{Behaviour, Chunk, Pop, ToxicKind};
use crate::wire::{Attributes, LinkCounters, Stream};

/// Bytes that wait to be written at most before the source is no longer read.
const OUTPUT_MAX: usize = 64 * 1024;

/// What a stage is made from.
#[derive(Debug, Clone)]
pub(super) struct Spec {
    pub(super) name: String,
    pub(super) kind: &'static ToxicKind,
    pub(super) toxicity: f64,
    pub(super) attributes: Attributes,
}

struct Stage {
    spec: Arc<Spec>,
    behaviour: Box<dyn Behaviour>,
    active: bool,
    /// It touched what came in last, so what is behind it is touched already.
    touching: bool,
    /// Removed, but it still owes something.
    leaving: bool,
    /// The end has come in, and has gone out.
    got_end: bool,
    passed_end: bool,
}

/// What is left to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PipeState {
    /// Look again at that moment, or when something happens.
    Open(Option<Instant>),
    /// The end has gone through: close when the output is written.
    Ended,
    /// Close now.
    Closed,
}

pub(super) struct Pipe {
    stages: Vec<Stage>,
    output: VecDeque<Bytes>,
    output_bytes: usize,
    input_ended: bool,
    ended: bool,
    closed: bool,
    /// Something went from one stage to another since it was asked.
    moved: bool,
    dice: Dice,
    dose: Arc<Dose>,
    link: LinkDose,
    tail: [u8; 2],
}

impl Pipe {
    pub(super) fn new(dice: Dice, dose: Arc<Dose>, link: LinkDose) -> Self {
        Self {
            stages: Vec::new(),
            output: VecDeque::new(),
            output_bytes: 0,
            input_ended: false,
            ended: false,
            closed: false,
            moved: false,
            dice,
            dose,
            link,
            tail: [0; 2],
        }
    }

    /// Would a chunk come out at once and untouched?
    pub(super) fn is_transparent(&self) -> bool {
        self.output.is_empty() && !self.stages.iter().any(|stage| stage.active)
    }

    /// Has it nothing to do but to pass on what comes in?
    pub(super) fn is_idle(&self) -> bool {
        self.is_transparent() && !self.input_ended && !self.closed
    }

    /// Has anything gone from one stage to another? Says it once.
    pub(super) fn has_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    /// Has the end of its source come in?
    pub(super) fn has_ended_input(&self) -> bool {
        self.input_ended
    }

    /// Should the source be read?
    pub(super) fn wants_input(&self) -> bool {
        !self.input_ended && self.output_bytes < OUTPUT_MAX && self.has_room(0)
    }

    /// What has come in and was touched.
    pub(super) fn counters(&self) -> LinkCounters {
        self.link.counters()
    }

    /// The last two bytes that have come in.
    pub(super) fn tail(&self) -> [u8; 2] {
        self.tail
    }

    /// Notes a chunk as it was read.
    pub(super) fn count_read(&mut self, bytes: &[u8]) {
        self.link.read(&self.dose, bytes.len());
        match bytes {
            [.., a, b] => self.tail = [*a, *b],
            [b] => self.tail = [self.tail[1], *b],
            [] => {}
        }
    }

    /// Notes that bytes were written past the output.
    pub(super) fn count_sent(&self, bytes: usize) {
        self.link.sent(&self.dose, bytes);
    }

    pub(super) fn push(&mut self, bytes: Bytes, now: Instant) {
        self.deliver(0, Chunk { bytes, stamp: now }, now);
    }

    pub(super) fn end_input(&mut self, now: Instant) {
        self.input_ended = true;
        self.deliver_end(0, now);
    }

    /// Bytes to write, in order.
    pub(super) fn output(&self) -> Option<&Bytes> {
        self.output.front()
    }

    /// That many bytes of the first chunk were written.
    pub(super) fn written(&mut self, n: usize) {
        self.count_sent(n);
        self.output_bytes -= n;
        if let Some(mut chunk) = self.output.pop_front()
            && n < chunk.len()
        {
            self.output.push_front(chunk.split_off(n));
        }
    }

    /// Moves everything as far as it goes now.
    pub(super) fn pump(&mut self, now: Instant) -> PipeState {
        let mut wake = None;
        let mut progress = true;
        while progress && !self.closed {
            progress = false;
            wake = None;
            // From the back, so that room opens up for those in front.
            for index in (0..self.stages.len()).rev() {
                progress |= self.pump_stage(index, now, &mut wake);
            }
        }
        self.forget_drained(now);
        if self.closed {
            PipeState::Closed
        } else if self.ended && self.output.is_empty() {
            PipeState::Ended
        } else {
            PipeState::Open(wake)
        }
    }

    fn pump_stage(&mut self, index: usize, now: Instant, wake: &mut Option<Instant>) -> bool {
        let mut progress = false;
        while self.stages[index].active && !self.stages[index].passed_end && self.has_room(index + 1) {
            match self.stages[index].behaviour.pop(now) {
                Pop::Chunk(chunk) => {
                    self.deliver(index + 1, chunk, now);
                    progress = true;
                }
                Pop::Wait(until) => {
                    *wake = match (*wake, until) {
                        (Some(a), Some(b)) => Some(a.min(b)),
                        (a, b) => a.or(b),
                    };
                    break;
                }
                Pop::End => {
                    self.stages[index].passed_end = true;
                    self.deliver_end(index + 1, now);
                    progress = true;
                }
                Pop::Close => {
                    self.closed = true;
                    break;
                }
            }
        }
        progress
    }

    /// Adds a stage; the one directly before it starts anew.
    pub(super) fn add(&mut self, spec: Arc<Spec>, behaviour: Box<dyn Behaviour>, active: bool, now: Instant) {
        if let Some(before) = self.before(self.place(spec.kind)) {
            self.restart(before, now);
        }
        self.append(spec, behaviour, active);
    }

    /// As [`Self::add`], for a chain that is just being made.
    pub(super) fn append(&mut self, spec: Arc<Spec>, behaviour: Box<dyn Behaviour>, active: bool) {
        let place = self.place(spec.kind);
        // Has the end gone by here already? Then nothing is left for the new stage.
        let ended = self.stages.get(place).map_or(self.ended, |next| next.got_end);
        let stage = Stage {
            spec,
            behaviour,
            active,
            touching: false,
            leaving: false,
            got_end: ended,
            passed_end: ended,
        };
        self.stages.insert(place, stage);
    }

    /// Where a stage of that kind goes: behind the others. But kinds that act on whole connections nest: what is behind
    /// upstream is in front downstream, so that each sees what the others answer in the server's place.
    fn place(&self, kind: &ToxicKind) -> usize {
        let around = self.stages.iter().position(|stage| stage.spec.kind.is_of_connections());
        around
            .filter(|_| kind.is_of_connections() && self.link.is(Stream::Downstream))
            .unwrap_or(self.stages.len())
    }

    pub(super) fn dice(&mut self) -> &mut Dice {
        &mut self.dice
    }

    pub(super) fn update(&mut self, spec: &Arc<Spec>, now: Instant) {
        if let Some(index) = self.position(&spec.name) {
            let stage = &mut self.stages[index];
            stage.behaviour.update(&spec.attributes, now);
            stage.spec = Arc::clone(spec);
            self.roll(index, now);
        }
    }

    pub(super) fn remove(&mut self, name: &str, now: Instant) {
        let Some(index) = self.position(name) else { return };
        self.release(index, now);
        if self.stages[index].active && !self.stages[index].behaviour.drained() {
            self.stages[index].leaving = true;
        } else {
            let stage = self.stages.remove(index);
            // What its dice had spared is closed too: that is what the stock server does.
            self.closed |= stage.behaviour.closes_on_removal();
        }
        if let Some(before) = self.before(index) {
            self.restart(before, now);
        }
    }

    /// Takes out removed stages that owe nothing any more.
    fn forget_drained(&mut self, now: Instant) {
        while let Some(index) =
            self.stages.iter().position(|stage| stage.leaving && stage.behaviour.drained())
        {
            self.release(index, now);
            self.stages.remove(index);
        }
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.stages.iter().position(|stage| stage.spec.name == name && !stage.leaving)
    }

    /// The stage directly before that place.
    fn before(&self, index: usize) -> Option<usize> {
        (0..index).rev().find(|index| !self.stages[*index].leaving)
    }

    /// The toxic behind it comes or goes: a stage starts anew, as if it had been updated with what it has.
    fn restart(&mut self, index: usize, now: Instant) {
        let stage = &mut self.stages[index];
        if !stage.spec.kind.is_of_connections() {
            stage.behaviour.update(&stage.spec.attributes, now);
            self.roll(index, now);
        }
    }

    /// Throws a stage's dice anew.
    fn roll(&mut self, index: usize, now: Instant) {
        let stage = &self.stages[index];
        if stage.spec.kind.is_of_connections() {
            return;
        }
        let (was_active, toxicity) = (stage.active, stage.spec.toxicity);
        let active = self.dice.throw(toxicity);
        if was_active && !active {
            self.release(index, now);
            // What it has begun it must end, or the stream would have a hole.
            if !self.stages[index].behaviour.drained() {
                return;
            }
        }
        self.stages[index].active = active;
    }

    /// Sends on what a stage holds, and the end if that had come in.
    fn release(&mut self, index: usize, now: Instant) {
        if !self.stages[index].active {
            return;
        }
        for chunk in self.stages[index].behaviour.release() {
            self.deliver(index + 1, chunk, now);
        }
        let stage = &mut self.stages[index];
        if stage.got_end && !stage.passed_end && stage.behaviour.drained() {
            stage.passed_end = true;
            self.deliver_end(index + 1, now);
        }
    }

    fn next_active(&self, from: usize) -> Option<usize> {
        (from..self.stages.len()).find(|index| self.stages[*index].active)
    }

    fn has_room(&self, from: usize) -> bool {
        match self.next_active(from) {
            Some(index) => self.stages[index].behaviour.has_room(),
            None => self.output_bytes < OUTPUT_MAX,
        }
    }

    fn deliver(&mut self, from: usize, chunk: Chunk, now: Instant) {
        let Some(index) = self.next_active(from) else {
            if !chunk.bytes.is_empty() {
                self.output_bytes += chunk.bytes.len();
                self.output.push_back(chunk.bytes);
            }
            return;
        };
        let bytes = chunk.bytes.len();
        self.moved = true;
        let touching = self.stages[index].behaviour.push(chunk, now);
        self.stages[index].touching = touching;
        let before = self.stages[..index].iter().any(|stage| stage.active && stage.touching);
        if touching && !before {
            self.link.touch(&self.dose, bytes);
        }
    }

    fn deliver_end(&mut self, from: usize, now: Instant) {
        match self.next_active(from) {
            Some(index) => {
                self.stages[index].got_end = true;
                self.stages[index].behaviour.end(now);
            }
            None => self.ended = true,
        }
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.link.close(&self.dose);
    }
}

#[cfg(test)]
mod tests;
