//! Which intents there are, in which Lease each is, and what has to be written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kubernetes::object::Uid;

use super::entry::{key, key_prefix};

/// Most bytes of annotations in one Lease, unless one intent needs more: each write sends all of them.
const ENOUGH: usize = 32_000;
/// Most bytes of one intent. The API server takes 262,144 bytes of annotations.
const MOST: usize = 200_000;

/// The intents of one Lease.
#[derive(Debug, Default)]
struct Page {
    /// By the name of the annotation: its text, and whether it is stored.
    entries: BTreeMap<String, (Arc<str>, bool)>,
    /// Of names and texts together.
    bytes: usize,
    /// Intents that were taken out and may still be in the Lease: all texts that one may have there. If they are read there,
    /// they are not news.
    leftovers: BTreeMap<String, BTreeSet<Arc<str>>>,
}

/// What to write to one Lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Write {
    /// The number of the Lease.
    pub(crate) page: usize,
    /// All its annotations.
    pub(crate) annotations: BTreeMap<String, Arc<str>>,
}

/// What became of an intent that was put into the book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Put {
    /// It is stored already.
    Stored,
    /// It is stored once this page is written.
    Wanted(usize),
    /// It is too large for any page.
    TooLarge,
}

/// All intents of a driver.
#[derive(Debug, Default)]
pub(crate) struct Book {
    pages: Vec<Page>,
}

impl Book {
    /// Puts in the intent of a request.
    pub(crate) fn put(&mut self, claim: &Uid, class: &Uid, text: &str) -> Put {
        let key = key(claim, class);
        let bytes = key.len() + text.len();
        if bytes > MOST {
            return Put::TooLarge;
        }
        let mut pages = self.pages.iter_mut().enumerate();
        if let Some((number, page)) = pages.find(|(_, page)| page.entries.contains_key(&key)) {
            match page.entries.get(&key) {
                Some((known, true)) if **known == *text => return Put::Stored,
                Some((known, false)) if **known == *text => {}
                // One write replaces one text by the other.
                Some(_) | None => page.insert(key, text),
            }
            return Put::Wanted(number);
        }
        let has_room = |page: &Page| page.bytes + bytes <= ENOUGH || page.entries.is_empty();
        let number = self.pages.iter().position(has_room).unwrap_or(self.pages.len());
        if number == self.pages.len() {
            self.pages.push(Page::default());
        }
        if let Some(page) = self.pages.get_mut(number) {
            page.insert(key, text);
        }
        Put::Wanted(number)
    }

    /// Takes out the claim's intents whose class is not among `open`.
    pub(crate) fn retain(&mut self, claim: &Uid, open: &[Uid]) {
        let (prefix, open) =
            (key_prefix(claim), open.iter().map(|class| key(claim, class)).collect::<Vec<_>>());
        for page in &mut self.pages {
            let of_claim = page.entries.range(prefix.clone()..).map(|(name, _)| name);
            let settled: Vec<String> = of_claim
                .take_while(|name| name.starts_with(&prefix))
                .filter(|name| !open.contains(name))
                .cloned()
                .collect();
            for name in settled {
                page.remove(&name);
            }
        }
    }

    /// Adds what a Lease holds. Returns the texts that were not in the book.
    pub(crate) fn adopt(
        &mut self,
        page: usize,
        annotations: BTreeMap<String, String>,
    ) -> Vec<(String, Arc<str>)> {
        while self.pages.len() <= page {
            self.pages.push(Page::default());
        }
        let mut adopted = Vec::new();
        for (name, text) in annotations {
            let known = self.pages.iter().any(|page| page.entries.contains_key(&name));
            let settled = self
                .pages
                .iter()
                .any(|page| page.leftovers.get(&name).is_some_and(|gone| gone.contains(&*text)));
            let Some(page) = self.pages.get_mut(page) else { continue };
            let text: Arc<str> = text.into();
            if known || settled {
                // The next write takes it out of the Lease, or replaces it.
                page.leftovers.entry(name).or_default().insert(text);
                continue;
            }
            page.bytes += name.len() + text.len();
            page.entries.insert(name.clone(), (text.clone(), true));
            adopted.push((name, text));
        }
        adopted
    }

    /// Whether a page has to be written, if only to clean it.
    pub(crate) fn has_leftovers(&self) -> bool {
        self.pages.iter().any(|page| !page.leftovers.is_empty())
    }

    /// The pages to write: those with intents that are not stored, or with `all` those with leftovers too.
    pub(crate) fn writes(&self, all: bool) -> Vec<Write> {
        let due = |(_, page): &(usize, &Page)| {
            page.entries.values().any(|(_, stored)| !stored) || (all && !page.leftovers.is_empty())
        };
        let write = |(number, page): (usize, &Page)| {
            let texts = page.entries.iter().map(|(name, (text, _))| (name.clone(), text.clone()));
            Write { page: number, annotations: texts.collect() }
        };
        self.pages.iter().enumerate().filter(due).map(write).collect()
    }

    /// The page is stored as `write` says. What changed meanwhile is still to be written.
    pub(crate) fn written(&mut self, write: &Write) {
        let Some(page) = self.pages.get_mut(write.page) else { return };
        for (name, (text, stored)) in &mut page.entries {
            *stored |= write.annotations.get(name) == Some(text);
        }
        page.leftovers
            .retain(|name, _| write.annotations.contains_key(name) && !page.entries.contains_key(name));
    }
}

impl Page {
    fn insert(&mut self, name: String, text: &str) {
        self.remove(&name);
        self.bytes += name.len() + text.len();
        self.entries.insert(name, (text.into(), false));
    }

