//! Which intents there are, in which Lease each is, and what has to be written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kubernetes::object::Uid;

use super::entry::{key, key_prefix, named_terms};
use super::terms::{Listed, bytes_of, terms_key, terms_name};

/// Most bytes of intents in one Lease, unless one intent needs more: each write sends all of them. And most bytes of lists of
/// topology terms, unless one list needs more.
const ENOUGH: usize = 32_000;
/// Most bytes of one Lease. The API server takes 262,144 bytes of annotations.
pub(super) const MOST: usize = 200_000;

/// One intent.
#[derive(Debug)]
struct Intent {
    text: Arc<str>,
    stored: bool,
    /// The name of the list of topology terms that it needs.
    terms: Option<Arc<str>>,
}

/// A list of topology terms.
#[derive(Debug)]
struct Terms {
    text: Arc<str>,
    /// How many intents of the page need it.
    users: usize,
}

/// The intents of one Lease.
#[derive(Debug, Default)]
struct Page {
    /// By the name of the annotation.
    entries: BTreeMap<String, Intent>,
    /// Of names and texts of intents together.
    bytes: usize,
    /// The lists that the intents need, by name.
    terms: BTreeMap<Arc<str>, Terms>,
    /// Annotations that were taken out and may still be in the Lease: all texts that one may have there. If they are read there,
    /// they are not news.
    leftovers: BTreeMap<String, BTreeSet<Arc<str>>>,
    /// Whether its Lease holds what we do not believe: it is left alone.
    is_closed: bool,
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

/// An intent that was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Adopted {
    /// The name of its annotation.
    pub(crate) name: String,
    /// Its text.
    pub(crate) text: Arc<str>,
    /// The list of topology terms that it needs, if that is there.
    pub(crate) terms: Option<Listed>,
}

/// All intents of a driver.
#[derive(Debug, Default)]
pub(crate) struct Book {
    pages: Vec<Page>,
}

impl Book {
    /// Puts in the intent of a request, and the list of topology terms that it needs.
    pub(crate) fn put(&mut self, claim: &Uid, class: &Uid, text: &str, terms: Option<&Listed>) -> Put {
        let key = key(claim, class);
        let bytes = key.len() + text.len();
        if bytes + terms.map_or(0, Listed::bytes) > MOST {
            return Put::TooLarge;
        }
        let unchanged = |(number, page): (usize, &Page)| {
            let known = page.entries.get(&key).filter(|known| *known.text == *text)?;
            Some(if known.stored { Put::Stored } else { Put::Wanted(number) })
        };
        if let Some(put) = self.pages.iter().enumerate().find_map(unchanged) {
            return put;
        }
        self.pages.iter_mut().for_each(|page| page.remove(&key));
        let fits = |page: &Page| {
            let bytes = page.all_bytes() + bytes + page.more_bytes(terms);
            !page.is_closed && bytes <= MOST && page.takes(terms)
        };
        let has_room = |page: &Page| {
            let more = page.more_bytes(terms);
            let enough = page.bytes + bytes <= ENOUGH || page.entries.is_empty();
            let enough_terms = more == 0 || page.terms_bytes() + more <= ENOUGH || page.terms.is_empty();
            enough && enough_terms && fits(page)
        };
        // One write replaces one text by the other. With one in each of two Leases, the next process would not know which is
        // the later one.
        let is_home = |page: &Page| page.leftovers.contains_key(&key) && fits(page);
        let has_terms = |page: &Page| terms.is_some_and(|listed| page.terms.contains_key(&listed.name));
        let position = |suits: &dyn Fn(&Page) -> bool| self.pages.iter().position(suits);
        let number = position(&is_home)
            .or_else(|| position(&|page| has_terms(page) && has_room(page)))
            .or_else(|| position(&has_room))
            .unwrap_or(self.pages.len());
        if number == self.pages.len() {
            self.pages.push(Page::default());
        }
        if let Some(page) = self.pages.get_mut(number) {
            page.insert(key, text.into(), false, terms);
        }
        Put::Wanted(number)
    }

