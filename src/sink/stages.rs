//! Record → write: all the pure stages, in order. The daemon and the conformance tests call the same.
//!
//! ```text
//! decode ▶ route ▶ transform ▶ plan
//! ```

use std::{collections::HashMap, fmt, sync::Arc};

use super::{
    body::Body,
    decode::{self, Input},
    event::{self, Event},
    identify,
    plan::{self, Action, Skip, Write},
    record::Record,
    route::{self, Routes},
};
use crate::{
    config::{self, Handling, ValueShape},
    namespace::{Namespace, Patterns},
    raw,
    transform::{Compiled, Transform, Verdict},
};

/// Namespaces whose rules are remembered.
const MAX_REMEMBERED: usize = 10_000;

/// The pure stages of a sink.
pub struct Stages {
    settings: Arc<config::Sink>,
    routes: Routes,
    topics: HashMap<Arc<str>, Topic>,
}

/// What is made of one topic's records.
struct Topic {
    handling: Arc<Handling>,
    transform: Transform,
    /// The rules of each target.
    rules: HashMap<Arc<Namespace>, Option<Compiled>>,
}

/// What becomes of a record.
#[derive(Debug)]
pub enum Judged {
    /// A document is written.
    Write(Write),
    /// Nothing.
    Nothing(Skip),
}

/// Why a record cannot be written, and in which stage that came out. Never quotes contents.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Its bytes are not what its format promises.
    #[error(transparent)]
    Decode(#[from] decode::Error),
    /// It is no change event.
    #[error(transparent)]
    Event(#[from] event::Error),
    /// It has no target, or one that it must not have.
    #[error(transparent)]
    Route(#[from] route::Error),
    /// It cannot be transformed.
    #[error("cannot be transformed: {0}")]
    Transform(raw::Error),
    /// It does not say enough.
    #[error(transparent)]
    Plan(#[from] plan::Error),
}

impl From<identify::Error> for Refusal {
    fn from(error: identify::Error) -> Self {
        Self::Plan(error.into())
    }
}

impl Refusal {
    /// The stage's name.
    pub fn stage(&self) -> &'static str {
        match self {
            Self::Decode(_) | Self::Event(_) => "decode",
            Self::Route(_) => "route",
            Self::Transform(_) => "transform",
            Self::Plan(_) => "plan",
        }
    }
}

impl fmt::Debug for Stages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stages").field("sink", &self.settings.name).finish_non_exhaustive()
    }
}

impl Stages {
    /// `watched`: what the sources of this process watch in the deployment that the sink writes to.
    pub fn new(settings: Arc<config::Sink>, watched: Vec<Patterns>) -> Self {
        let routes = Routes::new(settings.allow.clone(), watched);
        Self { settings, routes, topics: HashMap::new() }
    }

    /// What becomes of `record`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn judge(&mut self, record: &Record) -> Result<Judged, Refusal> {
        let name = &record.place.partition.topic;
        let topic = match self.topics.get_mut(name) {
            Some(topic) => topic,
            None => {
                let topic = Topic::new(Arc::clone(self.settings.handling(name)));
                self.topics.entry(Arc::clone(name)).or_insert(topic)
            }
        };
        let input = decode::decode(record, &topic.handling)?;
        match topic.handling.value {
            ValueShape::Event => topic.event(input, &mut self.routes),
            _ => topic.document(input, &mut self.routes),
        }
    }
}

impl Topic {
    fn new(handling: Arc<Handling>) -> Self {
        let transform = Transform::compile(handling.transform.clone());
        Self { handling, transform, rules: HashMap::new() }
    }

    fn event(&mut self, input: Input<'_>, routes: &mut Routes) -> Result<Judged, Refusal> {
        let Some(value) = input.value else { return Ok(Judged::Nothing(Skip::Tombstone)) };
        let event = match event::read(value)? {
            event::Read::Document(event) => event,
            event::Read::Other(skip) => return Ok(Judged::Nothing(skip)),
        };
        let topic = &input.record.place.partition.topic;
        let namespace = routes.target(&self.handling.namespace, topic, Some(event.namespace()))?;
        let event = match self.rules(&namespace) {
            None => event,
            Some(rules) => match transformed(rules, &event)? {
                Some(event) => event,
                None => return Ok(Judged::Nothing(Skip::Dropped)),
            },
        };
        Ok(judged(namespace, plan::event::plan(event, &self.handling)?)?)
    }

    fn document(&mut self, mut input: Input<'_>, routes: &mut Routes) -> Result<Judged, Refusal> {
        let topic = &input.record.place.partition.topic;
        let value = input.value.as_ref().map(Body::document);
        let namespace = routes.target_of(&self.handling.namespace, topic, None, value, || input.key())?;
        if let (Some(rules), Some(value)) = (self.rules(&namespace), &input.value) {
            let mut bytes = Vec::with_capacity(value.len());
            match rules.document(value.document(), &mut bytes).map_err(Refusal::Transform)? {
                Verdict::Keep => input.value = Some(Body::whole(bytes)),
                Verdict::Drop => return Ok(Judged::Nothing(Skip::Dropped)),
            }
        }
        Ok(judged(namespace, plan::document::plan(input, &self.handling, now)?)?)
    }

    /// The rules for what goes to `namespace`.
    fn rules(&mut self, namespace: &Arc<Namespace>) -> Option<&Compiled> {
        if self.transform.is_empty() {
            return None;
        }
        if !self.rules.contains_key(namespace) {
            if self.rules.len() >= MAX_REMEMBERED {
                self.rules.clear();
            }
            let rules = self.transform.for_namespace(&namespace.db, &namespace.coll);
            self.rules.insert(Arc::clone(namespace), rules);
        }
        self.rules.get(namespace)?.as_ref()
    }
}

fn transformed(rules: &Compiled, event: &Event) -> Result<Option<Event>, Refusal> {
    let mut bytes = Vec::with_capacity(event.document().as_bytes().len());
    match rules.event(event.document(), &mut bytes).map_err(Refusal::Transform)? {
        Verdict::Drop => Ok(None),
        Verdict::Keep => match event::read(Body::whole(bytes))? {
            event::Read::Document(event) => Ok(Some(event)),
            event::Read::Other(_) => Err(event::Error::NotAnEvent("after the transformations").into()),
        },
    }
}

/// Milliseconds since 1970.
fn now() -> i64 {
    bson::DateTime::now().timestamp_millis()
}

fn judged(namespace: Arc<Namespace>, action: Action) -> Result<Judged, plan::Error> {
    Ok(match action {
        Action::Write(filter, kind) => {
            Judged::Write(Write { key: filter.fold_key()?, namespace, filter, kind })
        }
        Action::Skip(skip) => Judged::Nothing(skip),
    })
}
