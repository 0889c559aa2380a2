//! Keeps the objects as GetCapacity has it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use base::apart::apart;
use base::metrics::{MetricError, Metrics};
use base::queue::{Job, Limits, Outcome, Place, WorkQueue};
use csi::topology::Term;
use csi::{grpc_text, v1};
use kubernetes::api::{self, Format, Objects};
use kubernetes::collection::{Collection, Created, Written};
use kubernetes::object::{Capacity, Class, DRIVER_NAME, Key, MANAGED_BY};
use kubernetes::store::Store;
use kubernetes::watch::WatchOptions;
use process::{Caches, Seat};
use prometheus::IntGauge;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use thiserror::Error;
use tokio::time::sleep;
use tonic::Status;

use super::CapacitySettings;
use super::item::{Item, Items, is_published};
use super::object::{difference, name, new_object};
use super::state::{Shared, Work};
use super::trigger::Trigger;
use crate::config::Config;
use crate::topology::Nodes;

/// Names that are tried for a new object when others have the first ones.
const NAMES: usize = 5;

/// Publishes capacities.
pub(crate) struct Capacities {
    config: Arc<Config>,
    settings: CapacitySettings,
    seat: Seat,
    objects: Collection<Capacity>,
    classes: Arc<Store<Class>>,
    nodes: Nodes,
    state: Shared,
    queue: WorkQueue<Work>,
    /// Looks at segments and classes when they change.
    topology: WorkQueue<Everything>,
}

/// The one key of the queue that looks at everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Everything;

impl fmt::Display for Everything {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("segments and classes")
    }
}

/// Why an item's capacity is not published.
#[derive(Debug, Error)]
enum PublishError {
    #[error("GetCapacity: {}", grpc_text(.0))]
    Driver(Status),
    #[error("{}", api::text(.0))]
    Api(#[from] api::Error),
    #[error("the object was deleted meanwhile")]
    Gone,
    #[error("CSIStorageCapacity {0} and others already exist and are not ours")]
    Taken(String),
}

impl Capacities {
    /// Capacities that are written through `objects`, which has a request limit of its own.
    ///
    /// # Errors
    /// The gauges' names are taken.
    pub(crate) fn new(
        config: Arc<Config>,
        settings: CapacitySettings,
        (seat, objects): (Seat, Objects),
        caches: &mut Caches,
        nodes: Nodes,
    ) -> Result<Self, MetricError> {
        let labels = format!("{DRIVER_NAME}={},{MANAGED_BY}={}", config.driver, settings.managed_by);
        let options =
            WatchOptions { labels, namespace: settings.namespace.to_string(), ..Default::default() };
        let store = caches.store_of::<Capacity>(options);
        let (state, metrics) = (Shared::default(), &seat.metrics);
        seat.metrics.registry().register(Box::new(Gauges::new(state.clone())?))?;
        let queue = work_queue::<Work>(&config, metrics, "csistoragecapacity");
        let topology = work_queue::<Everything>(&config, metrics, "csitopology");
        let (noted, follows) = (state.clone(), queue.clone());
        store.subscribe(move |change| {
            let work = noted.lock().note(change);
            work.into_iter().for_each(|work| follows.add(work, Place::lane(0)));
        });
        let look = topology.clone();
        nodes.on_change(move |_| look.add(Everything, Place::lane(0)));
        let (classes, look) = (caches.store::<Class>(), topology.clone());
        classes.subscribe(move |_| look.add(Everything, Place::lane(0)));
        let objects = Collection::new(objects, store);
        Ok(Self { config, settings, seat, objects, classes, nodes, state, queue, topology })
    }

    /// For those who make and delete volumes.
    pub(crate) fn trigger(&self) -> Trigger {
        Trigger::new(self.state.clone(), self.queue.clone())
    }

    /// Publishes until the seat's `stop`.
    pub(crate) async fn run(self: Arc<Self>) {
        let stop = self.seat.stop.clone();
        // Before any object is judged, it must be known what is wanted.
        self.look_at_everything();
        tokio::join!(
            apart(self.topology.run(1, self.clone(), stop.clone())),
            apart(self.queue.run(self.settings.workers, self.clone(), stop.clone())),
            apart(stop.run_until_cancelled(self.poll())),
        );
    }

    async fn poll(&self) {
        loop {
            sleep(self.settings.poll).await;
            let all: Vec<Item> = self.state.lock().items().all().collect();
            self.add(all.into_iter().map(Work::Refresh));
        }
    }

    fn add(&self, work: impl IntoIterator<Item = Work>) {
        work.into_iter().for_each(|work| self.queue.add(work, Place::lane(0)));
    }

    fn look_at_everything(&self) {
        let published =
            |class: &Arc<Class>| is_published(class, &self.config.driver, self.settings.immediate);
        let classes = self.classes.list().into_iter().filter(published).map(|class| class.meta.name().into());
        let classes: BTreeSet<Arc<str>> = classes.collect();
        let items = Items::new(self.nodes.cluster().segments(), classes);
        let work = self.state.lock().replace(items);
        self.add(work);
    }

