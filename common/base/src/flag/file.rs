//! What reading flags from a file needs to know about them.

use super::set::FlagSet;

impl FlagSet {
    /// Whether there is such a flag. `name` is without dashes, with its section.
    pub fn knows(&self, name: &str) -> bool {
        self.flags.iter().any(|flag| flag.name == name)
    }

    /// Whether the flag's value is any text. `name` is without dashes, with its section.
    pub fn takes_text(&self, name: &str) -> bool {
        self.flags.iter().any(|flag| flag.name == name && flag.quoted)
    }

    /// The same flags, whose values are not checked against each other: a part of them may be in another place.
    #[must_use]
    pub fn unchecked(mut self) -> Self {
        self.checks.clear();
        self
    }
}
