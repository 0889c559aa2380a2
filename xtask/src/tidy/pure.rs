//! Decisions are plain functions: no clock, no client, no waiting.

use super::complaint::Complaint;
use super::source::{Source, has_word};

/// Modules that decide under another name than `decide*.rs`, by their file name, in the crates of the sidecars.
const PURE: &[&str] = &["eligible.rs", "object.rs", "outcome.rs", "patch.rs", "report.rs", "request.rs"];
/// The crates of the sidecars.
const SIDECARS: &[&str] = &["attacher/", "provisioner/", "resizer/", "snapshotter/"];
/// What no decision may name. Each is a word, or words joined by `::`.
const FORBIDDEN: &[&str] = &["async", "await", "Client", "Instant::now", "SystemTime::now"];

fn decides(file: &Source) -> bool {
    let named = file.name().starts_with("decide") && file.is_rust();
    let listed = SIDECARS.iter().any(|folder| file.path.starts_with(folder)) && PURE.contains(&file.name());
    (named || listed) && !file.is_test()
}

/// Complains of what a decision module may not use, outside its tests.
pub(crate) fn check(files: &[Source]) -> Vec<Complaint> {
    files.iter().filter(|file| decides(file)).flat_map(impure).collect()
}

fn impure(file: &Source) -> Vec<Complaint> {
    let code = file.code_without_tests();
    let mut found = Vec::new();
    for (index, line) in code.lines().enumerate() {
        for name in FORBIDDEN.iter().filter(|name| has_word(line, name)) {
            let text = format!("decides, and uses `{name}`: take what it needs as an argument");
            found.push(Complaint::at(&file.path, index + 1, text));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::source::rust;
    use super::*;

    const IMPURE: &str = "use kube::Client;\n// async is only a word here\nasync fn a() { Instant::now(); }\n\
        fn b(c: ClientError) {}\n#[cfg(test)]\nmod tests { async fn c() {} }\n";

    #[test]
    fn a_decision_may_not_wait_or_look_at_a_clock() {
        let lines: Vec<_> =
            check(&[rust("attacher/src/volume/decide.rs", IMPURE)]).into_iter().map(|it| it.line).collect();
        assert_eq!(lines, [1, 3, 3]);
    }

    #[test]
    fn a_listed_module_of_a_sidecar_decides_too() {
        assert_eq!(check(&[rust("provisioner/src/claim/request.rs", IMPURE)]).len(), 3);
        assert_eq!(check(&[rust("csc/src/request.rs", IMPURE), rust("attacher/src/run.rs", IMPURE)]), []);
    }
}
