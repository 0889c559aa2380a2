//! Requests that were sent and have no final answer: the driver may have made a volume for each.
//!
//! Only a final answer to the request itself settles it. A class that is created again makes another request, whose refusal does
//! not settle the old one. A volume that is handed out settles all requests of its name. A claim's requests have one name, unless
//! csi-provisioner was started with other flags in between.

use std::sync::Arc;
use std::time::Duration;

use kubernetes::object::{Claim, Class, Uid};
use tokio::time::Instant;

use super::request::Prepared;

/// A failure that lasts is told again after this time.
const TOLD_AGAIN: Duration = Duration::from_secs(24 * 3600);

/// A CreateVolume request that was sent.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    /// The claim as it was then.
    pub(crate) claim: Arc<Claim>,
    /// The class as it was then.
    pub(crate) class: Arc<Class>,
    /// The request, without the content of its Secret: that is read again each time.
    pub(crate) prepared: Arc<Prepared>,
    /// Whether an earlier process has written it down: this one has not looked at the claim's source.
    pub(crate) is_adopted: bool,
}

/// What may be under way for one claim.
#[derive(Debug, Clone, Default)]
pub(crate) struct Background {
    /// One for each class that the claim had, the next to be sent again first.
    sent: Vec<Sent>,
    /// uid of the class that the last attempt was made with.
    last: Uid,
    /// The last failure of each class's request, if its claim was gone then.
    told: Vec<LastTold>,
    /// uids of the classes whose requests cannot be sent at present, and perhaps never again.
    given_up: Vec<Uid>,
}

/// A failure for a claim that is gone, as it was told.
#[derive(Debug, Clone)]
struct LastTold {
    class: Uid,
    text: String,
    /// When it came up first.
    since: Instant,
    /// When it was told last.
    at: Instant,
}

/// A failure for a claim that is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Told {
    /// Whether it was not told within a day.
    pub(crate) is_news: bool,
    /// When it came up first.
    pub(crate) since: Instant,
}

impl Background {
    /// Whether nothing is under way.
    pub(crate) fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    /// Whether one of the requests, which may be sent again, is for such a claim.
    pub(crate) fn holds(&self, is_such: impl Fn(&Claim) -> bool) -> bool {
        let is_given_up = |sent: &Sent| self.given_up.contains(&sent.class.meta.uid);
        self.sent.iter().any(|sent| !is_given_up(sent) && is_such(&sent.claim))
    }

    /// The request of the last attempt cannot be sent until the next attempt with its class begins.
    pub(crate) fn give_up(&mut self) {
        self.given_up.push(self.last.clone());
    }

    /// The request of the last attempt could not be sent: it is tried again after the others.
    pub(crate) fn postpone(&mut self) {
        let last = |sent: &Sent| sent.class.meta.uid == self.last;
        self.sent.sort_by_key(last);
    }

    /// The name that the next request gives its volume.
    pub(crate) fn name(&self) -> Option<&str> {
        self.sent.first().map(|sent| &*sent.prepared.name)
    }

    /// There is a volume of this name.
    pub(crate) fn settle_named(&mut self, name: &str) {
        self.sent.retain(|sent| sent.prepared.name != name);
    }

    /// uids of the classes whose requests are under way.
    pub(crate) fn classes(&self) -> Vec<Uid> {
        self.sent.iter().map(|sent| sent.class.meta.uid.clone()).collect()
    }

    /// Whether this failure of the last attempt is another than that of the attempt before with the same class, and since when
    /// it comes up.
    pub(crate) fn tell(&mut self, text: &str, now: Instant) -> Told {
        let (class, old) = (self.last.clone(), self.told.iter().position(|told| told.class == self.last));
        let old = old.map(|index| self.told.swap_remove(index)).filter(|told| told.text == text);
        let since = old.as_ref().map_or(now, |told| told.since);
        let at = old.map(|told| told.at).filter(|at| now.saturating_duration_since(*at) < TOLD_AGAIN);
        self.told.push(LastTold { class, text: text.to_owned(), since, at: at.unwrap_or(now) });
        Told { is_news: at.is_none(), since }
    }

    /// An attempt with this class begins.
    pub(crate) fn begin(&mut self, class: &Uid) {
        self.last = class.clone();
        self.given_up.retain(|given_up| given_up != class);
    }