    /// Takes out the claim's intents whose class is not among `open`. False if there are none.
    pub(crate) fn retain(&mut self, claim: &Uid, open: &[Uid]) -> bool {
        let mut is_changed = false;
        let (prefix, open) =
            (key_prefix(claim), open.iter().map(|class| key(claim, class)).collect::<Vec<_>>());
        for page in &mut self.pages {
            let of_claim = page.entries.range(prefix.clone()..).map(|(name, _)| name);
            let settled: Vec<String> = of_claim
                .take_while(|name| name.starts_with(&prefix))
                .filter(|name| !open.contains(name))
                .cloned()
                .collect();
            is_changed |= !settled.is_empty();
            for name in settled {
                page.remove(&name);
            }
        }
        is_changed
    }

    /// Adds what a Lease holds. Returns the intents that were not in the book.
    pub(crate) fn adopt(&mut self, page: usize, annotations: BTreeMap<String, String>) -> Vec<Adopted> {
        while self.pages.len() <= page {
            self.pages.push(Page::default());
        }
        let (lists, intents): (Vec<_>, Vec<_>) =
            annotations.into_iter().partition(|(name, _)| terms_name(name).is_some());
        let lists: BTreeMap<String, Arc<str>> = lists
            .into_iter()
            .filter_map(|(key, text)| Some((terms_name(&key)?.to_owned(), self.same(text))))
            .collect();
        let mut adopted = Vec::new();
        for (name, text) in intents {
            let known = self.pages.iter().any(|page| page.entries.contains_key(&name));
            let settled = self
                .pages
                .iter()
                .any(|page| page.leftovers.get(&name).is_some_and(|gone| gone.contains(&*text)));
            let terms = named_terms(&text).and_then(|name| {
                let text = lists.get(&name).cloned().or_else(|| self.text_of(&name))?;
                Some(Listed { name: name.into(), text })
            });
            let Some(page) = self.pages.get_mut(page) else { continue };
            let text: Arc<str> = text.into();
            if known || settled {
                // The next write takes it out of the Lease, or replaces it.
                page.leftovers.entry(name).or_default().insert(text);
                continue;
            }
            let terms = terms.filter(|listed| page.takes(Some(listed)));
            page.insert(name.clone(), text.clone(), true, terms.as_ref());
            adopted.push(Adopted { name, text, terms });
        }
        let Some(page) = self.pages.get_mut(page) else { return adopted };
        for (name, text) in lists {
            if !page.terms.contains_key(&*name) {
                page.leftovers.entry(terms_key(&name)).or_default().insert(text);
            }
        }
        adopted
    }

    /// The Lease of this page holds intents that are not believed. It is left as it is, unless the page has intents of ours: then
    /// the next write takes the others out.
    pub(crate) fn refuse(&mut self, page: usize, annotations: BTreeMap<String, String>) {
        while self.pages.len() <= page {
            self.pages.push(Page::default());
        }
        let Some(page) = self.pages.get_mut(page) else { return };
        if page.entries.is_empty() {
            page.is_closed = true;
            page.leftovers.clear();
            return;
        }
        for (name, text) in annotations {
            page.leftovers.entry(name).or_default().insert(text.into());
        }
    }

    /// The page with this request, and the name of its annotation.
    pub(crate) fn find(&self, claim: &Uid, class: &Uid) -> Option<(usize, String)> {
        let key = key(claim, class);
        Some((self.pages.iter().position(|page| page.entries.contains_key(&key))?, key))
    }

    /// The text of the list of this name, on whichever page it is.
    fn text_of(&self, name: &str) -> Option<Arc<str>> {
        self.pages.iter().find_map(|page| page.terms.get(name)).map(|terms| terms.text.clone())
    }

    /// The same text, kept once.
    fn same(&self, text: String) -> Arc<str> {
        let mut known = self.pages.iter().flat_map(|page| page.terms.values());
        known.find(|terms| *terms.text == *text).map_or_else(|| text.into(), |terms| terms.text.clone())
    }

