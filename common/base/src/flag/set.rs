//! A set of flags, and the parser of a command line in either dialect.

use super::exit::Exit;
use super::gates::{FeatureGates, Gate};
use super::value::{Value, ValueError};
use crate::log::quote::quoted;

/// Some flags that belong together; usually made by [`flags!`](crate::flags).
pub trait FlagGroup: Sized {
    /// Adds the flags to a set.
    fn register(set: &mut FlagSet);
    /// Takes their values from a parsed command line of such a set.
    fn read(parsed: &Parsed) -> Self;
}

/// Whose syntax the command line follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Go's `flag`: one or two dashes, the first word that is no flag ends the flags.
    Go,
    /// pflag: two dashes or a one-letter shorthand, other words may stand between flags.
    Posix,
}

/// One registered flag.
#[derive(Clone)]
pub(super) struct Flag {
    /// As on the command line, without dashes.
    pub(super) name: String,
    /// The section it belongs to; empty if every section shares it.
    pub(super) section: &'static str,
    pub(super) shorthand: Option<char>,
    pub(super) help: String,
    pub(super) kind: &'static str,
    pub(super) initial: String,
    pub(super) is_bool: bool,
    pub(super) quoted: bool,
    pub(super) check: fn(&str) -> Result<(), ValueError>,
    /// Every text given on the command line, in order.
    pub(super) given: Vec<String>,
    /// In a section: whether `given` is that of the flag that all share.
    pub(super) shared: bool,
}

/// The name of the feature gate flag.
pub(super) const FEATURE_GATES: &str = "feature-gates";

/// A check of values against each other, run after all of them were read.
pub(super) type Check = fn(&Parsed) -> Result<(), Exit>;

/// The flags a program knows.
pub struct FlagSet {
    pub(super) program: String,
    pub(super) dialect: Dialect,
    pub(super) flags: Vec<Flag>,
    gates: Vec<Gate>,
    gate_code: i32,
    /// Each with the section whose values it is given.
    pub(super) checks: Vec<(&'static str, Check)>,
    /// The section that is being added; empty outside of all.
    pub(super) section: &'static str,
}

impl FlagSet {
    /// An empty set for `program` (its `argv[0]`, shown in usage and by `--version`).
    pub fn new(program: impl Into<String>, dialect: Dialect) -> Self {
        Self {
            program: program.into(),
            dialect,
            flags: Vec::new(),
            gates: Vec::new(),
            gate_code: 1,
            checks: Vec::new(),
            section: "",
        }
    }

    /// Adds one flag. A name added twice keeps its first registration.
    pub fn add<T: Value>(&mut self, name: &'static str, initial: T::Initial, help: &str) {
        let full = match self.section {
            "" => name.to_owned(),
            section => format!("{section}-{name}"),
        };
        if self.flags.iter().any(|flag| flag.name == full) {
            return;
        }
        self.flags.push(Flag {
            name: full,
            section: self.section,
            // pflag's only shorthand in use is the logging verbosity.
            shorthand: (name == "v").then_some('v'),
            help: help.to_owned(),
            kind: T::TYPE,
            initial: T::print(&initial),
            is_bool: T::IS_BOOL,
            quoted: T::QUOTED,
            check: |text| T::parse(text).map(drop),
            given: Vec::new(),
            shared: false,
        });
    }

    /// Adds a group of flags.
    pub fn group<G: FlagGroup>(&mut self) -> &mut Self {
        G::register(self);
        self
    }

    /// Adds `--feature-gates` for these gates (and the inert ones every sidecar accepts). All sections share the flag; a gate
    /// that several of them have is one gate.
    pub fn feature_gates(&mut self, known: &[Gate]) -> &mut Self {
        for gate in known {
            if !self.gates.iter().any(|other| other.name == gate.name) {
                self.gates.push(*gate);
            }
        }
        let help = super::gates::help(&self.gates);
        let section = std::mem::take(&mut self.section);
        self.add::<super::gates::GateList>(FEATURE_GATES, "", &help);
        self.section = section;
        if let Some(flag) = self.find(FEATURE_GATES) {
            flag.help = help;
        }
        self
    }

    /// Sets the exit code for a gate that is unknown or locked. It is 1 otherwise.
    pub fn gate_code(&mut self, code: i32) -> &mut Self {
        self.gate_code = code;
        self
    }

