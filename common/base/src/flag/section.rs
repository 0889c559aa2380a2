//! Sections: the flags of several sidecars in one set.
//!
//! `--worker-threads` of the section `provisioner` is written `--provisioner-worker-threads`. Flags outside of every
//! section are shared by all. If a section and all have a flag of one name, such as `--timeout`, the section's own counts
//! where it is given, else the shared one where that is given, else the section's default.

use super::exit::Exit;
use super::set::{Check, Flag, FlagSet, Parsed};

impl FlagSet {
    /// Adds what `add` adds as a section: see the module.
    pub fn section(&mut self, name: &'static str, add: impl FnOnce(&mut Self)) -> &mut Self {
        let outer = std::mem::replace(&mut self.section, name);
        add(self);
        self.section = outer;
        self
    }
}

impl Parsed {
    /// The command line as the sidecar of this section would have it alone: the section's flags under their own names, and
    /// those that all sections share.
    pub fn section(&self, section: &str) -> Self {
        let mut flags: Vec<Flag> = self.of_section(section).map(|(name, flag)| alone(name, flag)).collect();
        for shared in self.flags.iter().filter(|flag| flag.section.is_empty()) {
            match flags.iter_mut().find(|flag| flag.name == shared.name) {
                Some(own) if own.given.is_empty() => {
                    own.given.clone_from(&shared.given);
                    own.shared = true;
                }
                Some(_) => {}
                None => flags.push(shared.clone()),
            }
        }
        Self { flags, gates: self.gates.clone(), notices: Vec::new() }
    }

    /// In a section: whether the flag's value comes from the flag that all share.
    pub fn is_shared(&self, name: &str) -> bool {
        self.flag(name).is_some_and(|flag| flag.shared && !flag.given.is_empty())
    }

    /// Runs a check on a section. What it says about the section's flags names them as the command line does.
    pub(super) fn check(&self, section: &'static str, check: Check) -> Result<(), Exit> {
        if section.is_empty() {
            return check(self);
        }
        check(&self.section(section)).map_err(|mut exit| {
            let mut names: Vec<(&str, &Flag)> = self.of_section(section).collect();
            // A longer name may begin with a shorter one.
            names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
            for (name, flag) in names {
                exit.stderr = exit.stderr.replace(&format!("--{name}"), &format!("--{}", flag.name));
            }
            exit
        })
    }

    /// The section's flags, each with its name inside of the section.
    fn of_section<'a>(&'a self, section: &'a str) -> impl Iterator<Item = (&'a str, &'a Flag)> {
        let own = self.flags.iter().filter(move |flag| !section.is_empty() && flag.section == section);
        own.map(move |flag| (flag.name.get(section.len() + 1..).unwrap_or_default(), flag))
    }
}

fn alone(name: &str, flag: &Flag) -> Flag {
    Flag { name: name.to_owned(), section: "", ..flag.clone() }
}
