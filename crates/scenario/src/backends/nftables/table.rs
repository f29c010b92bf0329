//! One nftables table of ours: its name, which says who owns it and until when, its rules, and what they counted.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use observation::clock;
use serde::Deserialize;

use super::namespace::{CallError, Namespace};
use crate::removal::owner::OWNER;
use crate::removal::process;

/// Rules drop by parts per million.
const PPM: f64 = 1e6;
/// A table whose owner cannot be asked (another PID namespace) is a leftover this long after its deadline, seconds.
const GRACE_S: u64 = 15;

/// Who has made a table: a process that can be told from all others since the machine's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Maker {
    /// Inode of its PID namespace: elsewhere its PID means another process.
    space: u64,
    pid: u32,
    /// Clock ticks between the machine's start and its own: a PID is used again.
    started: u64,
}

impl Maker {
    /// This process.
    pub fn this() -> std::io::Result<Self> {
        Ok(Self { space: process::space()?, pid: std::process::id(), started: process::started()? })
    }

    /// Does it still run? `None`: it is in another PID namespace and cannot be asked.
    fn is_alive(self) -> Option<bool> {
        (process::space().ok()? == self.space).then(|| !process::has_ended(self.pid, self.started))
    }
}

/// `scenariod.<PID namespace>.<PID>.<start>.<port>.<number>.<deadline, Unix seconds>`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableName {
    maker: Maker,
    port: u16,
    number: u32,
    deadline: u64,
}

impl TableName {
    /// A name for the table of one fault; `number` tells those of one process apart, `deadline` is in Unix seconds.
    pub fn new(maker: Maker, port: u16, number: u32, deadline: u64) -> Self {
        Self { maker, port, number, deadline }
    }

    /// Has its owner gone, or its time?
    fn is_leftover(&self) -> bool {
        match self.maker.is_alive() {
            Some(alive) => !alive,
            None => clock::wall_ms() / 1000 > self.deadline + GRACE_S,
        }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { maker: Maker { space, pid, started }, port, number, deadline } = self;
        write!(f, "{OWNER}{space}.{pid}.{started}.{port}.{number}.{deadline}")
    }
}

impl FromStr for TableName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let not_ours = || format!("{text:?} is no name of a table of scenariod's");
        let mut fields = text.strip_prefix(OWNER).ok_or_else(not_ours)?.split('.');
        let mut field = || fields.next().and_then(|field| field.parse::<u64>().ok()).ok_or_else(not_ours);
        let maker =
            Maker { space: field()?, pid: field()?.try_into().map_err(|_| not_ours())?, started: field()? };
        let port = field()?.try_into().map_err(|_| not_ours())?;
        let number = field()?.try_into().map_err(|_| not_ours())?;
        let name = Self { maker, port, number, deadline: field()? };
        // Exactly so: `+7` and `007` parse too, but nobody of us writes them.
        if name.to_string() == text { Ok(name) } else { Err(not_ours()) }
    }
}

/// Packets that a table's rules saw and dropped, both directions together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// Packets that arrived.
    pub seen: u64,
    /// Those that were dropped.
    pub dropped: u64,
    /// Bytes of the packets that arrived, headers included.
    pub seen_bytes: u64,
    /// Bytes of those that were dropped.
    pub dropped_bytes: u64,
}

/// What makes the table: each packet meets one rule, once, on its arrival.
///
/// On arrival, because a packet that is dropped when it leaves is no lost packet: Linux tells the sender, and TCP sends it
/// again without counting a loss.
pub fn ruleset(name: &TableName, listen: SocketAddr, share: f64, only_loopback: bool) -> String {
    let (port, ip) = (listen.port(), listen.ip());
    let family = if ip.is_ipv4() { "ip" } else { "ip6" };
    let lo = if only_loopback { "iif \"lo\" " } else { "" };
    let dice = match (share * PPM).round() {
        ppm if ppm >= PPM => String::new(),
        ppm => format!("numgen random mod {PPM:.0} < {ppm:.0} "),
    };
    let rule = |address: &str, port_field: &str, comment: &str| {
        let at = if ip.is_unspecified() { String::new() } else { format!("{family} {address} {ip} ") };
        format!("    {lo}{at}tcp {port_field} {port} counter {dice}counter drop comment \"{comment}\"\n")
    };
    // `create` fails where `add` would join a table that is there already.
    format!(
        "create table inet {name}\ntable inet {name} {{\n  chain arriving {{\n    type filter hook input priority -400; policy accept;\n{}{}  }}\n}}\n",
        rule("daddr", "dport", "to the server"),
        rule("saddr", "sport", "to the client"),
    )
}

