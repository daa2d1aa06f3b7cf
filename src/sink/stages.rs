//! Record → write: all the pure stages, in order. The daemon and the conformance tests call the same.
//!
//! ```text
//! decode ▶ route ▶ transform ▶ plan
//! ```

#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

use foldhash::{HashMap, HashMapExt};

use super::{
    arena::Arena,
    body::Body,
    ddl::{self, Ddl},
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
    notes: Vec<String>,
    /// What is written waits here for its batch.
    arena: Arena,
    /// Room for the next record's value.
    buffer: Vec<u8>,
}

/// What is made of one topic's records.
struct Topic {
    handling: Arc<Handling>,
    /// What its values have turned out to be.
    shape: Option<ValueShape>,
    transform: Transform,
    /// The rules of each target.
    rules: HashMap<Arc<Namespace>, Option<Compiled>>,
}

/// What becomes of a record.
#[derive(Debug)]
pub enum Judged {
    /// A document is written.
    Write(Write),
    /// A collection is changed.
    Ddl(Ddl),
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
    /// It changes a collection, and does not say enough or must not.
    #[error(transparent)]
    Ddl(#[from] ddl::Error),
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
            Self::Route(_) | Self::Ddl(ddl::Error::Route(_)) => "route",
            Self::Transform(_) => "transform",
            Self::Ddl(_) | Self::Plan(_) => "plan",
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
        Self {
            settings,
            routes,
            topics: HashMap::new(),
            notes: Vec::new(),
            arena: Arena::default(),
            buffer: Vec::new(),
        }
    }

    /// What becomes of `record`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn judge(&mut self, record: &Record) -> Result<Judged, Refusal> {
        let mut judged = self.plan(record)?;
        if let Judged::Write(write) = &mut judged
            && let Some(body) = write.kind.body_mut()
        {
            self.buffer = body.settle(&mut self.arena);
        }
        Ok(judged)
    }

    fn plan(&mut self, record: &Record) -> Result<Judged, Refusal> {
        let name = &record.place.partition.topic;
        let topic = match self.topics.get_mut(name) {
            Some(topic) => topic,
            None => {
                let topic = Topic::new(Arc::clone(self.settings.handling(name)));
                self.topics.entry(Arc::clone(name)).or_insert(topic)
            }
        };
        let mut input = decode::decode(record, &topic.handling, std::mem::take(&mut self.buffer))?;
        let shape = match (topic.handling.value, topic.shape, &input.value) {
            (ValueShape::Auto, Some(shape), _) => shape,
            (ValueShape::Auto, None, Some(value)) => {
                let shape = plan::auto::recognise(value.document())?;
                topic.shape = Some(shape);
                let word = shape.word();
                self.notes.push(format!("the values of topic {name} are taken for {word:?}"));
                shape
            }
            (ValueShape::Auto, None, None) => return Ok(topic.early_tombstone(input, &mut self.routes)),
            (shape, ..) => shape,
        };
        if topic.handling.value == ValueShape::Auto {
            input.apply_types(&topic.handling.types, shape)?;
        }
        match shape {
            ValueShape::Event => topic.event(input, &mut self.routes),
            ValueShape::Document | ValueShape::Auto => topic.document(input, &mut self.routes),
            ValueShape::Debezium => topic.change(&input, plan::debezium::plan, &mut self.routes),
            ValueShape::DebeziumRows => topic.change(&input, plan::rows::plan, &mut self.routes),
            ValueShape::Qlik => topic.change(&input, plan::qlik::plan, &mut self.routes),
        }
    }

    /// What has come out since the last call that belongs into the log, a line each.
    pub fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }
}

impl Topic {
    fn new(handling: Arc<Handling>) -> Self {
        let transform = Transform::compile(handling.transform.clone());
        Self { handling, shape: None, transform, rules: HashMap::new() }
    }

    fn event(&mut self, mut input: Input<'_>, routes: &mut Routes) -> Result<Judged, Refusal> {
        let Some(value) = input.value.take() else { return Ok(Judged::Nothing(Skip::Tombstone)) };
        let topic = &input.record.place.partition.topic;
        if self.handling.ddl == config::Ddl::Apply {
            let target =
                |db: &str, coll: &str| routes.target(&self.handling.namespace, topic, Some((db, coll)));
            match ddl::read(value.document(), target)? {
                Some(ddl::Read::Command(ddl)) => return Ok(Judged::Ddl(ddl)),
                Some(ddl::Read::Skip(skip)) => return Ok(Judged::Nothing(skip)),
                None => {}
            }
        }
        let event = match event::read(value)? {
            event::Read::Document(event) => event,
            event::Read::Other(skip) => return Ok(Judged::Nothing(skip)),
        };
        let names = event.namespace();
        if names.is_none() && self.handling.namespace.uses_names() {
            let missing = "no ns.db and ns.coll texts, which the sink's namespace is made of";
            return Err(event::Error::NotAnEvent(missing).into());
        }
        let template = &self.handling.namespace;
        let value = Some(event.document());
        let namespace = routes.target_of(template, topic, names, value, || input.key())?;
        let event = match self.rules(&namespace) {
            None => event,
            Some(rules) => match transformed(rules, &event)? {
                Some(event) => event,
                None => return Ok(Judged::Nothing(Skip::Dropped)),
            },
        };
        Ok(judged(namespace, plan::event::plan(event, &self.handling)?)?)
    }

    /// An event that says nothing of documents of MongoDB, or says it in other words.
    fn change(
        &mut self,
        input: &Input<'_>,
        plan: fn(&Input<'_>, &Handling) -> Result<Action, plan::Error>,
        routes: &mut Routes,
    ) -> Result<Judged, Refusal> {
        let (filter, kind) = match plan(input, &self.handling)? {
            Action::Write(filter, kind) => (filter, kind),
            Action::Skip(skip) => return Ok(Judged::Nothing(skip)),
        };
        let value = input.value.as_ref().map(Body::document);
        let names = value.map(plan::rows::names).transpose()?.flatten();
        let (template, topic) = (&self.handling.namespace, &input.record.place.partition.topic);
        let namespace = routes.target_of(template, topic, names, value, || input.key())?;
        let action = match self.rules(&namespace) {
            None => Action::Write(filter, kind),
            Some(rules) => match plan::rules::apply(rules, filter, kind)? {
                Some(action) => action,
                None => return Ok(Judged::Nothing(Skip::Dropped)),
            },
        };
        Ok(judged(namespace, action)?)
    }

    /// A record without a value where none has had one yet. It deletes a document, if there is one that its key names;
    /// for an event it means nothing.
    fn early_tombstone(&mut self, input: Input<'_>, routes: &mut Routes) -> Judged {
        self.document(input, routes).unwrap_or(Judged::Nothing(Skip::Tombstone))
    }

    fn document(&mut self, mut input: Input<'_>, routes: &mut Routes) -> Result<Judged, Refusal> {
        let topic = &input.record.place.partition.topic;
        let value = input.value.as_ref().map(Body::document);
        let namespace = routes.target_of(&self.handling.namespace, topic, None, value, || input.key())?;
        if let (Some(rules), Some(value)) = (self.rules(&namespace), &input.value) {
            match plan::rules::transformed(rules, value.document())? {
                Some(body) => input.value = Some(body),
                None => return Ok(Judged::Nothing(Skip::Dropped)),
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