    /// Even an intent that was not stored yet may be in the Lease: its write may have had no answer.
    fn remove(&mut self, name: &str) {
        if let Some((text, _)) = self.entries.remove(name) {
            self.bytes = self.bytes.saturating_sub(name.len() + text.len());
            self.leftovers.entry(name.to_owned()).or_default().insert(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(number: u32) -> Uid {
        Uid::from(format!("8d2a5c1e-3f4b-4f6a-9c1d-{number:012}").as_str())
    }

    fn class() -> Uid {
        Uid::from("class")
    }

    /// Writes everything that is due; how many Leases that are.
    fn store(book: &mut Book, all: bool) -> usize {
        let writes = book.writes(all);
        writes.iter().for_each(|write| book.written(write));
        writes.len()
    }

    #[test]
    fn claims_that_wait_share_one_write_and_a_repetition_needs_none() {
        let mut book = Book::default();
        for number in 0..100 {
            assert_eq!(book.put(&uid(number), &class(), "text"), Put::Wanted(0));
        }
        assert_eq!((store(&mut book, false), store(&mut book, false)), (1, 0));
        assert_eq!(book.put(&uid(7), &class(), "text"), Put::Stored);
        assert_eq!(book.put(&uid(7), &class(), "another"), Put::Wanted(0), "another request");
        assert_eq!(book.writes(false).first().map(|write| write.annotations.len()), Some(100));
    }

    #[test]
    fn settled_intent_goes_with_the_next_write_or_at_leisure() {
        let mut book = Book::default();
        book.put(&uid(1), &class(), "text");
        book.put(&uid(1), &Uid::from("new"), "text");
        store(&mut book, false);
        book.retain(&uid(1), &[class()]);
        assert_eq!(
            (book.has_leftovers(), book.writes(false).len()),
            (true, 0),
            "no write of its own at once"
        );
        book.put(&uid(2), &class(), "text");
        let writes = book.writes(false);
        let names: Vec<&String> = writes.iter().flat_map(|write| write.annotations.keys()).collect();
        assert_eq!(names, [&key(&uid(1), &class()), &key(&uid(2), &class())]);
        store(&mut book, false);
        assert!(!book.has_leftovers());
        book.retain(&uid(1), &[]);
        book.retain(&uid(2), &[]);
        assert_eq!((store(&mut book, true), store(&mut book, true)), (1, 0));
    }

    #[test]
    fn change_during_a_write_is_written_after_it() {
        let mut book = Book::default();
        book.put(&uid(1), &class(), "one");
        book.put(&uid(2), &class(), "two");
        let writes = book.writes(false);
        book.retain(&uid(1), &[]);
        book.put(&uid(3), &class(), "three");
        writes.iter().for_each(|write| book.written(write));
        assert!(book.has_leftovers(), "the first is in the Lease although it is settled");
        assert_eq!(book.put(&uid(2), &class(), "two"), Put::Stored);
        assert_eq!(book.put(&uid(3), &class(), "three"), Put::Wanted(0));
    }

    #[test]
    fn intents_that_do_not_fit_get_another_lease() {
        let (mut book, text) = (Book::default(), "x".repeat(ENOUGH / 2));
        assert_eq!(book.put(&uid(0), &class(), &"x".repeat(MOST)), Put::TooLarge);
        for (number, page) in [(0, 0), (1, 1), (2, 2)] {
            assert_eq!(book.put(&uid(number), &class(), &text), Put::Wanted(page));
        }
        assert_eq!(store(&mut book, false), 3, "names count too");
        book.retain(&uid(1), &[]);
        book.put(&uid(4), &class(), &text);
        assert_eq!(
            book.writes(false).iter().map(|write| write.page).collect::<Vec<_>>(),
            [1],
            "room is used again"
        );
    }

    #[test]
    fn settled_intent_that_is_read_again_is_no_news() {
        let mut book = Book::default();
        book.put(&uid(1), &class(), "text");
        store(&mut book, false);
        book.retain(&uid(1), &[]);
        let found = BTreeMap::from([(key(&uid(1), &class()), "text".to_owned())]);
        assert_eq!(book.adopt(0, found.clone()), [], "somebody else has written to the Lease");
        assert_eq!((store(&mut book, true), book.has_leftovers()), (1, false));
        assert_eq!(book.adopt(0, found).len(), 1, "it was taken out: this is another process's");
    }

    /// Neither write has had an answer: any of the texts may be in the Lease.
    #[test]
    fn settled_texts_of_one_name_are_no_news() {
        let mut book = Book::default();
        for text in ["first", "second"] {
            book.put(&uid(1), &class(), text);
            book.retain(&uid(1), &[]);
        }
        for text in ["first", "second"] {
            let found = BTreeMap::from([(key(&uid(1), &class()), text.to_owned())]);
            assert_eq!(book.adopt(0, found), [], "{text}");
        }
        assert_eq!((store(&mut book, true), book.has_leftovers()), (1, false));
    }

    #[test]
    fn adopted_intents_are_stored_and_told_once() {
        let mut book = Book::default();
        book.put(&uid(1), &class(), "mine");
        let found = |number| BTreeMap::from([(key(&uid(number), &class()), "theirs".to_owned())]);
        assert_eq!(book.adopt(1, found(1)), [], "what we know is as we know it");
        assert_eq!(book.adopt(1, found(2)).len(), 1);
        assert_eq!(book.put(&uid(2), &class(), "theirs"), Put::Stored);
        book.retain(&uid(2), &[]);
        assert!(book.has_leftovers());
    }
}