/// Makes it and reads it back.
pub async fn create(namespace: &Namespace, name: &TableName, ruleset: &str) -> Result<(), CallError> {
    namespace.nft(&["-f", "-"], ruleset).await?;
    count(namespace, name).await.map(drop)
}

/// Takes it away and reads back that it is gone; `false`: it was not there.
pub async fn delete(namespace: &Namespace, name: &TableName) -> Result<bool, CallError> {
    let deleted = namespace.nft(&["delete", "table", "inet", &name.to_string()], "").await;
    match (deleted, ours(namespace).await?.contains(name)) {
        (Ok(_), false) => Ok(true),
        (Err(_), false) => Ok(false),
        (Err(error), true) => Err(error),
        (Ok(_), true) => {
            Err(CallError { call: "read back".to_owned(), what: format!("table {name} is still there") })
        }
    }
}

/// Takes away what dead processes have left; gives their names.
pub async fn sweep(namespace: &Namespace) -> Result<Vec<TableName>, CallError> {
    let mut swept = Vec::new();
    for name in ours(namespace).await?.into_iter().filter(TableName::is_leftover) {
        // Somebody else may sweep too.
        if delete(namespace, &name).await? {
            swept.push(name);
        }
    }
    Ok(swept)
}

/// Tables of ours, of whatever process.
pub async fn ours(namespace: &Namespace) -> Result<Vec<TableName>, CallError> {
    let objects = listed(&namespace.nft(&["-j", "list", "tables", "inet"], "").await?)?;
    let tables = objects.into_iter().filter_map(|object| object.table);
    Ok(tables.filter_map(|table| table.name.parse().ok()).collect())
}

/// What its rules have counted so far.
pub async fn count(namespace: &Namespace, name: &TableName) -> Result<Counted, CallError> {
    let text = namespace.nft(&["-j", "list", "table", "inet", &name.to_string()], "").await?;
    counted(&listed(&text)?)
}

/// The part of `nft`'s JSON that is of use here.
#[derive(Debug, Deserialize)]
struct Listing {
    nftables: Vec<Object>,
}

#[derive(Debug, Deserialize)]
struct Object {
    table: Option<Listed>,
    rule: Option<Rule>,
}

#[derive(Debug, Deserialize)]
struct Listed {
    name: String,
}

#[derive(Debug, Deserialize)]
struct Rule {
    expr: Vec<Expression>,
}

#[derive(Debug, Deserialize)]
struct Expression {
    counter: Option<Counter>,
}

#[derive(Debug, Deserialize)]
struct Counter {
    packets: u64,
    bytes: u64,
}

fn listed(text: &str) -> Result<Vec<Object>, CallError> {
    let listing = serde_json::from_str::<Listing>(text);
    listing
        .map(|listing| listing.nftables)
        .map_err(|error| CallError { call: "nft list".to_owned(), what: format!("its JSON: {error}") })
}

