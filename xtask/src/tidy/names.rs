//! Test names can be read at a glance.

use super::complaint::Complaint;
use super::source::Source;

/// Letters of a test's name. Not enforced yet: longer ones are counted.
const LETTERS: usize = 60;

/// Every test whose name is longer than it should be.
pub(crate) fn check(files: &[Source]) -> Vec<Complaint> {
    files.iter().filter(|file| file.is_rust()).flat_map(long_names).collect()
}

fn long_names(file: &Source) -> Vec<Complaint> {
    let code = file.code();
    let mut found = Vec::new();
    let mut is_test = false;
    for (index, line) in code.lines().enumerate() {
        let line = line.trim();
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if let Some(name) = function_name(line)
            && std::mem::take(&mut is_test)
            && name.chars().count() > LETTERS
        {
            let text = format!("{name}: {} letters, at most {LETTERS} are wanted", name.chars().count());
            found.push(Complaint::at(&file.path, index + 1, text));
        }
    }
    found
}

/// The name of the function that `line` declares.
pub(super) fn function_name(line: &str) -> Option<&str> {
    let (before, after) = line.split_once("fn ")?;
    let qualifies = |word: &str| word.starts_with("pub") || matches!(word, "async" | "const" | "unsafe");
    if !before.split_whitespace().all(qualifies) {
        return None;
    }
    after
        .split(|letter: char| !(letter.is_alphanumeric() || letter == '_'))
        .next()
        .filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::source::rust;
    use super::*;

    #[test]
    fn only_long_names_of_tests_are_counted() {
        let long = "a".repeat(61);
        let text = format!(
            "#[test]\nfn {long}() {{}}\n#[tokio::test(start_paused = true)]\nasync fn b() {{}}\nfn {long}() {{}}\n"
        );
        let lines: Vec<_> = check(&[rust("a.rs", &text)]).into_iter().map(|it| it.line).collect();
        assert_eq!(lines, [2]);
    }
}
