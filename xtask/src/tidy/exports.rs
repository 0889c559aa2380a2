//! A sidecar's crate has one narrow door: private modules, and at most ten names.

use super::complaint::Complaint;
use super::imports::{self, Import};
use super::source::Source;

/// How many names a sidecar's `lib.rs` may export.
const NAMES: usize = 10;
/// The doors that are watched.
const DOORS: &[&str] = &[
    "attacher/src/lib.rs",
    "provisioner/src/lib.rs",
    "resizer/src/lib.rs",
    "snapshotter/src/lib.rs",
    "translation/src/lib.rs",
    "csidriver/src/lib.rs",
    "migrate/src/lib.rs",
    "explain/src/lib.rs",
];

/// Complains of public modules and of too many names.
pub(crate) fn check(files: &[Source]) -> Vec<Complaint> {
    files.iter().filter(|file| DOORS.contains(&file.path.as_str())).flat_map(door).collect()
}

fn door(file: &Source) -> Vec<Complaint> {
    let code = file.code_without_tests();
    let mut found = Vec::new();
    for (index, line) in code.lines().enumerate() {
        if line.starts_with("pub mod ") {
            let text = format!("`{}`: modules of a sidecar are private", line.trim());
            found.push(Complaint::at(&file.path, index + 1, text));
        }
    }
    let used = imports::of(&code);
    let exported = used.iter().filter(|import| import.public == Some(""));
    let mut names: Vec<String> = exported.map(Import::alias).collect();
    names.extend(code.lines().filter_map(item_name).map(str::to_owned));
    if names.len() > NAMES {
        let text = format!("exports {} names, {NAMES} are allowed: {}", names.len(), names.join(", "));
        found.push(Complaint::of(&file.path, text));
    }
    found
}

/// The name of the public item, other than a module or an import, that `line` declares at the margin.
fn item_name(line: &str) -> Option<&str> {
    const KINDS: &[&str] = &["fn", "struct", "enum", "trait", "type", "const", "static", "union"];
    let mut words = line.strip_prefix("pub ")?.split_whitespace();
    words.find(|word| KINDS.contains(word))?;
    words.next()?.split(|letter: char| !(letter.is_alphanumeric() || letter == '_')).next()
}

#[cfg(test)]
mod tests {
    use super::super::source::rust;
    use super::*;

    #[test]
    fn a_public_module_is_refused() {
        let found = check(&[rust("attacher/src/lib.rs", "mod a;\npub mod b;\npub(crate) mod c;\n")]);
        assert_eq!(found.iter().map(|it| it.line).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn the_eleventh_name_is_refused() {
        let ten =
            "mod a;\npub use a::{B, C, D as E, f, G, H, i};\npub fn j() {}\npub struct K;\npub enum L {}\n";
        assert_eq!(check(&[rust("provisioner/src/lib.rs", ten)]), []);
        let eleven = format!("{ten}pub async fn m() {{}}\n");
        let found = check(&[rust("provisioner/src/lib.rs", &eleven)]);
        assert!(found.iter().any(|it| it.text.starts_with("exports 11 names")), "{found:?}");
    }
}
