//! How many requests may be in flight, and which go first.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// Requests in flight when the server has never complained.
const MOST_IN_FLIGHT: usize = 64;
/// Requests in flight that are always allowed.
const LEAST_IN_FLIGHT: usize = 4;

/// The number of requests that may be in flight: additive increase, multiplicative decrease.
#[derive(Debug)]
pub struct Window {
    state: Mutex<WindowState>,
    freed: Notify,
    /// Wakes requests that make way.
    freed_for_the_last: Notify,
}

#[derive(Debug)]
struct WindowState {
    size: usize,
    used: usize,
    /// Of those used, by requests that make way.
    made_way: usize,
    successes: usize,
}

impl Window {
    pub(super) fn new() -> Self {
        let state = WindowState { size: MOST_IN_FLIGHT, used: 0, made_way: 0, successes: 0 };
        Self { state: Mutex::new(state), freed: Notify::new(), freed_for_the_last: Notify::new() }
    }

    fn try_enter(&self, makes_way: bool) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_last = makes_way && state.made_way > 0 && state.used > state.made_way;
        let free = state.used < state.size && !is_last;
        state.used += usize::from(free);
        state.made_way += usize::from(free && makes_way);
        free
    }

    pub(super) async fn enter(self: &Arc<Self>, makes_way: bool) -> Place {
        loop {
            let freed = if makes_way { &self.freed_for_the_last } else { &self.freed };
            let freed = freed.notified();
            if self.try_enter(makes_way) {
                return Place { window: self.clone(), makes_way };
            }
            freed.await;
        }
    }

    pub(super) fn report(&self, refused: bool) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if refused {
            state.size = (state.size / 2).max(LEAST_IN_FLIGHT);
            state.successes = 0;
        } else {
            state.successes += 1;
            if state.successes >= state.size && state.size < MOST_IN_FLIGHT {
                state.size += 1;
                state.successes = 0;
                self.freed.notify_one();
            }
        }
    }
}

/// A request's place; left when this is dropped.
pub(super) struct Place {
    window: Arc<Window>,
    makes_way: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.window.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.used = state.used.saturating_sub(1);
        state.made_way = state.made_way.saturating_sub(usize::from(self.makes_way));
        drop(state);
        self.window.freed.notify_one();
        self.window.freed_for_the_last.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn window_halves_on_refusal_and_recovers_slowly() {
        let window = Window::new();
        window.report(true);
        assert_eq!(window.state.lock().unwrap().size, MOST_IN_FLIGHT / 2);
        (0..MOST_IN_FLIGHT / 2).for_each(|_| window.report(false));
        assert_eq!(window.state.lock().unwrap().size, MOST_IN_FLIGHT / 2 + 1);
        (0..10).for_each(|_| window.report(true));
        assert_eq!(window.state.lock().unwrap().size, LEAST_IN_FLIGHT);
    }

    #[test]
    fn events_make_way_for_other_requests() {
        let window = Arc::new(Window::new());
        let enter = |makes_way| window.enter(makes_way).now_or_never();
        let events: Vec<_> = (0..8).map(|_| enter(true)).collect();
        assert!(events.iter().all(Option::is_some), "nothing else is in flight");
        let object = enter(false).expect("there is room");
        assert!(enter(true).is_none());
        drop(events);
        let event = enter(true);
        assert!(event.is_some(), "one goes beside other requests");
        assert!(enter(true).is_none());
        drop(object);
        assert!(enter(true).is_some());
    }

    #[tokio::test]
    async fn event_that_made_way_goes_when_the_others_have_gone() {
        let window = Arc::new(Window::new());
        let (first, object) = (window.enter(true).await, window.enter(false).await);
        let second = tokio::spawn({
            let window = window.clone();
            async move { drop(window.enter(true).await) }
        });
        tokio::task::yield_now().await;
        assert!(!second.is_finished());
        drop(object);
        second.await.unwrap();
        drop(first);
    }
}
