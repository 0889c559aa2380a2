//! `docs/differences.md`: what an operator who comes from the Go sidecars will find different.
//!
//! The page is made of the `Differs:` notes in comments, so that each stands beside the code that it is about. The rule
//! is that the page in the repository is the one that the notes make.

use super::complaint::Complaint;
use super::source::{Comment, Source};

/// Where the page is.
pub(crate) const PAGE: &str = "docs/differences.md";
const MARK: &str = "Differs:";

const HEAD: &str = "\
# What differs from the Go sidecars

For operators who replace the Go sidecars' images by Mooring's. What is not listed here behaves as in the Go releases that
README.md names: flags, metrics, events and exit codes included. The bold words say what an entry is about, the text what
is different; the link leads to the code.

This page is made by `cargo xtask differences` from the notes in the code. Change the note, not the page.
";

/// A part of the page: its heading, and the folders whose notes stand there, unless a longer path of another part has them.
const PARTS: &[(&str, &[&str])] = &[
    ("All sidecars", &["common/", "mooring/"]),
    ("csi-provisioner", &["provisioner/"]),
    ("csi-attacher", &["attacher/"]),
    ("csi-resizer", &["resizer/"]),
    ("csi-snapshotter", &["snapshotter/"]),
    ("livenessprobe", &["registrar/src/liveness/"]),
    ("csi-node-driver-registrar", &["registrar/"]),
    ("Volumes of in-tree plugins", &["translation/"]),
    ("mooring migrate", &["migrate/"]),
    ("mooring explain", &["explain/"]),
    ("The hostpath driver", &["driver/"]),
    ("csc", &["csc/"]),
    ("mooring csidriver", &["csidriver/"]),
];

/// One note.
#[derive(Debug, PartialEq, Eq)]
struct Note {
    file: String,
    /// What it is about.
    about: String,
    /// What is different.
    text: String,
}

/// Complains when the page is not the one that the notes make, and of notes whose heading would be a name of the code: an
/// operator does not know it.
pub(crate) fn check(files: &[Source]) -> Vec<Complaint> {
    let rust =
        files.iter().filter(|file| file.is_rust() && !file.is_test() && folder_of(&file.path).is_some());
    let named: Vec<Complaint> = rust
        .flat_map(notes)
        .filter(|note| is_name(&note.about))
        .map(|note| {
            let why =
                format!("has a note about {}: say in a sentence before it what it is about", note.about);
            Complaint::of(&note.file, why)
        })
        .collect();
    if !named.is_empty() {
        return named;
    }
    let there = files.iter().find(|file| file.path == PAGE).map(|file| file.text.as_str());
    if there == Some(page(files).as_str()) {
        return Vec::new();
    }
    vec![Complaint::of(PAGE, "is not what the notes say: cargo xtask differences".to_owned())]
}

/// Whether this is a name of the code and nothing else.
fn is_name(about: &str) -> bool {
    about.len() > 2 && about.starts_with('`') && about.ends_with('`') && !about.contains(' ')
}

/// The page that the notes of `files` make.
pub(crate) fn page(files: &[Source]) -> String {
    let mut page = HEAD.to_owned();
    for (heading, folders) in PARTS {
        let here = |file: &&Source| folder_of(&file.path).is_some_and(|folder| folders.contains(&folder));
        let rust = files.iter().filter(here).filter(|file| file.is_rust() && !file.is_test());
        let mut notes: Vec<Note> = rust.flat_map(notes).collect();
        if notes.is_empty() {
            continue;
        }
        notes.sort_by(|one, other| one.file.cmp(&other.file));
        page.push_str(&format!("\n## {heading}\n\n"));
        for note in notes {
            page.push_str(&entry(&note));
        }
    }
    page
}

/// The folder of a part that a file is in: the longest that fits.
fn folder_of(path: &str) -> Option<&'static str> {
    let folders = PARTS.iter().flat_map(|(_, folders)| folders.iter().copied());
    folders.filter(|folder| path.starts_with(folder)).max_by_key(|folder| folder.len())
}

fn entry(note: &Note) -> String {
    let about = if note.about.is_empty() { String::new() } else { format!("**{}.** ", note.about) };
    format!("- {about}{} ([{}](../{}))\n", note.text, note.file, note.file)
}

/// The notes of one file, in their order.
fn notes(file: &Source) -> Vec<Note> {
    let code = file.code();
    let mut notes = Vec::new();
    for block in blocks(&file.comments()) {
        let paragraphs = paragraphs(&block);
        let first = paragraphs.first().map(|text| plain(text)).unwrap_or_default();
        for paragraph in &paragraphs {
            let mut parts = split_at_marks(&plain(paragraph)).into_iter();
            let before = parts.next().unwrap_or_default();
            // Where the behaviour is described tells an operator nothing.
            let says_nothing = before.is_empty() || before.starts_with("Source: ");
            let own = if says_nothing && !is_note(&first) { first_sentence(&first) } else { before };
            let about = if own.is_empty() { item(&code, &block) } else { own };
            notes.extend(parts.map(|text| Note {
                file: file.path.clone(),
                about: capital(about.trim_end_matches(['.', ':', '(', ' ']).trim()),
                text: capital(&text),
            }));
        }
    }
    notes
}

/// Comments of one kind on lines that follow each other.
fn blocks(comments: &[Comment]) -> Vec<Vec<Comment>> {
    let mut blocks: Vec<Vec<Comment>> = Vec::new();
    for comment in comments {
        match blocks.last_mut() {
            Some(block)
                if block
                    .last()
                    .is_some_and(|last| last.kind == comment.kind && last.line + 1 == comment.line) =>
            {
                block.push(comment.clone());
            }
            _ => blocks.push(vec![comment.clone()]),
        }
    }
    blocks
}