    /// The segment and the class of an item, if it is one.
    fn wanted(&self, item: &Item) -> Option<(Term, Arc<Class>)> {
        let segment = self.state.lock().items().segment(item).cloned()?;
        Some((segment, self.classes.get(&Key::cluster(&item.class))?))
    }

    async fn refresh(&self, item: &Item) -> Result<(), PublishError> {
        let Some((segment, class)) = self.wanted(item) else { return Ok(()) };
        let request = v1::GetCapacityRequest {
            parameters: class.parameters.clone(),
            accessible_topology: Some(v1::Topology { segments: segment.segments() }),
            ..Default::default()
        };
        let said = self.seat.driver.call(request, self.config.timeout).await.map_err(PublishError::Driver)?;
        if self.wanted(item).is_none() {
            return Ok(());
        }
        let known = self.state.lock().object(item).cloned();
        match known.and_then(|key| self.objects.get(&key)) {
            Some(object) => self.update(&object, &said).await,
            None => self.create(item, &segment, &said).await,
        }
    }

    async fn update(&self, object: &Capacity, said: &v1::GetCapacityResponse) -> Result<(), PublishError> {
        let Some(patch) = difference(object, said, self.settings.owner.as_ref()) else { return Ok(()) };
        match self.objects.patch(&object.meta, "", Format::Strategic, patch).await? {
            Written::Kept { .. } => Ok(()),
            Written::Gone => Err(PublishError::Gone),
        }
    }

    async fn create(
        &self,
        item: &Item,
        segment: &Term,
        said: &v1::GetCapacityResponse,
    ) -> Result<(), PublishError> {
        let (driver, settings) = (&*self.config.driver, &self.settings);
        let ours = |object: &Capacity| {
            *object.driver == *driver
                && *object.managed_by == *settings.managed_by
                && Item::of(object).as_ref() == Some(item)
        };
        for number in 0..NAMES {
            let name = name(item, driver, settings, number);
            let object = new_object(&name, item, segment, driver, settings, said);
            let key = Key::new(&settings.namespace, &name);
            match self.objects.create(&key, &object, ours).await? {
                Created::Stored => return Ok(()),
                Created::Taken => {}
            }
        }
        Err(PublishError::Taken(name(item, driver, settings, 0)))
    }

    async fn delete(&self, key: &Key) -> Result<(), PublishError> {
        let Some(object) = self.objects.get(key) else { return Ok(()) };
        if self.state.lock().is_unwanted(&object) {
            self.objects.delete(&object.meta).await?;
        }
        Ok(())
    }
}

impl Job<Work> for Capacities {
    async fn run(&self, work: Work) -> Outcome {
        if !self.seat.leadership.holds() {
            return Outcome::Retry;
        }
        let result = match &work {
            Work::Refresh(item) => self.refresh(item).await,
            Work::Delete(key) => self.delete(key).await,
        };
        match result {
            Ok(()) => Outcome::Done,
            // We may have failed only because we no longer lead; the next leader goes on.
            Err(_) if !self.seat.leadership.holds() => Outcome::Retry,
            Err(error) => {
                base::error!(error, "Cannot publish the capacity; will retry"; "of" => work);
                Outcome::Retry
            }
        }
    }
}

impl Job<Everything> for Capacities {
    async fn run(&self, _: Everything) -> Outcome {
        self.look_at_everything();
        Outcome::Done
    }
}

fn work_queue<K>(config: &Config, metrics: &Arc<Metrics>, name: &str) -> WorkQueue<K>
where
    K: Clone + Eq + std::hash::Hash + fmt::Display + Send + Sync + 'static,
{
    let metrics = metrics.queue(name).doing("publish", "CSIStorageCapacity");
    WorkQueue::new(config.backoff, Limits::plain(), vec![metrics])
}

/// The gauges, counted when the page is read.
struct Gauges {
    state: Shared,
    goal: IntGauge,
    current: IntGauge,
    obsolete: IntGauge,
}

impl Gauges {
    fn new(state: Shared) -> Result<Self, MetricError> {
        let goal = "Number of CSIStorageCapacity objects that should be managed automatically.";
        let current =
            "Number of CSIStorageCapacity objects that exist and are supposed to be managed automatically.";
        let obsolete = "Number of CSIStorageCapacity objects that exist and will be deleted automatically.";
        Ok(Self {
            state,
            goal: IntGauge::new("csistoragecapacities_desired_goal", goal)?,
            current: IntGauge::new("csistoragecapacities_desired_current", current)?,
            obsolete: IntGauge::new("csistoragecapacities_obsolete", obsolete)?,
        })
    }

    fn all(&self) -> [&IntGauge; 3] {
        [&self.goal, &self.current, &self.obsolete]
    }
}

impl Collector for Gauges {
    fn desc(&self) -> Vec<&Desc> {
        self.all().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let counts = self.state.lock().counts();
        for (gauge, count) in self.all().into_iter().zip([counts.goal, counts.current, counts.obsolete]) {
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        self.all().into_iter().flat_map(Collector::collect).collect()
    }
}
