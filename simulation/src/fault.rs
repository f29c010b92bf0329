//! Faults: what a seed draws, and how they are done to the simulation.

use std::time::Duration;

use memcached_fake::lies::{Act, Lie};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use turmoil::Sim;

use crate::network::{Dials, Unanswered};
use crate::plan::{Plan, generator};
use crate::server::Machine;

/// Something bad that lasts for a while.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// Every message is lost; dials hang or are refused.
    Partition {
        /// Do dials hang?
        hangs: bool,
    },
    /// Messages of one direction are lost.
    OneWay {
        /// Those to the server?
        to_server: bool,
    },
    /// Messages arrive when it is over.
    Hold,
    /// The process ends, its connections are closed, and another begins with an empty store.
    Crash {
        /// Are dials refused meanwhile, or do they hang?
        refuses: bool,
    },
    /// The same without a word to anybody.
    PowerLoss,
    /// Messages take up to so long.
    Slow(Duration),
    /// The server breaks the protocol, or its connections.
    Lie(Lie),
}

/// A fault with its place and time.
#[derive(Debug, Clone)]
pub struct Event {
    /// From when.
    pub begin: Duration,
    /// Until when.
    pub end: Duration,
    /// Index of the server.
    pub server: usize,
    /// Index of the only client that is concerned; `None`: all. The server's own faults concern all.
    pub client: Option<usize>,
    /// What.
    pub fault: Fault,
}

/// Draws faults; those of one server do not overlap.
pub(crate) fn draw(plan: &Plan) -> Vec<Event> {
    let mut rng = generator(plan.seed, 2);
    let rng = &mut rng;
    let mut events: Vec<Event> = Vec::new();
    for _ in 0..rng.random_range(1..=8) {
        let (server, fault) = (rng.random_range(0..plan.servers), fault(rng, plan));
        let longest = plan.healed.as_millis() as u64;
        let begin = rng.random_range(200..longest - 500);
        let end = begin + rng.random_range(50..=(longest - begin).min(3_000));
        let (begin, end) = (Duration::from_millis(begin), Duration::from_millis(end));
        let client = rng.random_bool(0.3).then(|| rng.random_range(0..plan.clients));
        let overlaps = |other: &Event| other.server == server && begin <= other.end && other.begin <= end;
        if !events.iter().any(overlaps) {
            events.push(Event { begin, end, server, client, fault });
        }
    }
    events.sort_by_key(|event| event.begin);
    events
}

fn fault(rng: &mut ChaCha8Rng, plan: &Plan) -> Fault {
    match rng.random_range(0..12) {
        0 | 1 => Fault::Partition { hangs: rng.random_bool(0.6) },
        2 => Fault::OneWay { to_server: rng.random_bool(0.5) },
        3 | 4 => Fault::Hold,
        5 | 6 => Fault::Crash { refuses: rng.random_bool(0.5) },
        7 => Fault::PowerLoss,
        8 | 9 => Fault::Slow(plan.config.op_timeout.mul_f64(rng.random_range(0.5..6.0))),
        _ => Fault::Lie(lie(rng, plan)),
    }
}

/// One that costs errors and time, never a wrong value.
fn lie(rng: &mut ChaCha8Rng, plan: &Plan) -> Lie {
    let time = plan.config.op_timeout.mul_f64(rng.random_range(0.1..1.5));
    let act = match rng.random_range(0..16) {
        0 => Act::Delay(time),
        1 => Act::Hang,
        2 => Act::Close,
        3 => Act::CloseInsideValue,
        4 => Act::CutAfter(rng.random_range(0..30)),
        5 => Act::WrongKey,
        6 => Act::WrongOpaque,
        7 => Act::WrongLength(if rng.random_bool(0.5) { 1 } else { -1 }),
        8 => Act::HugeLength(u64::MAX),
        9 => Act::DuplicateReply,
        10 => Act::SwapWithNext,
        11 => Act::TrailingBytes("HD\r\n".into()),
        12 => Act::ServerError("out of luck".to_owned()),
        13 => Act::Drip(Duration::from_millis(1)),
        14 => Act::LateApply(time),
        _ => Act::RefuseNew,
    };
    Lie::new(act).every(rng.random_range(1..=10))
}

