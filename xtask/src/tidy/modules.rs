//! The modules of a crate, and which file an item lives in.

use std::collections::{BTreeMap, BTreeSet};

use super::imports::{self, Import};
use super::source::{Source, has_word};

/// How many re-exports lead to an item at the most.
const HOPS: usize = 8;

/// A module that has a file of its own.
pub(crate) struct Module<'a> {
    pub(crate) file: &'a str,
    /// Code without comments, strings, tests and `use` declarations.
    pub(crate) code: String,
    pub(crate) imports: Vec<Import>,
    /// The names that it declares with `mod`.
    children: BTreeSet<String>,
}

/// A crate: each module by its path from the root.
pub(crate) struct Crate<'a> {
    pub(crate) modules: BTreeMap<Vec<String>, Module<'a>>,
}

impl<'a> Crate<'a> {
    /// The crate whose root is the file at `root`. Modules under `#[cfg(test)]` are no part of it.
    pub(crate) fn of(root: &str, files: &'a BTreeMap<&'a str, &'a Source>) -> Crate<'a> {
        let mut modules = BTreeMap::new();
        let mut open = vec![(Vec::new(), root.to_owned())];
        while let Some((path, file)) = open.pop() {
            let Some((_, source)) = files.get_key_value(file.as_str()) else { continue };
            let code = source.code_without_tests();
            let children = declared(&code);
            for name in &children {
                let mut below: Vec<String> = path.clone();
                below.push(name.clone());
                let folder = folder_of(&file, path.is_empty());
                for candidate in [format!("{folder}{name}.rs"), format!("{folder}{name}/mod.rs")] {
                    if files.contains_key(candidate.as_str()) {
                        open.push((below.clone(), candidate));
                    }
                }
            }
            let imports = imports::of(&code);
            let module = Module { file: &source.path, code: imports::without(&code), imports, children };
            modules.insert(path, module);
        }
        Crate { modules }
    }

    /// The module that `names`, read in the module `here`, leads to: the one where the item lives. `None` when it leads
    /// out of the crate, or to a module itself.
    pub(crate) fn home(&self, here: &[String], names: &[String]) -> Option<Vec<String>> {
        let path = self.absolute(here, names, HOPS)?;
        let (module, item) = self.split(&path);
        let item = item.first()?;
        Some(self.definer(module, item, HOPS))
    }

    /// The path from the crate's root.
    fn absolute(&self, here: &[String], names: &[String], hops: usize) -> Option<Vec<String>> {
        let (first, rest) = names.split_first()?;
        let mut base = here.to_vec();
        match first.as_str() {
            "crate" => base.clear(),
            "self" => {}
            "super" => {
                base.pop();
                let ups = rest.iter().take_while(|name| *name == "super").count();
                base.truncate(base.len().saturating_sub(ups));
                base.extend(rest.iter().skip(ups).cloned());
                return Some(base);
            }
            name => {
                let module = self.modules.get(here)?;
                if module.children.contains(name) {
                    base.push(name.to_owned());
                } else {
                    let import = module.imports.iter().find(|import| import.alias() == name)?;
                    let hops = hops.checked_sub(1)?;
                    // An import of the same name as its own first segment is of another crate.
                    if import.path.first().is_some_and(|first| first == name) {
                        return None;
                    }
                    base = self.absolute(here, &import.path, hops)?;
                }
            }
        }
        base.extend(rest.iter().cloned());
        Some(base)
    }

    /// The longest beginning of `path` that is a module, and what follows.
    fn split<'p>(&self, path: &'p [String]) -> (&'p [String], &'p [String]) {
        let lengths = (0..=path.len()).rev();
        let splits = lengths.filter_map(|length| path.split_at_checked(length));
        splits.into_iter().find(|(module, _)| self.modules.contains_key(*module)).unwrap_or((&[], path))
    }