    /// The pages to write: those with intents that are not stored, and those with leftovers.
    pub(crate) fn due(&self) -> impl Iterator<Item = usize> {
        let pages = self.pages.iter().enumerate();
        pages.filter(|(_, page)| page.is_new() || !page.leftovers.is_empty()).map(|(number, _)| number)
    }

    /// What to write to this page.
    pub(crate) fn write(&self, page: usize) -> Write {
        Write { page, annotations: self.pages.get(page).map(Page::annotations).unwrap_or_default() }
    }

    /// The first of the pages at the end that hold no intents.
    pub(crate) fn tail(&self) -> usize {
        let is_used = |page: &Page| !page.entries.is_empty() || page.is_closed;
        self.pages.iter().rposition(is_used).map_or(0, |last| last.saturating_add(1))
    }

    /// There is no such Lease any more.
    pub(crate) fn deleted(&mut self, page: usize) {
        if let Some(page) = self.pages.get_mut(page) {
            page.leftovers.clear();
        }
    }

    /// The page is stored as `write` says. What changed meanwhile is still to be written.
    pub(crate) fn written(&mut self, write: &Write) {
        let Some(page) = self.pages.get_mut(write.page) else { return };
        for (name, intent) in &mut page.entries {
            intent.stored |= write.annotations.get(name) == Some(&intent.text);
        }
        let is_used = |name: &String| {
            page.entries.contains_key(name)
                || terms_name(name).is_some_and(|name| page.terms.contains_key(name))
        };
        page.leftovers.retain(|name, _| write.annotations.contains_key(name) && !is_used(name));
    }
}

impl Page {
    /// Whether the list's name is free here, or its own.
    fn takes(&self, terms: Option<&Listed>) -> bool {
        let known = terms.and_then(|listed| Some((self.terms.get(&listed.name)?, listed)));
        known.is_none_or(|(known, listed)| known.text == listed.text)
    }

    /// What the list adds to the page.
    fn more_bytes(&self, terms: Option<&Listed>) -> usize {
        terms.filter(|listed| !self.terms.contains_key(&listed.name)).map_or(0, Listed::bytes)
    }

    fn terms_bytes(&self) -> usize {
        self.terms.iter().map(|(name, terms)| bytes_of(name, &terms.text)).sum()
    }

    fn all_bytes(&self) -> usize {
        self.bytes + self.terms_bytes()
    }

    /// Whether it has intents that are not stored.
    fn is_new(&self) -> bool {
        self.entries.values().any(|intent| !intent.stored)
    }

    fn annotations(&self) -> BTreeMap<String, Arc<str>> {
        let texts = self.entries.iter().map(|(name, intent)| (name.clone(), intent.text.clone()));
        let lists = self.terms.iter().map(|(name, terms)| (terms_key(name), terms.text.clone()));
        texts.chain(lists).collect()
    }

    fn insert(&mut self, name: String, text: Arc<str>, stored: bool, terms: Option<&Listed>) {
        self.bytes += name.len() + text.len();
        if let Some(listed) = terms {
            let new = || Terms { text: listed.text.clone(), users: 0 };
            self.terms.entry(listed.name.clone()).or_insert_with(new).users += 1;
        }
        let terms = terms.map(|listed| listed.name.clone());
        self.entries.insert(name, Intent { text, stored, terms });
    }

    /// Even an intent that was not stored yet may be in the Lease: its write may have had no answer.
    fn remove(&mut self, name: &str) {
        let Some(intent) = self.entries.remove(name) else { return };
        self.bytes = self.bytes.saturating_sub(name.len() + intent.text.len());
        self.leftovers.entry(name.to_owned()).or_default().insert(intent.text);
        let Some(terms) = intent.terms else { return };
        if let Some(known) = self.terms.get_mut(&terms) {
            known.users = known.users.saturating_sub(1);
            if known.users == 0 {
                self.terms.remove(&terms);
            }
        }
    }
}

#[cfg(test)]
mod tests;
