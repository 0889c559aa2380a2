//! Files stay small enough to be read at a sitting.

use super::complaint::Complaint;
use super::source::Source;

/// Lines of a Rust file, its tests included.
const LINES: usize = 400;

/// Complains of each Rust file that is longer than allowed.
pub(crate) fn check(files: &[Source]) -> Vec<Complaint> {
    let lengths = files.iter().filter(|file| file.is_rust()).map(|file| (file, file.text.lines().count()));
    let long = lengths.filter(|(_, lines)| *lines > LINES);
    long.map(|(file, lines)| {
        Complaint::of(&file.path, format!("has {lines} lines, {LINES} are allowed: split it"))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::super::source::rust;
    use super::*;

    #[test]
    fn a_file_of_401_lines_is_too_long() {
        let files = [
            rust("a.rs", &"\n".repeat(400)),
            rust("b.rs", &"\n".repeat(401)),
            rust("c.md", &"\n".repeat(500)),
        ];
        let found = check(&files);
        assert_eq!(found.iter().map(|it| it.file.as_str()).collect::<Vec<_>>(), ["b.rs"]);
    }
}
