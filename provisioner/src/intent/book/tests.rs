//! What is put in, taken out, read and written.

use serde_json::json;

use super::*;

/// A list of so many bytes that this digit fills.
fn list(digit: &str, bytes: usize) -> Listed {
    Listed { name: digit.repeat(32).into(), text: digit.repeat(bytes).into() }
}

fn uid(number: u32) -> Uid {
    Uid::from(format!("8d2a5c1e-3f4b-4f6a-9c1d-{number:012}").as_str())
}

fn class() -> Uid {
    Uid::from("class")
}

fn has_leftovers(book: &Book) -> bool {
    book.pages.iter().any(|page| !page.leftovers.is_empty())
}

/// What is due: with new intents only, or with `all` what is to be cleaned too.
fn due(book: &Book, all: bool) -> Vec<Write> {
    let pages = book.due().filter(|page| all || book.pages[*page].is_new());
    pages.map(|page| book.write(page)).collect()
}

/// Writes everything that is due; how many Leases that are.
fn store(book: &mut Book, all: bool) -> usize {
    let writes = due(book, all);
    writes.iter().for_each(|write| book.written(write));
    writes.len()
}

#[test]
fn claims_that_wait_share_one_write_and_a_repetition_needs_none() {
    let mut book = Book::default();
    for number in 0..100 {
        assert_eq!(book.put(&uid(number), &class(), "text", None), Put::Wanted(0));
    }
    assert_eq!((store(&mut book, false), store(&mut book, false)), (1, 0));
    assert_eq!(book.put(&uid(7), &class(), "text", None), Put::Stored);
    assert_eq!(book.put(&uid(7), &class(), "another", None), Put::Wanted(0), "another request");
    assert_eq!(due(&book, false).first().map(|write| write.annotations.len()), Some(100));
}

#[test]
fn settled_intent_goes_with_the_next_write_or_at_leisure() {
    let mut book = Book::default();
    book.put(&uid(1), &class(), "text", None);
    book.put(&uid(1), &Uid::from("new"), "text", None);
    store(&mut book, false);
    book.retain(&uid(1), &[class()]);
    assert_eq!((has_leftovers(&book), due(&book, false).len()), (true, 0), "no write of its own at once");
    book.put(&uid(2), &class(), "text", None);
    let writes = due(&book, false);
    let names: Vec<&String> = writes.iter().flat_map(|write| write.annotations.keys()).collect();
    assert_eq!(names, [&key(&uid(1), &class()), &key(&uid(2), &class())]);
    store(&mut book, false);
    assert!(!has_leftovers(&book));
    book.retain(&uid(1), &[]);
    book.retain(&uid(2), &[]);
    assert_eq!((store(&mut book, true), store(&mut book, true)), (1, 0));
}

#[test]
fn change_during_a_write_is_written_after_it() {
    let mut book = Book::default();
    book.put(&uid(1), &class(), "one", None);
    book.put(&uid(2), &class(), "two", None);
    let writes = due(&book, false);
    book.retain(&uid(1), &[]);
    book.put(&uid(3), &class(), "three", None);
    writes.iter().for_each(|write| book.written(write));
    assert!(has_leftovers(&book), "the first is in the Lease although it is settled");
    assert_eq!(book.put(&uid(2), &class(), "two", None), Put::Stored);
    assert_eq!(book.put(&uid(3), &class(), "three", None), Put::Wanted(0));
}

#[test]
fn intents_that_do_not_fit_get_another_lease() {
    let (mut book, text) = (Book::default(), "x".repeat(ENOUGH / 2));
    assert_eq!(book.put(&uid(0), &class(), &"x".repeat(MOST), None), Put::TooLarge);
    for (number, page) in [(0, 0), (1, 1), (2, 2)] {
        assert_eq!(book.put(&uid(number), &class(), &text, None), Put::Wanted(page));
    }
    assert_eq!(store(&mut book, false), 3, "names count too");
    book.retain(&uid(1), &[]);
    book.put(&uid(4), &class(), &text, None);
    assert_eq!(
        due(&book, false).iter().map(|write| write.page).collect::<Vec<_>>(),
        [1],
        "room is used again"
    );
}

#[test]
fn settled_intent_that_is_read_again_is_no_news() {
    let mut book = Book::default();
    book.put(&uid(1), &class(), "text", None);
    store(&mut book, false);
    book.retain(&uid(1), &[]);
    let found = BTreeMap::from([(key(&uid(1), &class()), "text".to_owned())]);
    assert_eq!(book.adopt(0, found.clone()), [], "somebody else has written to the Lease");
    assert_eq!((store(&mut book, true), has_leftovers(&book)), (1, false));
    assert_eq!(book.adopt(0, found).len(), 1, "it was taken out: this is another process's");
}

/// Neither write has had an answer: any of the texts may be in the Lease.
#[test]
fn settled_texts_of_one_name_are_no_news() {
    let mut book = Book::default();
    for text in ["first", "second"] {
        book.put(&uid(1), &class(), text, None);
        book.retain(&uid(1), &[]);
    }
    for text in ["first", "second"] {
        let found = BTreeMap::from([(key(&uid(1), &class()), text.to_owned())]);
        assert_eq!(book.adopt(0, found), [], "{text}");
    }
    assert_eq!((store(&mut book, true), has_leftovers(&book)), (1, false));
}