/// What faults are done to.
pub(crate) struct Stage<'a> {
    pub(crate) sim: &'a mut Sim<'static>,
    pub(crate) machines: &'a [Machine],
    pub(crate) clients: &'a [String],
    pub(crate) dials: &'a Dials,
    /// Longest way of a message in peace.
    pub(crate) latency: Duration,
}

impl Stage<'_> {
    fn concerned(&self, event: &Event) -> Vec<String> {
        match event.client {
            Some(client) => self.clients.get(client).into_iter().cloned().collect(),
            None => self.clients.to_vec(),
        }
    }

    fn dials(&self, clients: &[String], addr: &str, fault: Option<Unanswered>) {
        clients.iter().for_each(|client| self.dials.set(client, addr, fault));
    }

    pub(crate) fn begin(&mut self, event: &Event) {
        let Some(machine) = self.machines.get(event.server) else { return };
        let (server, addr, clients) = (machine.name.as_str(), machine.addr(), self.concerned(event));
        match &event.fault {
            Fault::Partition { hangs } => {
                self.dials(&clients, &addr, hangs.then_some(Unanswered::Hangs));
                clients.iter().for_each(|client| self.sim.partition(client.as_str(), server));
            }
            Fault::OneWay { to_server } => {
                self.dials(&clients, &addr, Some(Unanswered::Hangs));
                for client in &clients {
                    match to_server {
                        true => self.sim.partition_oneway(client.as_str(), server),
                        false => self.sim.partition_oneway(server, client.as_str()),
                    }
                }
            }
            Fault::Hold => clients.iter().for_each(|client| self.sim.hold(client.as_str(), server)),
            Fault::Crash { refuses } => {
                self.dials(self.clients, &addr, refuses.then_some(Unanswered::Refused));
                self.sim.crash(server);
            }
            Fault::PowerLoss => {
                self.dials(self.clients, &addr, Some(Unanswered::Hangs));
                self.clients.iter().for_each(|client| self.sim.partition(client.as_str(), server));
                self.sim.crash(server);
                self.clients.iter().for_each(|client| self.sim.repair(client.as_str(), server));
            }
            Fault::Slow(longest) => {
                let longest = self.latency.max(*longest);
                for client in &clients {
                    self.sim.set_link_max_message_latency(client.as_str(), server, longest);
                }
            }
            Fault::Lie(lie) => drop(machine.engine().lies().add(lie.clone())),
        }
    }

    pub(crate) fn end(&mut self, event: &Event) {
        let Some(machine) = self.machines.get(event.server) else { return };
        let (server, addr, clients) = (machine.name.as_str(), machine.addr(), self.concerned(event));
        match &event.fault {
            Fault::Partition { .. } => {
                clients.iter().for_each(|client| self.sim.repair(client.as_str(), server));
                self.dials(&clients, &addr, None);
            }
            Fault::OneWay { to_server } => {
                for client in &clients {
                    match to_server {
                        true => self.sim.repair_oneway(client.as_str(), server),
                        false => self.sim.repair_oneway(server, client.as_str()),
                    }
                }
                self.dials(&clients, &addr, None);
            }
            Fault::Hold => clients.iter().for_each(|client| self.sim.release(client.as_str(), server)),
            Fault::Crash { .. } | Fault::PowerLoss => {
                self.sim.bounce(server);
                self.dials(self.clients, &addr, None);
            }
            Fault::Slow(_) => {
                for client in &clients {
                    self.sim.set_link_max_message_latency(client.as_str(), server, self.latency);
                }
            }
            Fault::Lie(_) => drop(machine.engine().lies().set(machine.born_with.iter().cloned())),
        }
    }
}
