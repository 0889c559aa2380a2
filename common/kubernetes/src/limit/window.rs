//! How many requests may be in flight, and which make way for others.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Requests in flight when the server has never complained.
const MOST_IN_FLIGHT: usize = 64;
/// Requests in flight that are always allowed.
const LEAST_IN_FLIGHT: usize = 4;
/// Requests that make way: so many are in flight beside others.
const BESIDE_OTHERS: usize = 2;

/// The number of requests that may be in flight: additive increase, multiplicative decrease. Those that make way have places of their
/// own, and what the server answers to them changes nothing for the others.
#[derive(Debug)]
pub struct Window {
    state: Mutex<WindowState>,
    freed: Notify,
    /// Wakes requests that make way.
    way_is_free: Notify,
}

#[derive(Debug)]
struct WindowState {
    size: usize,
    used: usize,
    /// Requests in flight that make way.
    made_way: usize,
    successes: usize,
}

impl WindowState {
    fn has_room(&self, makes_way: bool) -> bool {
        match (makes_way, self.used) {
            (false, used) => used < self.size,
            (true, 0) => self.made_way < self.size / 2,
            (true, _) => self.made_way < BESIDE_OTHERS,
        }
    }

    fn places(&mut self, makes_way: bool) -> &mut usize {
        if makes_way { &mut self.made_way } else { &mut self.used }
    }
}

impl Window {
    pub(super) fn new() -> Self {
        let state = WindowState { size: MOST_IN_FLIGHT, used: 0, made_way: 0, successes: 0 };
        Self { state: Mutex::new(state), freed: Notify::new(), way_is_free: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, WindowState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_enter(&self, makes_way: bool) -> bool {
        let mut state = self.state();
        let has_room = state.has_room(makes_way);
        *state.places(makes_way) += usize::from(has_room);
        has_room
    }

    pub(super) async fn enter(self: &Arc<Self>, makes_way: bool) -> Place {
        let freed = if makes_way { &self.way_is_free } else { &self.freed };
        loop {
            let freed = freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            if self.try_enter(makes_way) {
                return Place { window: self.clone(), makes_way };
            }
            freed.await;
        }
    }

    /// What the server answered to a request that makes no way.
    pub(super) fn report(&self, refused: bool) {
        let mut state = self.state();
        if refused {
            state.size = (state.size / 2).max(LEAST_IN_FLIGHT);
            state.successes = 0;
        } else {
            state.successes += 1;
            if state.successes >= state.size && state.size < MOST_IN_FLIGHT {
                state.size += 1;
                state.successes = 0;
                self.freed.notify_one();
                self.way_is_free.notify_one();
            }
        }
    }
}

/// A request's place; left when this is dropped.
pub(super) struct Place {
    window: Arc<Window>,
    makes_way: bool,
}

impl Place {
    pub(super) fn report(&self, refused: bool) {
        if !self.makes_way {
            self.window.report(refused);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.window.state();
        let places = state.places(self.makes_way);
        *places = places.saturating_sub(1);
        let alone = state.used == 0;
        drop(state);
        match (self.makes_way, alone) {
            (true, _) => self.window.way_is_free.notify_one(),
            (false, false) => self.window.freed.notify_one(),
            (false, true) => {
                self.window.freed.notify_one();
                self.window.way_is_free.notify_waiters();
            }
        }
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
        assert_eq!(window.state().size, MOST_IN_FLIGHT / 2);
        (0..MOST_IN_FLIGHT / 2).for_each(|_| window.report(false));
        assert_eq!(window.state().size, MOST_IN_FLIGHT / 2 + 1);
        (0..10).for_each(|_| window.report(true));
        assert_eq!(window.state().size, LEAST_IN_FLIGHT);
    }

    fn enter(window: &Arc<Window>, makes_way: bool) -> Option<Place> {
        window.enter(makes_way).now_or_never()
    }

    #[test]
    fn events_make_way_for_other_requests() {
        let window = Arc::new(Window::new());
        let alone: Vec<_> = std::iter::from_fn(|| enter(&window, true)).collect();
        assert_eq!(alone.len(), MOST_IN_FLIGHT / 2, "nothing else is in flight");
        let object = enter(&window, false).expect("there is room");
        drop(alone);
        let beside: Vec<_> = std::iter::from_fn(|| enter(&window, true)).collect();
        assert_eq!(beside.len(), BESIDE_OTHERS);
        drop(object);
        assert!(enter(&window, true).is_some());
    }

    #[test]
    fn events_and_objects_take_no_places_from_each_other() {
        let window = Arc::new(Window::new());
        (0..10).for_each(|_| window.report(true));
        let events: Vec<_> = std::iter::from_fn(|| enter(&window, true)).collect();
        let objects: Vec<_> = std::iter::from_fn(|| enter(&window, false)).collect();
        assert_eq!((events.len(), objects.len()), (LEAST_IN_FLIGHT / 2, LEAST_IN_FLIGHT));
        drop(events);
        assert!(enter(&window, true).is_some(), "however many objects wait");
    }

    #[test]
    fn refusal_of_an_event_costs_objects_nothing() {
        let window = Arc::new(Window::new());
        let (event, object) = (enter(&window, true).unwrap(), enter(&window, false).unwrap());
        event.report(true);
        assert_eq!(window.state().size, MOST_IN_FLIGHT);
        object.report(true);
        assert_eq!(window.state().size, MOST_IN_FLIGHT / 2);
    }

    /// Four 429s, and then successes only: those who wait use the places that come back, without newcomers.
    #[tokio::test]
    async fn window_that_grows_lets_those_in_who_wait() {
        let window = Arc::new(Window::new());
        (0..10).for_each(|_| window.report(true));
        let mut inside: Vec<_> = std::iter::from_fn(|| enter(&window, false)).collect();
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let window = window.clone();
                tokio::spawn(async move { window.enter(false).await })
            })
            .collect();
        tokio::task::yield_now().await;
        (0..LEAST_IN_FLIGHT).for_each(|_| window.report(false));
        tokio::task::yield_now().await;
        assert_eq!(waiting.iter().filter(|one| one.is_finished()).count(), 1);
        inside.clear();
        waiting.into_iter().for_each(|one| one.abort());
    }

    /// Eight wait while two are in flight beside an object: all go when it has gone.
    #[tokio::test]
    async fn events_that_made_way_go_together_when_the_others_have_gone() {
        let window = Arc::new(Window::new());
        let object = window.enter(false).await;
        let first = [window.enter(true).await, window.enter(true).await];
        let waiting = (0..8).map(|_| {
            let window = window.clone();
            tokio::spawn(async move { window.enter(true).await })
        });
        let waiting: Vec<_> = waiting.collect();
        tokio::task::yield_now().await;
        assert!(waiting.iter().all(|one| !one.is_finished()));
        drop(object);
        let places = futures::future::join_all(waiting).await;
        assert_eq!(places.into_iter().filter(Result::is_ok).count(), 8);
        drop(first);
    }
}