fn counted(objects: &[Object]) -> Result<Counted, CallError> {
    let mut sum = Counted::default();
    let mut rules = 0;
    for rule in objects.iter().filter_map(|object| object.rule.as_ref()) {
        let mut counters = rule.expr.iter().filter_map(|expression| expression.counter.as_ref());
        if let (Some(seen), Some(dropped)) = (counters.next(), counters.next()) {
            sum.seen += seen.packets;
            sum.dropped += dropped.packets;
            sum.seen_bytes += seen.bytes;
            sum.dropped_bytes += dropped.bytes;
            rules += 1;
        }
    }
    match rules {
        2 => Ok(sum),
        _ => Err(CallError { call: "nft list".to_owned(), what: format!("{rules} rules instead of 2") }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> TableName {
        TableName::new(Maker::this().unwrap(), 21_211, 3, 1_790_000_000)
    }

    #[test]
    fn a_name_says_its_owner_and_nobody_elses_name_is_ours() {
        let name = name();
        let text = name.to_string();
        assert_eq!(text.parse::<TableName>().unwrap(), name);
        assert!(text.starts_with("scenariod.") && text.ends_with(".21211.3.1790000000"), "{text}");
        for foreign in ["filter", "scenariod", "scenariod.", "scenariod.1.2.3.4.5", "scenariod.1.2.3.4.5.6.7"]
        {
            foreign.parse::<TableName>().unwrap_err();
        }
        for odd in [
            "scenariod.1.2.3.99999.5.6",
            "scenariod.1.2.3.4.5.+6",
            "scenariod.1.2.3.04.5.6",
            "scenariod.1.2.3.4.5.6; flush ruleset",
        ] {
            odd.parse::<TableName>().unwrap_err();
        }
    }

    #[test]
    fn a_leftover_is_one_whose_process_is_gone_or_whose_time_is_over() {
        let this = Maker::this().unwrap();
        let of = |maker, deadline| TableName::new(maker, 1, 1, deadline).is_leftover();
        assert!(!of(this, 0), "a living owner takes its own away");
        assert!(of(Maker { started: this.started + 1, ..this }, u64::MAX - GRACE_S), "the PID is used again");
        let elsewhere = Maker { space: this.space + 1, ..this };
        assert!(!of(elsewhere, clock::wall_ms() / 1000));
        assert!(of(elsewhere, clock::wall_ms() / 1000 - GRACE_S - 2));
    }

    #[test]
    fn every_packet_meets_one_rule_of_its_direction() {
        let rules = |listen: &str, share, only_loopback| {
            let text = ruleset(&name(), listen.parse().unwrap(), share, only_loopback);
            text.lines()
                .filter(|line| line.contains(" drop "))
                .map(|line| line.trim().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            rules("127.0.0.1:21211", 0.05, true),
            [
                "iif \"lo\" ip daddr 127.0.0.1 tcp dport 21211 counter numgen random mod 1000000 < 50000 counter drop comment \"to the server\"",
                "iif \"lo\" ip saddr 127.0.0.1 tcp sport 21211 counter numgen random mod 1000000 < 50000 counter drop comment \"to the client\"",
            ]
        );
        let all = rules("[::]:7", 1.0, false);
        assert_eq!(all[0], "tcp dport 7 counter counter drop comment \"to the server\"");
        assert!(rules("[::1]:7", 0.5, true)[1].contains("ip6 saddr ::1 tcp sport 7"));
    }

    #[test]
    fn counters_of_both_directions_are_added_and_a_table_without_its_rules_is_none() {
        let rule = |seen: u64, dropped: u64| {
            format!(
                r#"{{"rule": {{"expr": [{{"match": {{"op": "=="}}}}, {{"counter": {{"packets": {seen}, "bytes": 9}}}}, {{"counter": {{"packets": {dropped}, "bytes": 9}}}}, {{"drop": null}}]}}}}"#
            )
        };
        let listing = |rules: &[String]| {
            let text = format!(
                r#"{{"nftables": [{{"metainfo": {{}}}}, {{"table": {{"name": "t"}}}}, {}]}}"#,
                rules.join(",")
            );
            counted(&listed(&text).unwrap())
        };
        assert_eq!(
            listing(&[rule(100, 5), rule(90, 4)]).unwrap(),
            Counted { seen: 190, dropped: 9, seen_bytes: 18, dropped_bytes: 18 }
        );
        assert!(listing(&[rule(100, 5)]).unwrap_err().to_string().contains("1 rules instead of 2"));
        listed("nonsense").unwrap_err();
    }
}
