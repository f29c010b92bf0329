//! Scenario files: what is written, and the [`Scenario`] that it means.

use std::time::Duration;

use serde::Deserialize;
use toxiproxy::wire::{Attributes, Stream};

use crate::fault::Meaning;
use crate::kernel;
use crate::ladder::MARKER;
use crate::stop::{self, StopRule};

/// Largest scenario file.
pub const FILE_MAX: u64 = 1024 * 1024;
/// Phase lengths that are not given.
const STABILIZATION: Duration = Duration::from_secs(30);
const RECOVERY: Duration = Duration::from_secs(60);
/// `--quick`: stabilization, testing at most, recovery.
const QUICK: [Duration; 3] = [Duration::from_secs(10), Duration::from_secs(15), Duration::from_secs(20)];

/// A scenario as it is meant.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// 1-64 of a-z, 0-9 and dash.
    pub name: String,
    /// Group in `--list`.
    pub suite: String,
    /// One sentence.
    pub description: String,
    /// How long each phase is.
    pub phases: Phases,
    /// No fault at all: what does the judge say when nothing happens?
    pub control: bool,
    /// What happens in the testing phase.
    pub faults: Vec<Fault>,
    /// What ends a run before its time.
    pub abort_if: Vec<StopRule>,
    /// The text it was read from.
    pub text: String,
}

/// Lengths of the three phases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Phases {
    /// Before the fault.
    pub stabilization: Duration,
    /// With the fault.
    pub testing: Duration,
    /// After the fault.
    pub recovery: Duration,
}

impl Phases {
    /// Shorter: 10 s, at most 15 s, 20 s.
    pub fn quick(self) -> Self {
        let [stabilization, testing, recovery] = QUICK;
        Self { stabilization, testing: self.testing.min(testing), recovery }
    }

    /// All three together.
    pub fn total(self) -> Duration {
        self.stabilization + self.testing + self.recovery
    }
}

/// One fault of a scenario.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// On which servers.
    pub target: Target,
    /// What.
    pub meaning: Meaning,
}

/// On which servers a fault acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The first so many.
    Count(usize),
    /// Fewer than half: (n-1)/2, at least one.
    Minority,
    /// More than half: n/2+1.
    Majority,
    /// Every server.
    All,
    /// The one of that name.
    Name(String),
}

impl Target {
    /// The names that are meant, out of all.
    pub fn choose(&self, servers: &[String]) -> Result<Vec<String>, String> {
        let n = servers.len();
        let count = match self {
            Target::Count(count) => *count,
            Target::Minority => ((n.max(1) - 1) / 2).max(1),
            Target::Majority => n / 2 + 1,
            Target::All => n,
            Target::Name(name) if servers.contains(name) => return Ok(vec![name.clone()]),
            Target::Name(name) => {
                return Err(format!("there is no server {name:?}; there are: {}", servers.join(", ")));
            }
        };
        if count > n {
            return Err(format!("{count} servers are targeted, but there are only {n}"));
        }
        Ok(servers[..count].to_vec())
    }
}