    /// Adds a check that runs after all flags were read; its [`Exit`] ends the program.
    pub fn check(&mut self, check: fn(&Parsed) -> Result<(), Exit>) -> &mut Self {
        // Functions of equal code may share an address, so this only saves work.
        if !self.checks.contains(&(self.section, check)) {
            self.checks.push((self.section, check));
        }
        self
    }

    /// Reads `args` (without the program's name).
    ///
    /// # Errors
    /// [`Exit`] with code 0 for help and `--version`, 2 for an unknown flag or a bad value (Go's
    /// message and the usage text), 1 for an unknown or locked feature gate and failed checks.
    pub fn parse<I>(mut self, args: I) -> Result<Parsed, Exit>
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        let args: Vec<String> = args.into_iter().map(Into::into).collect();
        let read = match self.dialect {
            Dialect::Go => self.read_go(args),
            Dialect::Posix => self.read_posix(args),
        };
        let ignored = read.map_err(|stop| self.stop(stop))?;
        self.finish(ignored)
    }

    fn finish(self, ignored: Vec<String>) -> Result<Parsed, Exit> {
        let Self { program, flags, gates: known, gate_code, checks, .. } = self;
        let mut parsed = Parsed::new(flags, FeatureGates::new(known));
        if parsed.flag("version").is_some() && parsed.get::<bool>("version") {
            let stdout = format!("{program} v{}\n", env!("CARGO_PKG_VERSION"));
            return Err(Exit { stdout, ..Exit::default() });
        }
        if !ignored.is_empty() {
            let words = ignored.join(" ");
            parsed.notices.push(format!(
                "ignored from the command line: {} (write --flag=value for booleans)",
                quoted(&words)
            ));
        }
        let given: Vec<String> =
            parsed.flag(FEATURE_GATES).map(|flag| flag.given.clone()).unwrap_or_default();
        let refuse = |error| Exit { code: gate_code, ..Exit::refuse(error) };
        let notices = parsed.gates.apply(&given).map_err(refuse)?;
        parsed.notices.extend(notices);
        for (section, check) in checks {
            parsed.check(section, check)?;
        }
        Ok(parsed)
    }

    fn find(&mut self, name: &str) -> Option<&mut Flag> {
        self.flags.iter_mut().find(|flag| flag.name == name)
    }

    fn read_go(&mut self, args: Vec<String>) -> Result<Vec<String>, Stop> {
        let mut args = args.into_iter();
        while let Some(word) = args.next() {
            if word.len() < 2 || !word.starts_with('-') {
                return Ok(std::iter::once(word).chain(args).collect());
            }
            if word == "--" {
                return Ok(args.collect());
            }
            let body = word.strip_prefix("--").or(word.strip_prefix('-')).unwrap_or(&word);
            if body.is_empty() || body.starts_with(['-', '=']) {
                return Err(Stop::Wrong(format!("bad flag syntax: {word}")));
            }
            let (name, value) = split_value(body);
            let Some(flag) = self.find(name) else {
                return Err(match name {
                    "help" | "h" => Stop::Help,
                    _ => Stop::Wrong(format!("flag provided but not defined: -{name}")),
                });
            };
            let value = match value {
                Some(value) => value.to_owned(),
                None if flag.is_bool => "true".to_owned(),
                None => args.next().ok_or_else(|| Stop::Wrong(format!("flag needs an argument: -{name}")))?,
            };
            if let Err(error) = (flag.check)(&value) {
                let (what, of) = if flag.is_bool { (" boolean", "") } else { ("", "flag ") };
                let value = quoted(&value);
                return Err(Stop::Wrong(format!(
                    "invalid{what} value {value} for {of}-{name}: {}",
                    error.go
                )));
            }
            flag.given.push(value);
        }
        Ok(Vec::new())
    }

    fn read_posix(&mut self, args: Vec<String>) -> Result<Vec<String>, Stop> {
        let mut ignored = Vec::new();
        let mut args = args.into_iter();
        while let Some(word) = args.next() {
            if word.len() < 2 || !word.starts_with('-') {
                ignored.push(word);
            } else if word == "--" {
                ignored.extend(args.by_ref());
            } else if let Some(body) = word.strip_prefix("--") {
                self.read_long(&word, body, &mut args)?;
            } else {
                self.read_short(word.get(1..).unwrap_or(""), &mut args)?;
            }
        }
        Ok(ignored)
    }

