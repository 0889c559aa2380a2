//! `--vmodule`: verbosity by source file.

use crate::flag::{Value, ValueError};

/// Patterns and their levels, in the order given; the first match counts.
///
/// A pattern without a slash is matched against the file's name without its ending (`decide` for
/// `provisioner/src/volume/decide.rs`), one with a slash against the whole path without its ending. `*` stands for
/// anything, `?` for one character.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VModule(Vec<(String, i32)>);

impl VModule {
    /// Whether no pattern was given.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The highest level of any pattern.
    pub fn highest(&self) -> Option<i32> {
        self.0.iter().map(|(_, level)| *level).max()
    }

    /// The level for a source file (a path as `file!()` gives it); none if no pattern fits.
    pub fn level(&self, file: &str) -> Option<i32> {
        if self.0.is_empty() {
            return None;
        }
        let path = file.strip_suffix(".rs").unwrap_or(file);
        let name = path.rsplit('/').next().unwrap_or(path);
        self.0
            .iter()
            .find(|(pattern, _)| fits(pattern, if pattern.contains('/') { path } else { name }))
            .map(|(_, level)| *level)
    }
}

impl Value for VModule {
    type Initial = &'static str;
    const TYPE: &'static str = "pattern=N,...";
    fn parse(text: &str) -> Result<Self, ValueError> {
        let mut patterns = Vec::new();
        for item in text.split(',').filter(|item| !item.is_empty()) {
            let pair = item.split_once('=').filter(|(pattern, _)| !pattern.is_empty());
            let level = pair.and_then(|(_, level)| level.parse::<i32>().ok().filter(|n| *n >= 0));
            match (pair, level) {
                (Some((pattern, _)), Some(level)) => patterns.push((pattern.to_owned(), level)),
                _ => {
                    let item = super::quote::quoted(item);
                    return Err(ValueError::new(format!(
                        "{item} must be written pattern=N with N of 0 or more"
                    )));
                }
            }
        }
        Ok(Self(patterns))
    }
    fn print(initial: &&'static str) -> String {
        (*initial).to_owned()
    }
}

/// Shell-style match of the whole of `text`.
fn fits(pattern: &str, text: &str) -> bool {
    let mut pattern_rest = pattern.chars();
    match pattern_rest.next() {
        None => text.is_empty(),
        Some('*') => {
            let rest = pattern_rest.as_str();
            fits(rest, text)
                || text
                    .char_indices()
                    .any(|(i, c)| text.get(i + c.len_utf8()..).is_some_and(|tail| fits(rest, tail)))
        }
        Some(wanted) => {
            let mut text_rest = text.chars();
            text_rest.next().is_some_and(|c| wanted == '?' || wanted == c)
                && fits(pattern_rest.as_str(), text_rest.as_str())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_fitting_pattern_counts() {
        let vmodule = VModule::parse("apply=4,cl*=2,*/queue/?ore=7,").unwrap();
        for (file, want) in [
            ("provisioner/src/claim/apply.rs", Some(4)),
            ("common/src/client.rs", Some(2)),
            ("common/src/queue/core.rs", Some(7)),
            ("common/src/queue/mod.rs", None),
            ("core.rs", None),
        ] {
            assert_eq!(vmodule.level(file), want, "{file}");
        }
        assert_eq!(vmodule.highest(), Some(7));
    }

    #[test]
    fn malformed_items_are_refused() {
        for text in ["apply", "=3", "apply=x", "apply=-1"] {
            assert!(VModule::parse(text).is_err(), "{text}");
        }
        assert!(VModule::parse("").unwrap().is_empty());
    }
}
