//! A case as data: the objects there are, what goes wrong, and everything that is then sent.
//!
//! A [`Case`] belongs to a [`Sidecar`], which says how to start that sidecar and how to put into words what it did.

use std::ops::Deref;
use std::time::Duration;

use base::leadership::Leadership;
use kubernetes::object::Keep;
use process::{Caches, Duty, Seat};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::driver::Reply;
use crate::steps::{Fault, Step};
use crate::world::{Running, World};

/// The process is not started again within a case: a restart comes after this time only.
const RESTART: Duration = Duration::from_secs(3600);

/// How to run one of our sidecars in a world. `C` is its configuration.
#[derive(Debug)]
pub struct Sidecar<C> {
    /// What its caches keep.
    pub keep: Keep,
    /// Its usual configuration.
    pub config: fn() -> C,
    /// The driver's name in a configuration.
    pub driver: fn(&C) -> &str,
    /// Its duty on a seat.
    pub duty: fn(Seat, &mut Caches, C) -> Duty,
    /// The world that its cases begin with.
    pub world: fn() -> World,
    /// What it asked of the driver, in order and in words.
    pub calls: fn(&World) -> Vec<String>,
    /// What it wrote to the API server, in order and in words.
    pub writes: fn(&World) -> Vec<String>,
}

impl<C: Clone + Send + Sync + 'static> Sidecar<C> {
    /// One life of it.
    pub async fn live(&self, world: World, config: C, leadership: Leadership, stop: CancellationToken) {
        let driver = (self.driver)(&config).to_owned();
        let duty = |seat, caches: &mut _| (self.duty)(seat, caches, config);
        world.sidecar((&driver, self.keep), leadership, stop, duty).await;
    }

    /// Keeps it running in `world`, always leading, with its configuration changed by `change`.
    pub fn run(&'static self, world: &World, change: impl FnOnce(&mut C)) -> Running {
        let mut config = (self.config)();
        change(&mut config);
        world.run(RESTART, move |world| {
            self.live(world, config.clone(), Leadership::always(), CancellationToken::new())
        })
    }

    /// A case in which these objects are there when it starts.
    pub fn case(&'static self, name: &'static str, objects: impl IntoIterator<Item = Value>) -> Case<C> {
        Case {
            sidecar: self,
            name,
            objects: objects.into_iter().collect(),
            deleted: Vec::new(),
            replies: Vec::new(),
            faults: Vec::new(),
            config: (self.config)(),
            meanwhile: None,
        }
    }
}

type Hand = Box<dyn Fn(&World)>;
type Chosen = Box<dyn Fn(&Step) -> bool + Send>;

/// One case; see [`Case::ends_with`].
pub struct Case<C: 'static> {
    sidecar: &'static Sidecar<C>,
    name: &'static str,
    objects: Vec<Value>,
    deleted: Vec<(&'static str, &'static str)>,
    replies: Vec<(&'static str, Vec<Reply>)>,
    faults: Vec<(Chosen, usize, Fault)>,
    config: C,
    meanwhile: Option<Hand>,
}

impl<C> std::fmt::Debug for Case<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Case").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<C: Clone + Send + Sync + 'static> Case<C> {
    /// Long enough for anything that would come to have come.
    pub const QUIET: Duration = Duration::from_secs(45);

    /// The user deletes this object before the sidecar starts.
    pub fn deleted(mut self, plural: &'static str, name: &'static str) -> Self {
        self.deleted.push((plural, name));
        self
    }

    /// The driver answers these calls so.
    pub fn driver(mut self, method: &'static str, replies: impl IntoIterator<Item = Reply>) -> Self {
        self.replies.push((method, replies.into_iter().collect()));
        self
    }

    /// The next `times` such steps go wrong.
    pub fn fault(
        mut self,
        step: impl Fn(&Step) -> bool + Send + 'static,
        times: usize,
        fault: Fault,
    ) -> Self {
        self.faults.push((Box::new(step), times, fault));
        self
    }

    /// With another configuration.
    pub fn config(mut self, change: impl FnOnce(&mut C)) -> Self {
        change(&mut self.config);
        self
    }

    /// Half a second after the start, the user does this.
    pub fn meanwhile(mut self, hand: impl Fn(&World) + 'static) -> Self {
        self.meanwhile = Some(Box::new(hand));
        self
    }

    /// Runs the case and compares everything that was sent to the driver and written to the API server.
    ///
    /// # Panics
    /// When anything else was sent, or the sidecar panics.
    pub async fn ends_with(self, expected_calls: &[&str], expected_writes: &[&str]) -> Ended {
        let (sidecar, world) = (self.sidecar, (self.sidecar.world)());
        for object in &self.objects {
            world.api.put(object.clone());
        }
        for (plural, name) in &self.deleted {
            assert!(world.api.delete(plural, name), "{}: nothing to delete", self.name);
        }
        for (method, replies) in self.replies {
            world.driver.script(method, replies);
        }
        for (step, times, fault) in self.faults {
            world.steps.on(step, times, fault);
        }
        let config = self.config;
        let running = sidecar.run(&world, move |usual| *usual = config);
        if let Some(hand) = self.meanwhile {
            tokio::time::sleep(Duration::from_millis(500)).await;
            hand(&world);
        }
        tokio::time::sleep(Self::QUIET).await;
        assert_eq!(running.panics(), Vec::<String>::new(), "{}", self.name);
        assert_eq!((sidecar.calls)(&world), expected_calls, "{}: calls", self.name);
        assert_eq!((sidecar.writes)(&world), expected_writes, "{}: writes", self.name);
        Ended { world, _running: running }
    }
}

/// The world after a case; the sidecar goes on in it.
#[derive(Debug)]
pub struct Ended {
    world: World,
    _running: Running,
}

impl Deref for Ended {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}
