//! What comments and documents cite is in the repository.

use std::collections::BTreeSet;

use super::complaint::Complaint;
use super::source::Source;

/// Endings of files that are ours when a path to them is cited. Go files are upstream's.
const OURS: &[&str] = &[".rs", ".yaml", ".toml", ".proto", ".sh"];

/// Complains of each citation that leads nowhere.
pub(crate) fn check(files: &[Source]) -> Vec<Complaint> {
    let tree = Tree::of(files);
    // The page of differences says what the comments say.
    let written = files.iter().filter(|file| file.path != super::differences::PAGE);
    written.flat_map(|file| dead(file, &tree)).collect()
}

/// The files and folders of the repository.
struct Tree<'a> {
    paths: BTreeSet<&'a str>,
    /// The folders that lie in the root.
    top: BTreeSet<&'a str>,
}

impl<'a> Tree<'a> {
    fn of(files: &'a [Source]) -> Tree<'a> {
        let paths = files.iter().map(|file| file.path.as_str());
        let folders =
            paths.clone().flat_map(|path| path.match_indices('/').filter_map(|(at, _)| path.get(..at)));
        let top = paths.clone().filter_map(|path| path.split_once('/').map(|(top, _)| top)).collect();
        Tree { paths: paths.chain(folders).collect(), top }
    }

    /// Whether `cited`, read in the file `from`, is there: from the root, or from any folder above `from`.
    fn has(&self, cited: &str, from: &str) -> bool {
        let cited = cited.trim_end_matches('/').trim_start_matches("./");
        let mut folder = from;
        loop {
            folder = folder.rsplit_once('/').map_or("", |(above, _)| above);
            let under_src = format!("{folder}/src/{cited}");
            let path = normal(&format!("{folder}/{cited}"));
            if self.paths.contains(path.as_str()) || self.paths.contains(under_src.as_str()) {
                return true;
            }
            if folder.is_empty() {
                return false;
            }
        }
    }
}

/// `path` without `..` and without a leading `/`.
fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts.join("/")
}

fn dead(file: &Source, tree: &Tree<'_>) -> Vec<Complaint> {
    let lines: Vec<(usize, String)> = if file.is_rust() {
        file.comments().into_iter().map(|comment| (comment.line, comment.text)).collect()
    } else if file.path.ends_with(".md") {
        file.text.lines().enumerate().map(|(index, line)| (index + 1, line.to_owned())).collect()
    } else {
        let comments = file.text.lines().enumerate().filter(|(_, line)| line.trim_start().starts_with("# "));
        comments.map(|(index, line)| (index + 1, line.to_owned())).collect()
    };
    let mut found = Vec::new();
    for (line, text) in lines {
        for cited in cited(&text, &tree.top).into_iter().filter(|cited| !tree.has(cited, &file.path)) {
            found.push(Complaint::at(
                &file.path,
                line,
                format!("cites {cited}, which is not in the repository"),
            ));
        }
    }
    found
}

/// What of `text` names a file or folder of ours.
fn cited<'t>(text: &'t str, top: &BTreeSet<&str>) -> Vec<&'t str> {
    let mut found = Vec::new();
    let separates = |letter: char| letter.is_whitespace() || "()[],;'\"|".contains(letter);
    for (index, part) in text.split('`').enumerate() {
        let is_code = index % 2 == 1;
        for word in part.split(separates) {
            let word = word.split('#').next().unwrap_or_default().trim_end_matches(['.', ':', '?', '!']);
            // An address, a pattern, a path of some machine or a placeholder is no citation.
            if word.contains("://")
                || word.contains(['*', '<', '{', '$', '…', '='])
                || word.starts_with(['/', '~', '-'])
            {
                continue;
            }
            let word = word.split(':').next().unwrap_or_default();
            let is_document = word.ends_with(".md") && word.len() > ".md".len();
            let is_path = word.contains('/') && OURS.iter().any(|ending| word.ends_with(ending));
            let is_folder = is_code
                && word.contains('/')
                && !word.contains(' ')
                && word.split_once('/').is_some_and(|(first, _)| top.contains(first));
            if is_document || is_path || is_folder {
                found.push(word);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::source::rust;
    use super::*;

    fn found(text: &str) -> Vec<String> {
        let files = [
            rust("a/src/b/c.rs", text),
            rust("a/src/b/d.rs", ""),
            rust("docs/upstream/e.md", ""),
            rust("F.md", ""),
        ];
        check(&files).into_iter().map(|it| it.text).collect()
    }

    #[test]
    fn a_sheet_that_is_not_there_is_found() {
        let found = found(
            "//! Does it (attacher.md §3).\n/// See `a/src/gone`, b/x.rs and docs/upstream/f.md.\nfn f() {}\n",
        );
        let names: Vec<_> = found.iter().filter_map(|text| text.split([' ', ',']).nth(1)).collect();
        assert_eq!(names, ["attacher.md", "a/src/gone", "b/x.rs", "docs/upstream/f.md"]);
    }

    #[test]
    fn what_is_there_may_be_cited_from_wherever_one_stands() {
        let text = "//! F.md, docs/upstream/e.md §1, b/d.rs, `a/src/b`, `../b/d.rs`, https://x.y/z.md, \
            `pkg/h.go`, `reads/writes`, x/*.rs.\nlet a = \"none.md\";\n";
        assert_eq!(found(text), [""; 0]);
    }
}