    fn read_long(
        &mut self,
        word: &str,
        body: &str,
        rest: &mut dyn Iterator<Item = String>,
    ) -> Result<(), Stop> {
        if body.is_empty() || body.starts_with(['-', '=']) {
            return Err(Stop::Wrong(format!("bad flag syntax: {word}")));
        }
        let (name, value) = split_value(body);
        let Some(flag) = self.find(name) else {
            return Err(match name {
                "help" => Stop::Help,
                _ => Stop::Wrong(format!("unknown flag: --{name}")),
            });
        };
        let value = match value {
            Some(value) => value.to_owned(),
            None if flag.is_bool => "true".to_owned(),
            None => rest.next().ok_or_else(|| Stop::Wrong(format!("flag needs an argument: --{name}")))?,
        };
        flag.set_posix(value)
    }

    /// A word of one-letter flags, without its dash: `v=5`, `v5`, or `v` and the next word.
    fn read_short(&mut self, letters: &str, rest: &mut dyn Iterator<Item = String>) -> Result<(), Stop> {
        let mut left = letters;
        while let Some(letter) = left.chars().next() {
            let after = left.get(letter.len_utf8()..).unwrap_or("");
            let Some(flag) = self.flags.iter_mut().find(|flag| flag.shorthand == Some(letter)) else {
                return Err(match letter {
                    'h' => Stop::Help,
                    _ => Stop::Wrong(format!("unknown shorthand flag: {letter:?} in -{left}")),
                });
            };
            let (value, next) = match after.strip_prefix('=') {
                Some(value) if !value.is_empty() => (value.to_owned(), ""),
                _ if flag.is_bool => ("true".to_owned(), after),
                _ if !after.is_empty() => (after.to_owned(), ""),
                _ => {
                    let value = rest.next().ok_or_else(|| {
                        Stop::Wrong(format!("flag needs an argument: {letter:?} in -{left}"))
                    })?;
                    (value, "")
                }
            };
            flag.set_posix(value)?;
            left = next;
        }
        Ok(())
    }

    fn stop(&self, stop: Stop) -> Exit {
        let usage = self.usage();
        match (stop, self.dialect) {
            (Stop::Help, _) => Exit { stderr: usage, ..Exit::default() },
            (Stop::Wrong(line), Dialect::Go) => {
                Exit { code: 2, stderr: format!("{line}\n{usage}"), ..Exit::default() }
            }
            (Stop::Wrong(line), Dialect::Posix) => {
                Exit { code: 2, stderr: format!("{usage}{line}\n"), ..Exit::default() }
            }
        }
    }
}

impl Flag {
    fn set_posix(&mut self, value: String) -> Result<(), Stop> {
        if let Err(error) = (self.check)(&value) {
            let name = match self.shorthand {
                Some(letter) => format!("-{letter}, --{}", self.name),
                None => format!("--{}", self.name),
            };
            return Err(Stop::Wrong(format!(
                "invalid argument {} for {} flag: {}",
                quoted(&value),
                quoted(&name),
                error.posix
            )));
        }
        self.given.push(value);
        Ok(())
    }
}

enum Stop {
    Help,
    Wrong(String),
}

fn split_value(body: &str) -> (&str, Option<&str>) {
    match body.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (body, None),
    }
}

/// A command line that was read whole.
pub struct Parsed {
    pub(super) flags: Vec<Flag>,
    pub(super) gates: FeatureGates,
    pub(super) notices: Vec<String>,
}

impl Parsed {
    pub(super) fn new(flags: Vec<Flag>, gates: FeatureGates) -> Self {
        Self { flags, gates, notices: Vec::new() }
    }

    /// The values of a group that was registered.
    pub fn read<G: FlagGroup>(&self) -> G {
        G::read(self)
    }

    /// The value of one flag: its last text, else its default.
    ///
    /// # Panics
    /// If no such flag was registered with this type: a mistake in the program, not in its input.
    pub fn get<T: Value>(&self, name: &str) -> T {
        let flag = self.flag(name).expect("only registered flags are read");
        let (last, explicit) = match flag.given.last() {
            Some(text) => (text, true),
            None => (&flag.initial, false),
        };
        T::read(last, explicit).expect("texts and defaults were checked when they came in")
    }

    /// Whether the flag stands on the command line.
    pub fn is_set(&self, name: &str) -> bool {
        self.flag(name).is_some_and(|flag| !flag.given.is_empty())
    }

    /// The feature gates as set.
    pub fn gates(&self) -> &FeatureGates {
        &self.gates
    }

    /// What the user should know (words that were ignored, gates about to go): one warning each,
    /// to be logged once logging is up.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    pub(super) fn flag(&self, name: &str) -> Option<&Flag> {
        self.flags.iter().find(|flag| flag.name == name)
    }
}
