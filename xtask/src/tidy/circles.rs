//! The imports between the files of a crate have no circle: each file can be understood from those it imports.
//!
//! An arrow goes from a file to the file where an item that it names lives. A `mod` declaration is no arrow, and neither
//! is a re-export that the file itself does not use.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::complaint::Complaint;
use super::imports;
use super::modules::{Crate, Module};
use super::source::{Source, has_word};

/// For each file, the files that it imports from, each with the line of the first import.
type Arrows<'a> = BTreeMap<&'a str, BTreeMap<&'a str, usize>>;

/// Complains of each circle, once.
pub(crate) fn check(files: &[Source]) -> Vec<Complaint> {
    let by_path: BTreeMap<&str, &Source> = files.iter().map(|file| (file.path.as_str(), file)).collect();
    let is_root = |path: &&&str| path.ends_with("src/lib.rs") || path.ends_with("src/main.rs");
    let mut found = Vec::new();
    for root in by_path.keys().filter(is_root) {
        let all = Crate::of(root, &by_path);
        let arrows = arrows(&all);
        found.extend(circles(&arrows).iter().map(|circle| complaint(circle, &arrows)));
    }
    found
}

fn arrows<'a>(all: &Crate<'a>) -> Arrows<'a> {
    let mut arrows = Arrows::new();
    for (path, module) in &all.modules {
        let from = arrows.entry(module.file).or_default();
        for (line, names) in named(module) {
            let home = all.home(path, &names).and_then(|home| all.modules.get(&home));
            if let Some(home) = home.filter(|home| home.file != module.file) {
                from.entry(home.file).or_insert(line);
            }
        }
    }
    arrows
}

/// Every path that the module names and uses.
fn named(module: &Module<'_>) -> Vec<(usize, Vec<String>)> {
    let used = module
        .imports
        .iter()
        .filter(|import| import.public.is_none() || has_word(&module.code, &import.alias()));
    let imported = used.map(|import| (import.line, import.path.clone()));
    imported.chain(imports::paths(&module.code)).collect()
}

/// The shortest circle through each file, each circle once.
fn circles<'a>(arrows: &Arrows<'a>) -> Vec<Vec<&'a str>> {
    let mut known: BTreeSet<BTreeSet<&str>> = BTreeSet::new();
    let shortest = arrows.keys().filter_map(|file| shortest(file, arrows));
    shortest.filter(|circle| known.insert(circle.iter().copied().collect())).collect()
}

/// The shortest way from `file` back to it.
fn shortest<'a>(file: &'a str, arrows: &Arrows<'a>) -> Option<Vec<&'a str>> {
    let mut from: BTreeMap<&str, &str> = BTreeMap::new();
    let mut open = VecDeque::from([file]);
    while let Some(here) = open.pop_front() {
        for next in arrows.get(here).into_iter().flat_map(BTreeMap::keys) {
            if *next == file {
                let mut way = vec![here];
                while let Some(before) = way.last().and_then(|last| from.get(last)) {
                    way.push(before);
                }
                way.reverse();
                return Some(way);
            }
            if !from.contains_key(next) {
                from.insert(next, here);
                open.push_back(next);
            }
        }
    }
    None
}

fn complaint(circle: &[&str], arrows: &Arrows<'_>) -> Complaint {
    let nexts = circle.iter().cycle().skip(1);
    let steps = circle.iter().zip(nexts).map(|(file, next)| {
        let line = arrows.get(file).and_then(|targets| targets.get(next)).copied().unwrap_or_default();
        format!("{file}:{line} → {next}")
    });
    let text = format!("imports go in a circle: {}", steps.collect::<Vec<_>>().join(", "));
    Complaint::of(circle.first().copied().unwrap_or_default(), text)
}

#[cfg(test)]
mod tests {
    use super::super::source::rust;
    use super::*;

    fn found(a: &str, b: &str, root: &str) -> Vec<String> {
        let files = [
            rust("c/src/lib.rs", root),
            rust("c/src/a.rs", a),
            rust("c/src/b/mod.rs", b),
            rust("c/src/b/d.rs", "pub struct D;"),
        ];
        check(&files).into_iter().map(|it| it.text).collect()
    }

    #[test]
    fn two_files_that_import_each_other_are_a_circle() {
        let circle = found("use crate::b::B;\npub struct A;", "pub struct B(crate::a::A);", "mod a;\nmod b;");
        assert_eq!(
            circle,
            ["imports go in a circle: c/src/a.rs:1 → c/src/b/mod.rs, c/src/b/mod.rs:1 → c/src/a.rs"]
        );
    }

    #[test]
    fn declarations_re_exports_and_tests_are_no_arrows() {
        let root = "mod a;\nmod b;\npub use a::A;\npub use b::D;";
        let a = "use crate::D;\npub struct A(D);\n#[cfg(test)]\nmod tests { use crate::b::B; }";
        assert_eq!(found(a, "mod d;\npub use d::D;\npub struct B(crate::A);", root), [""; 0]);
    }

    #[test]
    fn a_re_export_that_is_used_is_an_arrow() {
        let root = "mod a;\npub use a::A;\npub struct R;\nfn f() -> A { A }";
        assert_eq!(found("use crate::R;\npub struct A;", "", root).len(), 1);
    }
}
