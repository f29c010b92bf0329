//! A scenario: what a file says, and the [`Scenario`] that it means.

use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::written::{FromWritten, Keys, WrittenFault, Wrong, phase, wrong};
use crate::faults::FaultSpec;
use crate::stop::{self, StopRule};

/// Maximum size of a scenario file, bytes.
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
    /// What is done there.
    pub spec: FaultSpec,
}

/// On which servers a fault acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The first N.
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
    name: Spanned<String>,
    suite: String,
    description: String,
    control: Option<Spanned<bool>>,
    #[serde(default)]
    abort_if: Vec<Spanned<String>>,
    phases: WrittenPhases,
    #[serde(default)]
    fault: Vec<Spanned<WrittenFault>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenPhases {
    stabilization: Option<Spanned<String>>,
    testing: Spanned<String>,
    recovery: Option<Spanned<String>>,
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
        Self::interpret(written, text).map_err(|Wrong(span, what)| at(span, what))
    }

    /// Is one of its faults refused to most users?
    pub fn needs_permission(&self) -> bool {
        self.faults.iter().any(|fault| fault.spec.needs_permission())
    }

    fn interpret(written: Written, text: &str) -> Result<Self, Wrong> {
        let name = written.name.get_ref();
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
            return Err(wrong(&written.name, "name: expected 1 to 64 characters of a-z, 0-9 and dash"));
        }
        let optional = |key: &str, given: &Option<Spanned<String>>, default| match given {
            Some(text) => phase(key, text),
            None => Ok(default),
        };
        let phases = Phases {
            stabilization: optional("stabilization", &written.phases.stabilization, STABILIZATION)?,
            testing: phase("testing", &written.phases.testing)?,
            recovery: optional("recovery", &written.phases.recovery, RECOVERY)?,
        };
        let control = written.control.as_ref().is_some_and(|control| *control.get_ref());
        let faults = written.fault;
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
            faults: faults.into_iter().map(Fault::read).collect::<Result<_, _>>()?,
            abort_if,
            text: text.to_owned(),
        })
    }
}

impl Fault {
    fn read(written: Spanned<WrittenFault>) -> Result<Self, Wrong> {
        let (at, mut written) = (written.span(), written.into_inner());
        let mut text = |key: &str| match written.remove(key) {
            Some(value) => String::from_written(key, &value).map(|text| Spanned::new(value.span(), text)),
            None => Err(Wrong(at.clone(), format!("missing field `{key}`"))),
        };
        let (target, kind) = (target(&text("target")?)?, text("type")?);
        Ok(Self { target, spec: FaultSpec::read(Keys::new(kind, written))? })
    }
}

fn target(text: &Spanned<String>) -> Result<Target, Wrong> {
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
    use toxiproxy::wire::Stream;

    use super::*;
    use crate::faults::{Latency, LossKernel, NamedToxic};

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
        let latency = Latency { latency: Duration::from_millis(200), jitter: Duration::ZERO };
        let latency = FaultSpec::Latency(latency);
        assert!(!scenario.control);
        assert_eq!(scenario.faults, [Fault { target: Target::Count(1), spec: latency }]);
    }

    #[test]
    fn a_toxic_can_be_meant_by_its_own_name() {
        let own = "type = \"toxic\"\ntoxic = \"mc_delay\"\ntoxicity = \"50%\"\nattributes = { commands = \"set\", latency = 5 }";
        let text = GOOD.replace("type = \"latency\"\nlatency = \"200ms\"", own);
        let spec = FaultSpec::Toxic(NamedToxic {
            toxic: "mc_delay".to_owned(),
            stream: Stream::Downstream,
            toxicity: 0.5,
            attributes: [("commands".to_owned(), "set".into()), ("latency".to_owned(), 5.into())].into(),
        });
        let scenario = Scenario::parse(&text, "f.toml").unwrap();
        assert_eq!(scenario.faults[0].spec, spec);
        assert_eq!(
            spec.params(),
            [("attribute.latency".to_owned(), 5.0), ("toxicity".to_owned(), 0.5)].into()
        );
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
            at(
                5,
                11,
                "testing: expected a duration above 0s and of at most 1day with its unit, such as 250ms, 10s or 2m, not \"40\""
            )
        );
        assert_eq!(error("latency = \"200ms\"", ""), at(8, 8, "a latency fault needs latency"));
        assert_eq!(
            error("latency = \"200ms\"", "loss = \"5%\"\nlatency = \"1ms\""),
            at(9, 8, "loss: a latency fault takes latency, jitter")
        );
        assert_eq!(
            error("latency = \"200ms\"", "latncy = \"200ms\""),
            at(9, 10, "latncy: there is no such key; did you mean latency?")
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
        assert!(scenario.needs_permission());
        let netns = Some("blue".to_owned());
        assert_eq!(scenario.faults[0].spec, FaultSpec::LossKernel(LossKernel { share: 0.05, netns }));
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
