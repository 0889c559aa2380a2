//! A case as data: what there is, what goes wrong, and everything that is then sent.

use std::ops::Deref;
use std::time::Duration;

use attacher::config::Config;
use base::leadership::Leadership;
use serde_json::Value;
use sim::{Fault, Reply, Running, Step, World};
use tokio_util::sync::CancellationToken;

use crate::harness::{calls, config, sidecar_with, world_with, writes};

/// Long enough for anything that would come to have come.
pub(crate) const QUIET: Duration = Duration::from_secs(45);

type Hand = Box<dyn Fn(&World)>;
type Chosen = Box<dyn Fn(&Step) -> bool + Send>;

/// One case; see [`Case::ends_with`].
pub(crate) struct Case {
    name: &'static str,
    objects: Vec<Value>,
    deleted: Vec<(&'static str, &'static str)>,
    replies: Vec<(&'static str, Vec<Reply>)>,
    faults: Vec<(Chosen, usize, Fault)>,
    config: Config,
    meanwhile: Option<Hand>,
}

/// A case in which these objects are there when the attacher starts.
pub(crate) fn case(name: &'static str, objects: impl IntoIterator<Item = Value>) -> Case {
    Case {
        name,
        objects: objects.into_iter().collect(),
        deleted: Vec::new(),
        replies: Vec::new(),
        faults: Vec::new(),
        config: config(),
        meanwhile: None,
    }
}

impl Case {
    /// The user deletes this object before the attacher starts.
    pub(crate) fn deleted(mut self, plural: &'static str, name: &'static str) -> Self {
        self.deleted.push((plural, name));
        self
    }

    /// The driver answers these calls so.
    pub(crate) fn driver(mut self, method: &'static str, replies: impl IntoIterator<Item = Reply>) -> Self {
        self.replies.push((method, replies.into_iter().collect()));
        self
    }

    /// The next `times` such steps go wrong.
    pub(crate) fn fault(
        mut self,
        step: impl Fn(&Step) -> bool + Send + 'static,
        times: usize,
        fault: Fault,
    ) -> Self {
        self.faults.push((Box::new(step), times, fault));
        self
    }

    /// With another configuration.
    pub(crate) fn config(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// Half a second after the start, the user does this.
    pub(crate) fn meanwhile(mut self, hand: impl Fn(&World) + 'static) -> Self {
        self.meanwhile = Some(Box::new(hand));
        self
    }

    /// Runs the case and compares everything that was sent to the driver and written to the API server.
    pub(crate) async fn ends_with(self, expected_calls: &[&str], expected_writes: &[&str]) -> Ended {
        let world = world_with(&["pv1", "pv2", "inline"]);
        for object in &self.objects {
            world.api.put(object.clone());
        }
        for (plural, name) in &self.deleted {
            assert!(world.api.delete(plural, name), "{}", self.name);
        }
        for (method, replies) in self.replies {
            world.driver.script(method, replies);
        }
        for (step, times, fault) in self.faults {
            world.steps.on(step, times, fault);
        }
        let config = self.config;
        let running = world.run(Duration::from_secs(3600), move |world| {
            sidecar_with(world, config.clone(), Leadership::always(), CancellationToken::new())
        });
        if let Some(hand) = self.meanwhile {
            tokio::time::sleep(Duration::from_millis(500)).await;
            hand(&world);
        }
        tokio::time::sleep(QUIET).await;
        assert_eq!(running.panics(), Vec::<String>::new(), "{}", self.name);
        assert_eq!(calls(&world), expected_calls, "{}: calls", self.name);
        assert_eq!(writes(&world), expected_writes, "{}: writes", self.name);
        Ended { world, _running: running }
    }
}

/// The world after a case; the attacher goes on in it.
pub(crate) struct Ended {
    world: World,
    _running: Running,
}

impl Deref for Ended {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}

/// The object `name` of `plural`; null when it is gone.
pub(crate) fn object(world: &World, plural: &str, name: &str) -> Value {
    world.api.get(plural, name).unwrap_or_default()
}
