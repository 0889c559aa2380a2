//! Asks the driver for its name while the kubelet waits for `/healthz`, but not for long.
//!
//! `--timeout` may be a minute, and the kubelet's probe waits 1 s by default. So a question goes on by itself, one at a time,
//! and `/healthz` says what is known after [`WAIT`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use csi::identity::{DriverName, NameError};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::health::Answer;

/// How long `/healthz` waits for the driver.
const WAIT: Duration = Duration::from_millis(500);

/// What the driver said when it was last asked.
#[derive(Debug)]
struct Said {
    /// When the oldest question was asked that no name has followed yet.
    silent_since: Option<Instant>,
    /// Its last answer: its name, or why there is none.
    last: Result<String, String>,
}

/// The questions to one driver.
#[derive(Debug)]
pub(super) struct Asked {
    /// The name that the kubelet was told.
    expected: String,
    said: watch::Sender<Said>,
    /// The question that was asked last.
    question: Mutex<Option<JoinHandle<()>>>,
}

impl Asked {
    /// The driver has just said its name.
    pub(super) fn new(name: &str) -> Arc<Self> {
        let said = Said { silent_since: None, last: Ok(name.to_owned()) };
        let expected = name.to_owned();
        Arc::new(Self { expected, said: watch::Sender::new(said), question: Mutex::default() })
    }

    /// Asks, unless a question is open, and waits for the answer for at most [`WAIT`]. What is known then.
    pub(super) async fn answer<F>(self: &Arc<Self>, ask: impl FnOnce() -> F) -> Answer
    where
        F: Future<Output = Result<DriverName, NameError>> + Send + 'static,
    {
        let mut news = self.said.subscribe();
        if let Some(question) = self.open() {
            let (asked, ask) = (self.clone(), ask());
            *question_of(self) = Some(tokio::spawn(async move { asked.hear(question, ask.await) }));
        }
        // Whatever is known when the time is over is the answer.
        let _: Result<_, _> = timeout(WAIT, news.changed()).await;
        self.known()
    }

    /// When the next question is asked: now, or `None` while one is open.
    fn open(&self) -> Option<Instant> {
        let is_open = question_of(self).as_ref().is_some_and(|question| !question.is_finished());
        if is_open {
            return None;
        }
        let now = Instant::now();
        self.said.send_if_modified(|said| {
            said.silent_since.get_or_insert(now);
            false
        });
        Some(now)
    }

    fn hear(&self, asked: Instant, said: Result<DriverName, NameError>) {
        let said = match said {
            Ok(name) => Said { silent_since: None, last: Ok(name.to_string()) },
            Err(error) => {
                base::error!(error.to_string(), "The CSI driver does not say its name"; "after" => format!("{:?}", asked.elapsed()));
                Said { silent_since: self.said.borrow().silent_since, last: Err(error.to_string()) }
            }
        };
        self.said.send_replace(said);
    }

    fn known(&self) -> Answer {
        let said = self.said.borrow();
        let silent = said.silent_since.map(|since| since.elapsed());
        match (&said.last, silent) {
            (Ok(name), None) => Answer::Name(name.clone()),
            // Another driver is no better for being slow.
            (Ok(name), Some(_)) if *name != self.expected => Answer::Name(name.clone()),
            (Ok(_), Some(silent)) => Answer::Silent(silent, "it has not answered yet".to_owned()),
            (Err(why), silent) => Answer::Silent(silent.unwrap_or_default(), why.clone()),
        }
    }
}

fn question_of(asked: &Asked) -> MutexGuard<'_, Option<JoinHandle<()>>> {
    asked.question.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::sleep;

    const MINUTE: Duration = Duration::from_secs(60);

    fn name() -> Result<DriverName, NameError> {
        Ok(DriverName::new("driver.example").unwrap())
    }

    /// A driver that answers after `pause`.
    async fn after(pause: Duration, said: Result<DriverName, NameError>) -> Result<DriverName, NameError> {
        sleep(pause).await;
        said
    }

    #[tokio::test(start_paused = true)]
    async fn quick_answer_is_the_answer() {
        let asked = Asked::new("before");
        let begun = Instant::now();
        let answer = asked.answer(|| after(Duration::from_millis(400), name())).await;
        assert_eq!(answer, Answer::Name("driver.example".to_owned()));
        assert_eq!(begun.elapsed(), Duration::from_millis(400));
    }

    #[tokio::test(start_paused = true)]
    async fn slow_driver_holds_up_nobody_and_is_asked_once_at_a_time() {
        let asked = Asked::new("driver.example");
        let mut questions = 0;
        for count in 1..=20u32 {
            let begun = Instant::now();
            let answer = asked.answer(|| {
                questions += 1;
                after(MINUTE, name())
            });
            let Answer::Silent(silent, _) = answer.await else { panic!("answered") };
            assert_eq!((begun.elapsed(), silent), (WAIT, WAIT * count));
        }
        assert_eq!(questions, 1);
        sleep(MINUTE).await;
        let answer = asked.answer(|| after(Duration::ZERO, name())).await;
        assert_eq!(answer, Answer::Name("driver.example".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn another_driver_that_is_slow_is_known_by_its_last_answer() {
        let asked = Asked::new("before");
        for _ in 0..3 {
            let _: Answer = asked.answer(|| after(Duration::from_secs(1), name())).await;
            sleep(Duration::from_secs(10)).await;
        }
        let answer = asked.answer(|| after(Duration::from_secs(1), name())).await;
        assert_eq!(answer, Answer::Name("driver.example".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_counted_from_its_first_question() {
        let asked = Asked::new("driver.example");
        let pause = Duration::from_secs(40);
        for waited in [Duration::ZERO, pause, 2 * pause] {
            let answer = asked.answer(|| after(Duration::ZERO, Err(NameError::Empty))).await;
            assert!(matches!(answer, Answer::Silent(found, _) if found == waited), "{answer:?}");
            sleep(pause).await;
        }
        let answer = asked.answer(|| after(Duration::ZERO, name())).await;
        assert_eq!(answer, Answer::Name("driver.example".to_owned()));
        sleep(pause).await;
        let answer = asked.answer(|| after(Duration::ZERO, Err(NameError::Empty))).await;
        assert!(matches!(answer, Answer::Silent(Duration::ZERO, _)), "a new silence: {answer:?}");
    }
}