/// The paragraphs of a block, each on one line; a list's item is one too. Drawings are left out.
fn paragraphs(block: &[Comment]) -> Vec<String> {
    let mut paragraphs = vec![String::new()];
    let mut drawn = false;
    for comment in block {
        let line = comment.text.trim();
        if line.starts_with("```") {
            drawn = !drawn;
            paragraphs.push(String::new());
        } else if drawn || line.starts_with('#') {
            continue;
        } else if line.is_empty() {
            paragraphs.push(String::new());
        } else if let Some(item) = line.strip_prefix("- ") {
            paragraphs.push(item.to_owned());
        } else if let Some(last) = paragraphs.last_mut() {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(line);
        }
    }
    paragraphs.retain(|text| !text.is_empty());
    paragraphs
}

/// `text` without the links of rustdoc and the citations of `docs/upstream`, and with its marks bare.
fn plain(text: &str) -> String {
    let mut text = text.replace("`Differs:`", MARK);
    while let Some((before, cited)) = text.split_once(" (docs/upstream/")
        && let Some((_, after)) = cited.split_once(')')
    {
        text = format!("{before}{after}");
    }
    text.replace("[`Self::", "`").replace("[`", "`").replace("`]", "`").trim().to_owned()
}

fn is_note(text: &str) -> bool {
    text.starts_with(MARK)
}

/// What stands before the first mark, then what follows each mark. A mark that nothing follows is only spoken of.
fn split_at_marks(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    for (index, part) in text.split(MARK).enumerate() {
        let spoken_of = index > 0 && !part.starts_with(' ');
        if index > 0 && !spoken_of {
            parts.push(String::new());
        }
        let Some(last) = parts.last_mut() else { continue };
        if spoken_of {
            last.push_str(MARK);
        }
        last.push_str(part);
    }
    // A note that begins amid a sentence takes the sentence's beginning along.
    if let [before, note, ..] = parts.as_mut_slice()
        && !before.trim_end().ends_with(['.', '(', ':', ';'])
        && let Some((whole, begun)) = before.rsplit_once(". ")
    {
        *note = format!("{begun}{}", note.trim_start());
        *before = format!("{whole}.");
    }
    // A note in brackets ends before the closing one.
    let bracketed = parts.first().is_some_and(|before| before.trim_end().ends_with('('));
    let clean = |part: String| match part.trim() {
        part if bracketed => format!("{}.", part.trim_end_matches(['.', ')', '('])),
        part => part.to_owned(),
    };
    parts.into_iter().map(clean).collect()
}

fn first_sentence(text: &str) -> String {
    text.split_once(". ").map_or_else(|| text.to_owned(), |(first, _)| format!("{first}."))
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// The item that a block without words of its own is about: the function that follows, or the one that it stands in.
fn item(code: &str, block: &[Comment]) -> String {
    let (Some(first), Some(last)) = (block.first(), block.last()) else { return String::new() };
    let lines: Vec<&str> = code.lines().collect();
    let name = |line: &&str| super::names::function_name(line.trim()).map(str::to_owned);
    let found = if first.kind == "///" {
        lines.iter().skip(last.line).find_map(name)
    } else {
        lines.iter().take(first.line).rev().find_map(name)
    };
    found.map(|name| format!("`{name}`:")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::source::rust;
    use super::*;

    const NOTED: &str = "//! files (docs/upstream/a.md, \"b\"). More.\n//!\n//! Source: c. `Differs:` upstream has none.\n\n/// Adds (Differs: upstream\n\
        /// [`Self::leaves`] it).\nfn a() {\n    // Differs: not so.\n}\n/// Deviations carry `Differs:`.\nfn b() {}\n";

    fn entries(text: &str) -> Vec<String> {
        let page = page(&[rust("attacher/src/a.rs", text)]);
        page.lines().filter(|line| line.starts_with("- ")).map(str::to_owned).collect()
    }

    #[test]
    fn a_note_about_a_name_of_the_code_is_found() {
        let found = check(&[rust("attacher/src/a.rs", NOTED)]);
        let texts: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert!(texts.len() == 1 && texts[0].contains("a note about `a`"), "{texts:?}");
    }

    #[test]
    fn each_note_says_what_it_is_about_and_where_it_stands() {
        let link = "([attacher/src/a.rs](../attacher/src/a.rs))";
        assert_eq!(
            entries(NOTED),
            [
                format!("- **Files.** Upstream has none. {link}"),
                format!("- **Adds.** Upstream `leaves` it. {link}"),
                format!("- **`a`.** Not so. {link}"),
            ]
        );
    }

    #[test]
    fn note_of_a_folder_in_a_folder_stands_once() {
        let page = page(&[rust("registrar/src/liveness/a.rs", NOTED), rust("registrar/src/b.rs", NOTED)]);
        let headings: Vec<_> = page.lines().filter(|line| line.starts_with("## ")).collect();
        assert_eq!(headings, ["## livenessprobe", "## csi-node-driver-registrar"]);
        assert_eq!(page.matches("registrar/src/liveness/a.rs](").count(), 3);
    }

    #[test]
    fn a_page_that_lacks_a_note_is_out_of_date() {
        let noted = NOTED.replace("// Differs: not so", "// A step. Differs: not so");
        let noted = rust("attacher/src/a.rs", &noted);
        let made = page(std::slice::from_ref(&noted));
        assert_eq!(check(&[noted.clone(), rust(PAGE, &made)]), []);
        assert_eq!(check(&[rust("attacher/src/a.rs", "fn a() {}\n"), rust(PAGE, &made)]).len(), 1);
        assert_eq!(check(&[noted]).len(), 1);
    }
}
