//! The paths that a file names: its `use` declarations, and paths in the midst of its code.

/// One leaf of a `use` declaration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Import {
    /// What stands between the brackets of its visibility: `Some("")` for `pub`, `None` for a private one.
    pub(crate) public: Option<&'static str>,
    /// The whole path; `*` comes last in a glob.
    pub(crate) path: Vec<String>,
    /// The name after `as`.
    renamed: Option<String>,
    /// Counted from 1.
    pub(crate) line: usize,
}

impl Import {
    /// The name by which the file knows it.
    pub(crate) fn alias(&self) -> String {
        self.renamed.clone().or_else(|| self.path.last().cloned()).unwrap_or_default()
    }

    pub(crate) fn is_glob(&self) -> bool {
        self.path.last().is_some_and(|last| last == "*")
    }
}

/// A `use` declaration in a text: where it is, and what it says.
struct Declaration<'a> {
    start: usize,
    end: usize,
    public: Option<&'static str>,
    tree: &'a str,
}

/// Every `use` declaration of `code`, which has no comments and no strings.
fn declarations(code: &str) -> Vec<Declaration<'_>> {
    let mut found: Vec<Declaration<'_>> = Vec::new();
    for (start, _) in code.match_indices("use ") {
        let before = code.get(..start).unwrap_or_default();
        if found.last().is_some_and(|last| start < last.end) {
            continue;
        }
        let Some(public) = visibility(before.trim_end()) else { continue };
        let rest = code.get(start..).unwrap_or_default();
        let Some(length) = rest.find(';') else { continue };
        let tree = rest.get("use ".len()..length).unwrap_or_default();
        found.push(Declaration { start, end: start + length + 1, public, tree });
    }
    found
}

/// The visibility at the end of `before`; `None` if no declaration can begin there.
fn visibility(before: &str) -> Option<Option<&'static str>> {
    for (word, public) in
        [("pub", ""), ("pub(crate)", "crate"), ("pub(super)", "super"), ("pub(self)", "self")]
    {
        if before.ends_with(word) {
            return Some(Some(public));
        }
    }
    let begins = before.is_empty() || before.ends_with([';', '}', '{', ']', ')']);
    // `pub(in path) use` ends with a bracket too: nobody outside the path sees it.
    begins.then_some(None)
}

/// Every import of `code`.
pub(crate) fn of(code: &str) -> Vec<Import> {
    let mut imports = Vec::new();
    for declaration in declarations(code) {
        let line = code.get(..declaration.start).unwrap_or_default().matches('\n').count() + 1;
        let mut leaves = Vec::new();
        expand(&[], declaration.tree, &mut leaves);
        imports.extend(leaves.into_iter().map(|(path, renamed)| Import {
            public: declaration.public,
            path,
            renamed,
            line,
        }));
    }
    imports
}

/// The leaves of a `use` tree below `above`.
fn expand(above: &[String], tree: &str, leaves: &mut Vec<(Vec<String>, Option<String>)>) {
    let tree = tree.trim().trim_start_matches("::");
    if tree.is_empty() {
        return;
    }
    let segments = |text: &str| -> Vec<String> {
        let parts = text.split("::").map(|part| part.trim().trim_start_matches("r#").to_owned());
        above.iter().cloned().chain(parts.filter(|part| !part.is_empty())).collect()
    };
    if let Some((head, body)) = tree.split_once('{') {
        let path = segments(head);
        let body = body.trim_end().strip_suffix('}').unwrap_or(body);
        for branch in branches(body) {
            expand(&path, branch, leaves);
        }
        return;
    }
    let (path, renamed) = match tree.split_once(" as ") {
        Some((path, name)) => (path, Some(name.trim().to_owned())),
        None => (tree, None),
    };
    let mut path = segments(path);
    if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
        path.pop();
    }
    leaves.push((path, renamed));
}

/// Splits the inside of braces at its own commas.
fn branches(body: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    body.split(|letter: char| {
        match letter {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        letter == ',' && depth == 0
    })
    .collect()
}

/// `code` with its `use` declarations blanked.
pub(crate) fn without(code: &str) -> String {
    let mut text = String::with_capacity(code.len());
    let mut at = 0;
    for declaration in declarations(code) {
        text.push_str(code.get(at..declaration.start).unwrap_or_default());
        let gone = code.get(declaration.start..declaration.end).unwrap_or_default();
        text.extend(gone.chars().map(|letter| if letter == '\n' { '\n' } else { ' ' }));
        at = declaration.end;
    }
    text.push_str(code.get(at..).unwrap_or_default());
    text
}

/// Every path of at least two names in `code`, with its line.
pub(crate) fn paths(code: &str) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    for (index, line) in code.lines().enumerate() {
        let is_path = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':';
        for word in line.split(|letter| !is_path(letter)) {
            let names: Vec<String> = word
                .split("::")
                .filter(|name| !name.is_empty() && !name.contains(':'))
                .map(str::to_owned)
                .collect();
            if names.len() > 1 && !word.starts_with("::") {
                found.push((index + 1, names));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(code: &str) -> Vec<(Option<&'static str>, String, String)> {
        of(code).iter().map(|it| (it.public, it.path.join("::"), it.alias())).collect()
    }

    #[test]
    fn trees_are_expanded() {
        let code = "use crate::a::{self, b::{C, D as E}, f::*};\npub(crate) use super::g;\nfn h() -> impl I + use<'_> {}\n";
        let owned = |public, path: &str, alias: &str| (public, path.to_owned(), alias.to_owned());
        assert_eq!(
            seen(code),
            [
                owned(None, "crate::a", "a"),
                owned(None, "crate::a::b::C", "C"),
                owned(None, "crate::a::b::D", "E"),
                owned(None, "crate::a::f::*", "*"),
                owned(Some("crate"), "super::g", "g"),
            ]
        );
    }

    #[test]
    fn paths_in_code_are_found_and_imports_are_not() {
        let code = without("use a::b;\nfn c(d: e::F) { crate::g::h(); let i: J = k; }\n");
        let found: Vec<_> = paths(&code).into_iter().map(|(line, path)| (line, path.join("::"))).collect();
        assert_eq!(found, [(2, "e::F".to_owned()), (2, "crate::g::h".to_owned())]);
    }
}