/// Why a scenario file is not a scenario.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// It cannot be read.
    #[error("{file}: {why}")]
    Unreadable {
        /// File name.
        file: String,
        /// What the system says.
        why: String,
    },
    /// Its text is wrong at one place.
    #[error("{file}, line {line}, column {column}: {what}")]
    At {
        /// File name.
        file: String,
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// What is wrong and what was expected.
        what: String,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: toml::Spanned<String>,
    suite: String,
    description: String,
    control: Option<toml::Spanned<bool>>,
    #[serde(default)]
    abort_if: Vec<toml::Spanned<String>>,
    phases: WrittenPhases,
    fault: Option<toml::Spanned<Vec<toml::Spanned<WrittenFault>>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenPhases {
    stabilization: Option<toml::Spanned<String>>,
    testing: toml::Spanned<String>,
    recovery: Option<toml::Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenFault {
    target: toml::Spanned<String>,
    r#type: toml::Spanned<String>,
    latency: Option<toml::Spanned<String>>,
    jitter: Option<toml::Spanned<String>>,
    loss: Option<toml::Spanned<String>>,
    burst: Option<toml::Spanned<u32>>,
    netns: Option<toml::Spanned<String>>,
    share: Option<toml::Spanned<String>>,
    rate: Option<toml::Spanned<String>>,
    average_size: Option<toml::Spanned<u32>>,
    size_variation: Option<toml::Spanned<u32>>,
    delay: Option<toml::Spanned<String>>,
    bytes: Option<toml::Spanned<u32>>,
    toxic: Option<toml::Spanned<String>>,
    stream: Option<toml::Spanned<String>>,
    toxicity: Option<toml::Spanned<String>>,
    attributes: Option<toml::Spanned<Attributes>>,
}

/// A fault in the text: where, and what.
struct Wrong(std::ops::Range<usize>, String);

fn wrong<T>(at: &toml::Spanned<T>, what: impl Into<String>) -> Wrong {
    Wrong(at.span(), what.into())
}

impl Scenario {
    /// Reads a file.
    pub fn read(path: &std::path::Path) -> Result<Self, ModelError> {
        let file = path.display().to_string();
        let unreadable = |why: String| ModelError::Unreadable { file: file.clone(), why };
        let length = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?.len();
        if length > FILE_MAX {
            return Err(unreadable(format!("{length} bytes; a scenario has at most {FILE_MAX}")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
        Self::parse(&text, &file)
    }

    /// Parses a text; `file` is only for messages.
    pub fn parse(text: &str, file: &str) -> Result<Self, ModelError> {
        let at = |span: std::ops::Range<usize>, what: String| {
            let before = &text[..span.start.min(text.len())];
            let line = before.matches('\n').count() + 1;
            let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
            ModelError::At { file: file.to_owned(), line, column, what }
        };
        let written: Written = toml::from_str(text)
            .map_err(|error| at(error.span().unwrap_or(0..0), error.message().to_owned()))?;
        Self::mean(written, text).map_err(|Wrong(span, what)| at(span, what))
    }

    /// Does it need what only the kernel can give, and few are permitted to ask for?
    pub fn needs_kernel(&self) -> bool {
        self.faults.iter().any(|fault| matches!(fault.meaning, Meaning::LossKernel { .. }))
    }

    fn mean(written: Written, text: &str) -> Result<Self, Wrong> {
        let name = written.name.get_ref();
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
            return Err(wrong(&written.name, "name: expected 1 to 64 characters of a-z, 0-9 and dash"));
        }
        let phase = |key: &str, given: &Option<toml::Spanned<String>>, default| match given {
            Some(text) => duration(key, text),
            None => Ok(default),
        };
        let phases = Phases {
            stabilization: phase("stabilization", &written.phases.stabilization, STABILIZATION)?,
            testing: duration("testing", &written.phases.testing)?,
            recovery: phase("recovery", &written.phases.recovery, RECOVERY)?,
        };
        if phases.testing.is_zero() {
            return Err(wrong(&written.phases.testing, "testing: expected more than 0"));
        }
        let control = written.control.as_ref().is_some_and(|control| *control.get_ref());
        let faults = written.fault.as_ref().map_or(&[][..], |faults| faults.get_ref());
        match &written.control {
            None if faults.is_empty() => {
                let what = "fault: expected at least one [[fault]], or control = true for a run without";
                return Err(wrong(&written.name, what));
            }
            Some(key) if control != faults.is_empty() => {
                return Err(wrong(key, "control: true for a run without any [[fault]], and only then"));
            }
            _ => {}
        }
        let faults = faults.iter().map(|fault| {
            let given = fault.get_ref();
            Ok(Fault { target: target(&given.target)?, meaning: given.meaning()? })
        });
        if let Some(beyond) = written.abort_if.get(stop::RULES_MAX) {
            return Err(wrong(beyond, format!("abort_if: expected at most {} rules", stop::RULES_MAX)));
        }
        let rules = written.abort_if.iter().map(|rule| {
            rule.get_ref()
                .parse()
                .map_err(|error: stop::StopRuleError| wrong(rule, format!("abort_if: {error}")))
        });
        let abort_if = rules.collect::<Result<_, _>>()?;
        Ok(Self {
            name: name.clone(),
            suite: written.suite,
            description: written.description,
            phases,
            control,
            faults: faults.collect::<Result<_, _>>()?,
            abort_if,
            text: text.to_owned(),
        })
    }
}

impl WrittenFault {
    fn meaning(&self) -> Result<Meaning, Wrong> {
        let kind = &self.r#type;
        let (meaning, allowed): (Meaning, &[&str]) = match kind.get_ref().as_str() {
            "latency" => {
                let latency = duration("latency", self.need("latency", &self.latency)?)?;
                let jitter =
                    self.jitter.as_ref().map_or(Ok(Duration::ZERO), |text| duration("jitter", text))?;
                (Meaning::Latency { latency, jitter }, &["latency", "jitter"])
            }
            "loss" => {
                let share = percent("loss", self.need("loss", &self.loss)?)?;
                let burst = self.burst.as_ref().map_or(1, |burst| *burst.get_ref());
                (Meaning::Loss { share, burst }, &["loss", "burst"])
            }
            "loss_kernel" => {
                let loss = self.need("loss", &self.loss)?;
                let share = percent("loss", loss)?;
                if (share * 1e6).round() < 1.0 {
                    return Err(wrong(loss, "loss: expected at least 0.0001%, one packet of a million"));
                }
                let netns = self.netns.as_ref().map(|name| {
                    kernel::namespace_name(name.get_ref()).map_err(|why| wrong(name, format!("netns: {why}")))
                });
                (Meaning::LossKernel { share, netns: netns.transpose()? }, &["loss", "netns"])
            }
            "stall" => {
                (Meaning::Stall { share: percent("share", self.need("share", &self.share)?)? }, &["share"])
            }
            "down" => (Meaning::Down, &[]),
            "reset" => (Meaning::Reset, &[]),
            "bandwidth" => {
                (Meaning::Bandwidth { kb_per_s: rate(self.need("rate", &self.rate)?)? }, &["rate"])
            }
            "slicer" => {
                let average = self.need("average_size", &self.average_size)?;
                let variation = self.size_variation.as_ref().map_or(0, |n| *n.get_ref());
                if *average.get_ref() == 0 || (variation > 0 && variation >= *average.get_ref()) {
                    return Err(wrong(
                        average,
                        "average_size: expected at least 1 and more than size_variation",
                    ));
                }
                let delay = self.delay.as_ref().map_or(Ok(Duration::ZERO), |text| duration("delay", text))?;
                let (average_size, size_variation) = (u64::from(*average.get_ref()), u64::from(variation));
                let meaning = Meaning::Slicer { average_size, size_variation, delay };
                (meaning, &["average_size", "size_variation", "delay"])
            }
            "limit_data" => {
                let bytes = u64::from(*self.need("bytes", &self.bytes)?.get_ref());
                (Meaning::LimitData { bytes }, &["bytes"])
            }
            "slow_close" => {
                let delay = duration("delay", self.need("delay", &self.delay)?)?;
                (Meaning::SlowClose { delay }, &["delay"])
            }
            "toxic" => {
                let stream = match &self.stream {
                    None => Stream::Downstream,
                    Some(text) => Stream::ALL
                        .into_iter()
                        .find(|stream| stream.name() == text.get_ref())
                        .ok_or_else(|| wrong(text, "stream: expected upstream or downstream"))?,
                };
                let toxic = self.need("toxic", &self.toxic)?;
                if toxic.get_ref() == MARKER {
                    let what =
                        format!("toxic: {MARKER} does nothing, and marks what scenariod has switched off");
                    return Err(wrong(toxic, what));
                }
                let meaning = Meaning::Toxic {
                    kind: toxic.get_ref().clone(),
                    stream,
                    toxicity: self.toxicity.as_ref().map_or(Ok(1.0), |text| percent("toxicity", text))?,
                    attributes: self
                        .attributes
                        .as_ref()
                        .map_or_else(Attributes::new, |a| a.get_ref().clone()),
                };
                (meaning, &["toxic", "stream", "toxicity", "attributes"])
            }
            other => {
                let nearest = TYPES.iter().min_by_key(|known| strsim::damerau_levenshtein(other, known));
                let what = format!(
                    "type: there is no fault {other:?}, did you mean {:?}? Expected one of {}",
                    nearest.unwrap_or(&""),
                    TYPES.join(", ")
                );
                return Err(wrong(kind, what));
            }
        };
        match self.given().into_iter().find(|(name, _)| !allowed.contains(name)) {
            Some((name, span)) => {
                let allowed = if allowed.is_empty() { "nothing".to_owned() } else { allowed.join(", ") };
                Err(Wrong(span, format!("{name}: a {} fault takes {allowed}", kind.get_ref())))
            }
            None => Ok(meaning),
        }
    }

    fn need<'a, T>(
        &self,
        name: &str,
        given: &'a Option<toml::Spanned<T>>,
    ) -> Result<&'a toml::Spanned<T>, Wrong> {
        given
            .as_ref()
            .ok_or_else(|| wrong(&self.r#type, format!("a {} fault needs {name}", self.r#type.get_ref())))
    }

    /// Names and places of the parameters that were written.
    fn given(&self) -> Vec<(&'static str, std::ops::Range<usize>)> {
        let texts = [
            ("latency", &self.latency),
            ("jitter", &self.jitter),
            ("loss", &self.loss),
            ("netns", &self.netns),
            ("share", &self.share),
            ("rate", &self.rate),
            ("delay", &self.delay),
            ("toxic", &self.toxic),
            ("stream", &self.stream),
            ("toxicity", &self.toxicity),
        ];
        let numbers = [
            ("burst", &self.burst),
            ("average_size", &self.average_size),
            ("size_variation", &self.size_variation),
            ("bytes", &self.bytes),
        ];
        let texts = texts.into_iter().filter_map(|(name, given)| Some((name, given.as_ref()?.span())));
        let numbers = numbers.into_iter().filter_map(|(name, given)| Some((name, given.as_ref()?.span())));
        let attributes = self.attributes.as_ref().map(|given| ("attributes", given.span()));
        texts.chain(numbers).chain(attributes).collect()
    }
}

const TYPES: &[&str] = &[
    "latency",
    "loss",
    "loss_kernel",
    "stall",
    "down",
    "reset",
    "bandwidth",
    "slicer",
    "limit_data",
    "slow_close",
    "toxic",
];

/// Longest duration in a scenario.
const DURATION_MAX: Duration = Duration::from_secs(24 * 3600);

fn duration(key: &str, text: &toml::Spanned<String>) -> Result<Duration, Wrong> {
    match humantime::parse_duration(text.get_ref()) {
        Ok(duration) if duration <= DURATION_MAX => Ok(duration),
        Ok(_) => Err(wrong(text, format!("{key}: expected at most 24h"))),
        Err(_) => Err(wrong(
            text,
            format!("{key}: expected a duration with its unit, like \"250ms\", \"10s\" or \"2m\""),
        )),
    }
}

fn percent(key: &str, text: &toml::Spanned<String>) -> Result<f64, Wrong> {
    let share = text.get_ref().strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    match share {
        Some(share) if share > 0.0 && share <= 100.0 => Ok(share / 100.0),
        _ => Err(wrong(text, format!("{key}: expected a share above 0% and up to 100%, like \"5%\""))),
    }
}

fn rate(text: &toml::Spanned<String>) -> Result<u64, Wrong> {
    let rate = text.get_ref().strip_suffix("kB/s").and_then(|number| number.trim().parse::<u64>().ok());
    rate.filter(|rate| (1..=4_000_000).contains(rate))
        .ok_or_else(|| wrong(text, "rate: expected 1 to 4000000 with its unit, like \"64kB/s\""))
}

fn target(text: &toml::Spanned<String>) -> Result<Target, Wrong> {
    match text.get_ref().as_str() {
        "one" => Ok(Target::Count(1)),
        "minority" => Ok(Target::Minority),
        "majority" => Ok(Target::Majority),
        "all" => Ok(Target::All),
        "" => Err(wrong(text, "target: expected one, minority, majority, all, a number or a server's name")),
        other => match other.parse::<usize>() {
            Ok(0) => Err(wrong(text, "target: expected at least 1 server")),
            Ok(count) => Ok(Target::Count(count)),
            Err(_) => Ok(Target::Name(other.to_owned())),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "name = \"x\"\nsuite = \"s\"\ndescription = \"d\"\n[phases]\ntesting = \"40s\"\n[[fault]]\ntarget = \"one\"\ntype = \"latency\"\nlatency = \"200ms\"\n";

    fn error(from: &str, to: &str) -> String {
        assert!(GOOD.contains(from));
        Scenario::parse(&GOOD.replace(from, to), "f.toml").unwrap_err().to_string()
    }

    #[test]
    fn a_control_run_has_no_fault_and_no_other_run_is_without() {
        let (head, fault) = GOOD.split_at(GOOD.find("[[fault]]").unwrap());
        let parse = |text: &str| Scenario::parse(text, "f").map_err(|error| error.to_string());
        assert!(parse(head).unwrap_err().contains("line 1, column 8: fault: expected at least one"));
        let control = |value: &str, fault: &str| parse(&format!("control = {value}\n{head}{fault}"));
        assert!(control("true", "").unwrap().control);
        assert!(control("true", fault).unwrap_err().contains("line 1, column 11: control: true for"));
        assert!(control("false", "").unwrap_err().contains("control: true for"));
        assert!(!control("false", fault).unwrap().control);
    }

    #[test]
    fn a_good_file_means_what_it_says() {
        let scenario = Scenario::parse(GOOD, "f.toml").unwrap();
        let seconds = |n| Duration::from_secs(n);
        assert_eq!(scenario.phases.total(), seconds(130));
        assert_eq!(scenario.phases.quick().total(), seconds(45));
        let latency = Meaning::Latency { latency: Duration::from_millis(200), jitter: Duration::ZERO };
        assert!(!scenario.control);
        assert_eq!(scenario.faults, [Fault { target: Target::Count(1), meaning: latency }]);
    }

    #[test]
    fn a_toxic_can_be_meant_by_its_own_name() {
        let own = "type = \"toxic\"\ntoxic = \"mc_delay\"\ntoxicity = \"50%\"\nattributes = { commands = \"set\", latency = 5 }";
        let text = GOOD.replace("type = \"latency\"\nlatency = \"200ms\"", own);
        let meaning = Meaning::Toxic {
            kind: "mc_delay".to_owned(),
            stream: Stream::Downstream,
            toxicity: 0.5,
            attributes: [("commands".to_owned(), "set".into()), ("latency".to_owned(), 5.into())].into(),
        };
        let scenario = Scenario::parse(&text, "f.toml").unwrap();
        assert_eq!(scenario.faults[0].meaning, meaning);
        assert_eq!(
            meaning.params(),
            [("attribute.latency".to_owned(), 5.0), ("toxicity".to_owned(), 0.5)].into()
        );
        assert_eq!(meaning.toxics()[0].attributes.len(), 2);
        let error = |from: &str, to: &str| {
            Scenario::parse(&text.replace(from, to), "f.toml").unwrap_err().to_string()
        };
        assert!(error("toxicity", "stream = \"up\"\ntoxicity").contains("expected upstream or downstream"));
        assert!(error("toxic = \"mc_delay\"\n", "").contains("a toxic fault needs toxic"));
        assert!(error("mc_delay", "noop").contains("line 9, column 9: toxic: noop does nothing"));
        assert_eq!(
            error("latency = 5", "latency = 0.5"),
            "f.toml, line 11, column 44: expected a whole number or a text"
        );
    }

    #[test]
    fn errors_name_file_line_key_and_what_was_expected() {
        let at =
            |line: usize, column: usize, what: &str| format!("f.toml, line {line}, column {column}: {what}");
        assert_eq!(
            error("\"40s\"", "\"40\""),
            at(5, 11, "testing: expected a duration with its unit, like \"250ms\", \"10s\" or \"2m\"")
        );
        assert_eq!(error("latency = \"200ms\"", ""), at(8, 8, "a latency fault needs latency"));
        assert_eq!(
            error("latency = \"200ms\"", "loss = \"5%\"\nlatency = \"1ms\""),
            at(9, 8, "loss: a latency fault takes latency, jitter")
        );
        assert!(
            error("\"latency\"", "\"latncy\"")
                .contains("line 8, column 8: type: there is no fault \"latncy\", did you mean \"latency\"?")
        );
        assert!(error("testing", "tseting").contains("f.toml, line 5, column 1: unknown field `tseting`, expected one of `stabilization`, `testing`, `recovery`"));
        assert!(
            error("name = \"x\"", "name = \"X\"")
                .contains("line 1, column 8: name: expected 1 to 64 characters")
        );
        assert!(error("\"one\"", "\"0\"").contains("line 7, column 10: target: expected at least 1 server"));
        assert!(error("[phases]", "[phases").starts_with("f.toml, line 4, column "));
    }

    #[test]
    fn a_kernels_loss_is_a_share_and_perhaps_a_namespace() {
        let kernel = |more: &str| {
            let text = GOOD.replace(
                "type = \"latency\"\nlatency = \"200ms\"\n",
                &format!("type = \"loss_kernel\"\n{more}"),
            );
            Scenario::parse(&text, "f.toml").map_err(|error| error.to_string())
        };
        let scenario = kernel("loss = \"5%\"\nnetns = \"blue\"\n").unwrap();
        assert!(scenario.needs_kernel());
        let netns = Some("blue".to_owned());
        assert_eq!(scenario.faults[0].meaning, Meaning::LossKernel { share: 0.05, netns });
        assert!(kernel("").unwrap_err().contains("a loss_kernel fault needs loss"));
        assert!(kernel("loss = \"0.00001%\"").unwrap_err().contains("loss: expected at least 0.0001%"));
        assert!(
            kernel("loss = \"5%\"\nburst = 3").unwrap_err().contains("a loss_kernel fault takes loss, netns")
        );
        for name in ["", "-x", "../x", "a b"] {
            let error = kernel(&format!("loss = \"5%\"\nnetns = \"{name}\"")).unwrap_err();
            assert!(error.contains("line 10, column 9: netns: expected 1 to 64 letters"), "{error}");
        }
    }

    #[test]
    fn targets_choose_servers() {
        let servers: Vec<String> = (1..=5).map(|n| format!("s{n}")).collect();
        let count = |target: Target| target.choose(&servers).unwrap().len();
        assert_eq!((count(Target::Minority), count(Target::Majority), count(Target::All)), (2, 3, 5));
        assert_eq!(Target::Count(2).choose(&servers).unwrap(), ["s1", "s2"]);
        assert_eq!(Target::Name("s4".to_owned()).choose(&servers).unwrap(), ["s4"]);
        assert!(
            Target::Count(6).choose(&servers).is_err()
                && Target::Name("x".to_owned()).choose(&servers).is_err()
        );
    }
}
