//! Usage text, laid out as each dialect prints it.

use super::set::{Dialect, Flag, FlagSet};
use crate::log::quote::quoted;

impl FlagSet {
    /// `Usage of <program>:` and every flag in the order of their names.
    pub fn usage(&self) -> String {
        let mut flags: Vec<&Flag> = self.flags.iter().collect();
        flags.sort_by(|one, other| one.name.cmp(&other.name));
        let mut out = format!("Usage of {}:\n", self.program);
        match self.dialect {
            Dialect::Go => flags.iter().for_each(|flag| push_go(&mut out, flag)),
            Dialect::Posix => push_posix(&mut out, &flags),
        }
        out
    }
}

/// `  -name type`, then the help on a line of its own, unless the flag is one letter long.
fn push_go(out: &mut String, flag: &Flag) {
    let mut head = format!("  -{}", flag.name);
    if !flag.kind.is_empty() {
        head.push(' ');
        head.push_str(flag.kind);
    }
    let separator = if head.len() <= 4 { "\t" } else { "\n    \t" };
    let help = flag.help.replace('\n', "\n    \t");
    out.push_str(&format!("{head}{separator}{help}{}\n", default_note(flag)));
}

/// Two columns: `  -v, --v type` padded to the longest, then the help.
fn push_posix(out: &mut String, flags: &[&Flag]) {
    let head = |flag: &Flag| {
        let short = flag.shorthand.map(|c| format!("-{c}, ")).unwrap_or_else(|| "    ".to_owned());
        let kind = if flag.kind.is_empty() { String::new() } else { format!(" {}", flag.kind) };
        format!("  {short}--{}{kind}", flag.name)
    };
    let width = flags.iter().map(|flag| head(flag).len()).max().unwrap_or(0) + 3;
    let indent = format!("\n{:width$}", "");
    for flag in flags {
        let help = flag.help.replace('\n', &indent);
        out.push_str(&format!("{:width$}{help}{}\n", head(flag), default_note(flag)));
    }
}

/// The default, left out when it is the type's zero.
fn default_note(flag: &Flag) -> String {
    match flag.initial.as_str() {
        "" | "0" | "0s" | "false" => String::new(),
        initial if flag.quoted => format!(" (default {})", quoted(initial)),
        initial => format!(" (default {initial})"),
    }
}