    /// Where the item `name` of `module` lives: there, or where its re-export leads.
    fn definer(&self, module: &[String], name: &str, hops: usize) -> Vec<String> {
        let here = module.to_vec();
        let Some(found) = self.modules.get(module) else { return here };
        let Some(hops) = hops.checked_sub(1) else { return here };
        if defines(&found.code, name) {
            return here;
        }
        let named = found.imports.iter().find(|import| !import.is_glob() && import.alias() == name);
        if let Some(import) = named
            && let Some(path) = self.absolute(module, &import.path, hops)
        {
            let (module, item) = self.split(&path);
            return item.first().map_or(here, |item| self.definer(module, item, hops));
        }
        for glob in found.imports.iter().filter(|import| import.is_glob()) {
            let above = glob.path.split_last().map_or(&[] as &[String], |(_, above)| above);
            let Some(path) = self.absolute(module, above, hops) else { continue };
            if self.modules.get(&path).is_some_and(|target| defines(&target.code, name)) {
                return path;
            }
        }
        here
    }
}

/// The folder in which the modules of `file` lie, with its `/`.
fn folder_of(file: &str, is_root: bool) -> String {
    let (folder, name) = file.rsplit_once('/').map_or(("", file), |(folder, name)| (folder, name));
    let folder = if folder.is_empty() { String::new() } else { format!("{folder}/") };
    if is_root || name == "mod.rs" { folder } else { format!("{folder}{}/", name.trim_end_matches(".rs")) }
}

/// The modules with files of their own that `code` declares.
fn declared(code: &str) -> BTreeSet<String> {
    let statements = code.split([';', '{', '}']);
    let names = statements.filter_map(|statement| {
        let (before, name) = statement.rsplit_once("mod ")?;
        let begins = before.trim_end();
        let begins = begins.is_empty() || begins.ends_with([')', ']']) || begins.ends_with("pub");
        let name = name.trim();
        let plain = !name.is_empty() && name.chars().all(|letter| letter.is_alphanumeric() || letter == '_');
        (begins && plain).then(|| name.to_owned())
    });
    names.collect()
}

/// Whether `code` declares an item called `name`.
fn defines(code: &str, name: &str) -> bool {
    const KINDS: &[&str] =
        &["fn", "struct", "enum", "trait", "type", "const", "static", "union", "macro_rules!"];
    KINDS.iter().any(|kind| has_word(code, &format!("{kind} {name}")))
}

#[cfg(test)]
mod tests {
    use super::super::source::rust;
    use super::*;

    fn home(here: &str, path: &str) -> Option<String> {
        let sources = [
            rust("c/src/lib.rs", "mod a;\nmod b;\n#[cfg(test)]\nmod t;\npub use b::Deep;\n"),
            rust("c/src/a.rs", "use crate::b;\nuse crate::b::inner::Deep as D;\nstruct A;\n"),
            rust("c/src/b/mod.rs", "mod inner;\npub(crate) use inner::*;\nfn f() {}\n"),
            rust("c/src/b/inner.rs", "use super::f;\npub struct Deep;\n"),
            rust("c/src/t.rs", ""),
        ];
        let files = sources.iter().map(|file| (file.path.as_str(), file)).collect();
        let all = Crate::of("c/src/lib.rs", &files);
        assert_eq!(all.modules.len(), 4);
        let names = |path: &str| -> Vec<String> {
            path.split("::").filter(|name| !name.is_empty()).map(str::to_owned).collect()
        };
        let module = all.home(&names(here), &names(path))?;
        all.modules.get(&module).map(|module| module.file.to_owned())
    }

    #[test]
    fn an_item_is_found_behind_its_re_exports() {
        assert_eq!(home("a", "crate::Deep").as_deref(), Some("c/src/b/inner.rs"));
        assert_eq!(home("a", "b::Deep::new").as_deref(), Some("c/src/b/inner.rs"));
        assert_eq!(home("b::inner", "super::f").as_deref(), Some("c/src/b/mod.rs"));
        assert_eq!(home("b::inner", "super::super::a::A").as_deref(), Some("c/src/a.rs"));
        assert_eq!(home("a", "D::new").as_deref(), Some("c/src/b/inner.rs"));
    }

    #[test]
    fn other_crates_and_modules_themselves_are_nobodys_home() {
        assert_eq!(home("a", "std::fmt::Debug"), None);
        assert_eq!(home("a", "crate::b"), None);
    }
}