    /// The request has no final answer: it is sent again after the others.
    pub(crate) fn keep(&mut self, sent: Sent) {
        self.settle(&sent.class.meta.uid.clone());
        self.sent.push(sent);
    }

    /// The request with this class has a final answer.
    pub(crate) fn settle(&mut self, class: &Uid) {
        self.sent.retain(|sent| sent.class.meta.uid != *class);
    }

    /// The request to send again; `None` when it is the turn of the claim's present class, which is another.
    ///
    /// The request of a class that was created again goes first, because it may mend the error. Then the requests take turns.
    /// `Differs:` upstream forgets what it has sent with the old class, and with it the volume that was made.
    pub(crate) fn next(&self, present: Option<&Class>) -> Option<&Sent> {
        let is_new = |class: &Class| {
            let uid = &class.meta.uid;
            *uid != self.last && self.sent.iter().all(|sent| sent.class.meta.uid != *uid)
        };
        self.sent.first().filter(|_| !present.is_some_and(is_new))
    }
}

#[cfg(test)]
mod tests {
    use super::super::request::{Found, prepare};
    use super::*;
    use crate::fixture::{claim, class, config};
    use crate::topology::Known;

    fn class_of(uid: &str) -> Class {
        let mut class = class();
        class.meta.uid = uid.into();
        class
    }

    fn sent(uid: &str) -> Sent {
        let (claim, class) = (claim(), class_of(uid));
        let prepared =
            prepare(&config(), &claim, &class, "pvc".into(), &Known::default(), &Found::default()).unwrap();
        Sent { claim: claim.into(), class: class.into(), prepared: prepared.into(), is_adopted: false }
    }

    fn next(background: &Background, present: Option<&str>) -> Option<String> {
        let present = present.map(class_of);
        background.next(present.as_ref()).map(|sent| sent.class.meta.uid.to_string())
    }

    #[test]
    fn new_class_and_what_was_sent_take_turns() {
        let mut background = Background::default();
        background.begin(&"old".into());
        background.keep(sent("old"));
        assert_eq!(next(&background, Some("old")).as_deref(), Some("old"));
        assert_eq!(next(&background, None).as_deref(), Some("old"), "the claim or its class is gone");
        assert_eq!(next(&background, Some("new")), None);
        background.begin(&"new".into());
        assert_eq!(next(&background, Some("new")).as_deref(), Some("old"), "the new one was refused");
        background.begin(&"old".into());
        background.keep(sent("old"));
        assert_eq!(next(&background, Some("new")), None);
    }

    #[test]
    fn request_that_could_not_be_sent_lets_the_others_go_first() {
        let mut background = Background::default();
        background.keep(sent("old"));
        background.keep(sent("new"));
        background.begin(&"old".into());
        background.give_up();
        background.postpone();
        assert_eq!(next(&background, Some("new")).as_deref(), Some("new"));
        assert!(background.holds(|_| true), "the other request may be sent");
        background.begin(&"new".into());
        background.give_up();
        background.postpone();
        assert_eq!(next(&background, Some("new")).as_deref(), Some("old"), "in turn");
        assert!(!background.holds(|_| true));
        background.begin(&"old".into());
        assert!(background.holds(|_| true), "its Secret may be there");
    }

    #[test]
    fn failures_of_two_requests_are_told_once_a_day_each() {
        let (mut background, begun) = (Background::default(), Instant::now());
        let mut tell = |class: &str, hour: u64| {
            background.begin(&class.into());
            let now = begun + Duration::from_secs(hour * 3600);
            let told = background.tell(&format!("{class} fails"), now);
            assert_eq!(told.since, begun, "{class}");
            told.is_news
        };
        assert_eq!(
            [tell("old", 0), tell("new", 0), tell("old", 1), tell("new", 1)],
            [true, true, false, false]
        );
        assert_eq!([tell("old", 24), tell("old", 25)], [true, false]);
    }

    #[test]
    fn refusal_settles_its_own_request_only() {
        let mut background = Background::default();
        background.keep(sent("old"));
        background.keep(sent("new"));
        assert_eq!(next(&background, Some("new")).as_deref(), Some("old"));
        background.keep(sent("old"));
        assert_eq!(next(&background, Some("new")).as_deref(), Some("new"), "in turn");
        background.settle(&"new".into());
        background.settle(&"unknown".into());
        assert!(!background.is_empty());
        background.settle(&"old".into());
        assert!(background.is_empty());
    }
}