#[test]
fn adopted_intents_are_stored_and_told_once() {
    let mut book = Book::default();
    book.put(&uid(1), &class(), "mine", None);
    let found = |number| BTreeMap::from([(key(&uid(number), &class()), "theirs".to_owned())]);
    assert_eq!(book.adopt(1, found(1)), [], "what we know is as we know it");
    assert_eq!(book.adopt(1, found(2)).len(), 1);
    assert_eq!(book.put(&uid(2), &class(), "theirs", None), Put::Stored);
    book.retain(&uid(2), &[]);
    assert!(has_leftovers(&book));
}

fn names(write: &Write) -> Vec<&str> {
    write.annotations.keys().map(String::as_str).collect()
}

#[test]
fn list_is_stored_once_and_goes_with_its_last_intent() {
    let (mut book, listed) = (Book::default(), list("a", 10_000));
    for number in 0..3 {
        assert_eq!(book.put(&uid(number), &class(), "text", Some(&listed)), Put::Wanted(0));
    }
    let is_there = |book: &Book| {
        let annotations = book.pages.iter().map(Page::annotations);
        annotations.filter(|all| all.contains_key(&terms_key(&listed.name))).count()
    };
    assert_eq!((is_there(&book), due(&book, false)[0].annotations.len()), (1, 4));
    store(&mut book, false);
    assert_eq!(book.put(&uid(1), &class(), "text", Some(&listed)), Put::Stored);
    assert_eq!(book.put(&uid(1), &class(), "needs none", None), Put::Wanted(0));
    book.retain(&uid(0), &[]);
    assert_eq!(is_there(&book), 1, "one intent needs it");
    book.retain(&uid(2), &[]);
    assert_eq!(is_there(&book), 0);
    store(&mut book, true);
    assert!(!has_leftovers(&book));
}

#[test]
fn page_takes_lists_up_to_its_size() {
    let mut book = Book::default();
    let page =
        |book: &mut Book, number, digit| book.put(&uid(number), &class(), "t", Some(&list(digit, 15_000)));
    assert_eq!(page(&mut book, 0, "a"), Put::Wanted(0));
    assert_eq!(page(&mut book, 1, "b"), Put::Wanted(0));
    assert_eq!(page(&mut book, 2, "c"), Put::Wanted(1), "two lists fill a page");
    assert_eq!(page(&mut book, 3, "b"), Put::Wanted(0), "where its list is");
    assert_eq!(page(&mut book, 4, "c"), Put::Wanted(1), "where its list is");
    assert_eq!(book.put(&uid(5), &class(), "t", Some(&list("d", MOST - 1000))), Put::Wanted(2), "alone");
    assert_eq!(book.put(&uid(6), &class(), "t", Some(&list("e", MOST))), Put::TooLarge);
    for write in due(&book, false) {
        let bytes: usize = write.annotations.iter().map(|(name, text)| name.len() + text.len()).sum();
        assert_eq!(bytes, book.pages[write.page].all_bytes());
    }
}

#[test]
fn lists_of_one_name_are_kept_apart() {
    let (mut book, one) = (Book::default(), list("a", 100));
    let other = Listed { text: "other".into(), ..one.clone() };
    book.put(&uid(0), &class(), "text", Some(&one));
    assert_eq!(book.put(&uid(1), &class(), "text", Some(&other)), Put::Wanted(1));
    assert_eq!(book.put(&uid(0), &class(), "news", Some(&other)), Put::Wanted(0), "the first has gone");
}

#[test]
fn list_is_read_with_its_intents_and_cleaned_without() {
    let text = |listed: &Listed| json!({"placed": {"terms": &*listed.name}}).to_string();
    let lists = ["a", "b", "c"].map(|digit| list(digit, 100));
    let annotations = |numbers: &[u32], lists: &[&Listed], needed: &Listed| {
        let intents = numbers.iter().map(|number| (key(&uid(*number), &class()), text(needed)));
        let lists = lists.iter().map(|listed| (terms_key(&listed.name), listed.text.to_string()));
        intents.chain(lists).collect::<BTreeMap<_, _>>()
    };
    let mut book = Book::default();
    let [a, b, c] = &lists;
    let adopted = book.adopt(0, annotations(&[1, 2], &[a, b], a));
    assert!(adopted.iter().all(|one| one.terms.as_ref() == Some(a)) && adopted.len() == 2, "{adopted:?}");
    let write = due(&book, true).remove(0);
    assert_eq!(
        (names(&write).len(), names(&write).contains(&&*terms_key(&b.name))),
        (3, false),
        "nobody needs b"
    );
    assert_eq!(store(&mut book, true), 1);
    let elsewhere = book.adopt(1, annotations(&[3], &[], a));
    assert_eq!(elsewhere[0].terms.as_ref(), Some(a), "it is in another Lease");
    let missing = book.adopt(2, annotations(&[4], &[], c));
    assert_eq!((missing.len(), &missing[0].terms), (1, &None), "it stays all the same");
    assert!(!has_leftovers(&book));
}

/// The claim was refused and is asked for with other terms. Both texts have one name.
#[test]
fn new_text_of_a_settled_name_replaces_it_in_its_lease() {
    let (mut book, text) = (Book::default(), "x".repeat(ENOUGH - 1000));
    book.put(&uid(0), &class(), &text, None);
    book.put(&uid(1), &class(), "first", None);
    assert_eq!(book.put(&uid(2), &class(), &text, None), Put::Wanted(1));
    store(&mut book, false);
    book.retain(&uid(2), &[]);
    assert_eq!(book.put(&uid(2), &class(), "second", None), Put::Wanted(1), "not where there is room first");
    assert_eq!((store(&mut book, true), has_leftovers(&book)), (1, false));
}
