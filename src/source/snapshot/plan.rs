//! What a snapshot has left to copy, as a value. Pure.
//!
//! A plan is part of the source's position: it is stored with it and moves with it. Collections wait until a reader is
//! free; then a collection is split into parts by `_id`, each read range after range in the order of the index. A range
//! that is finished moves its part's beginning, so what a killed process had not finished is read again and nothing
//! else. Borders are BSON values as the server gave them, so `_id`s of any type, and of several, are safe.

use std::{collections::VecDeque, sync::Arc};

use crate::namespace::Namespace;
pub use crate::ranges::Id;

/// What is left to copy.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Collections that nobody has begun, in order.
    waiting: VecDeque<Waiting>,
    /// Parts of the collections that are begun.
    parts: Vec<Part>,
    /// Collections whose topics may have keys that have no document any more; they come last.
    sweeps: VecDeque<Arc<Namespace>>,
}

/// A collection that nobody has begun.
#[derive(Clone, Debug, PartialEq)]
pub struct Waiting {
    /// Which.
    pub namespace: Arc<Namespace>,
    /// About how many documents it has.
    pub estimate: u64,
}

/// A part of a collection.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Names the part within the plan.
    pub id: u64,
    /// Whose.
    pub namespace: Arc<Namespace>,
    /// Where the next range begins.
    pub from: From,
    /// The first `_id` behind the part; `None` for the end of the collection.
    pub until: Option<Id>,
    /// About how many documents are left.
    pub estimate: u64,
}

/// Where a range begins.
#[derive(Clone, Debug, PartialEq)]
pub enum From {
    /// At the beginning of the collection.
    Start,
    /// At this `_id`.
    At(Id),
    /// After this `_id`.
    After(Id),
}

/// How far one range has brought its part.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The part.
    pub part: u64,
    /// The last `_id` that was read; `None` when the part is finished.
    pub after: Option<Id>,
    /// Documents in the range.
    pub documents: u64,
}

impl Plan {
    /// A plan with nothing begun.
    pub fn new(waiting: impl IntoIterator<Item = Waiting>) -> Self {
        Self { waiting: waiting.into_iter().collect(), ..Self::default() }
    }

    /// A plan as it was stored.
    pub fn restore(
        waiting: impl IntoIterator<Item = Waiting>,
        parts: Vec<Part>,
        sweeps: impl IntoIterator<Item = Arc<Namespace>>,
    ) -> Self {
        Self { waiting: waiting.into_iter().collect(), parts, sweeps: sweeps.into_iter().collect() }
    }

    /// Has the keys of these collections' topics compared with them when all is copied.
    pub fn sweep(&mut self, namespaces: impl IntoIterator<Item = Arc<Namespace>>) {
        self.sweeps.extend(namespaces);
    }

    /// Collections whose topics are still to be compared with them.
    pub fn sweeps(&self) -> impl ExactSizeIterator<Item = &Arc<Namespace>> {
        self.sweeps.iter()
    }

    /// The topic of this collection is compared with it.
    pub fn finish_sweep(&mut self, namespace: &Namespace) {
        self.sweeps.retain(|sweep| **sweep != *namespace);
    }

    /// Whether everything is copied.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.parts.is_empty() && self.sweeps.is_empty()
    }

    /// Collections that nobody has begun.
    pub fn waiting(&self) -> impl ExactSizeIterator<Item = &Waiting> {
        self.waiting.iter()
    }

    /// Parts that are not finished.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// About how many documents are left.
    pub fn estimate(&self) -> u64 {
        self.waiting.iter().map(|w| w.estimate).sum::<u64>()
            + self.parts.iter().map(|p| p.estimate).sum::<u64>()
    }

    /// Collections that are not finished.
    pub fn collections_left(&self) -> usize {
        self.namespaces().len()
    }

    /// Those that are not finished.
    pub fn namespaces(&self) -> Vec<Namespace> {
        let waiting = self.waiting.iter().map(|waiting| &waiting.namespace);
        let parts = self.parts.iter().map(|part| &part.namespace);
        let mut all: Vec<_> = waiting.chain(parts).chain(&self.sweeps).collect();
        all.sort();
        all.dedup();
        all.into_iter().map(|namespace| Namespace::clone(namespace)).collect()
    }

    /// Adds collections at the end; one that waits already stays where it is.
    pub fn add(&mut self, collections: impl IntoIterator<Item = Waiting>) {
        for collection in collections {
            if !self.waiting.iter().any(|waiting| waiting.namespace == collection.namespace) {
                self.waiting.push_back(collection);
            }
        }
    }

    /// The first collection that waits.
    pub fn next_waiting(&self) -> Option<&Waiting> {
        self.waiting.front()
    }

    /// Begins the first collection that waits: splits it at these `_id`s, which are sorted as the index is.
    pub fn begin(&mut self, borders: Vec<Id>) {
        let Some(Waiting { namespace, estimate }) = self.waiting.pop_front() else { return };
        let first_id = self.parts.iter().map(|part| part.id + 1).max().unwrap_or_default();
        let count = borders.len() as u64 + 1;
        let mut from = From::Start;
        let ends = borders.into_iter().map(Some).chain([None]);
        for (id, until) in (first_id..).zip(ends) {
            let next = until.clone().map_or(From::Start, From::At);
            let from = std::mem::replace(&mut from, next);
            let namespace = Arc::clone(&namespace);
            self.parts.push(Part { id, namespace, from, until, estimate: estimate / count });
        }
    }

    /// Notes a range as copied.
    pub fn finish(&mut self, step: &Step) {
        let Some(at) = self.parts.iter().position(|part| part.id == step.part) else { return };
        match &step.after {
            None => drop(self.parts.remove(at)),
            Some(last) => {
                let part = &mut self.parts[at];
                part.from = From::After(last.clone());
                part.estimate = part.estimate.saturating_sub(step.documents);
            }
        }
    }

    /// The collection is gone: nothing of it is left to copy, and all of its keys are gone. Whether it was in the plan.
    pub fn remove(&mut self, namespace: &Namespace) -> bool {
        let before = (self.waiting.len(), self.parts.len());
        self.waiting.retain(|waiting| *waiting.namespace != *namespace);
        self.parts.retain(|part| *part.namespace != *namespace);
        before != (self.waiting.len(), self.parts.len())
    }

    /// The collection has another name now, in the place of one that may have had it. Whether it was in the plan.
    pub fn rename(&mut self, from: &Namespace, to: &Namespace) -> bool {
        let was_target = self.remove(to);
        let to = Arc::new(to.clone());
        let waiting = self.waiting.iter_mut().map(|waiting| &mut waiting.namespace);
        let parts = self.parts.iter_mut().map(|part| &mut part.namespace);
        let mut was_there = false;
        for namespace in waiting.chain(parts).filter(|namespace| ***namespace == *from) {
            *namespace = Arc::clone(&to);
            was_there = true;
        }
        was_there || was_target
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use bson::{RawDocumentBuf, doc};

    use super::*;

    pub(crate) fn id(value: impl Into<bson::Bson>) -> Id {
        let document = doc! { "_id": value.into() };
        Id::from_bytes(RawDocumentBuf::try_from(&document).expect("encodes").into_bytes())
            .expect("has an _id")
    }

    pub(crate) fn namespace(text: &str) -> Arc<Namespace> {
        Arc::new(Namespace::parse(text).expect("the name is sound"))
    }

    fn waiting(text: &str) -> Waiting {
        Waiting { namespace: namespace(text), estimate: 90 }
    }

    fn begun() -> Plan {
        let mut plan = Plan::new([waiting("a.b"), waiting("a.c")]);
        plan.begin(vec![id(5), id("x")]);
        plan
    }

    #[test]
    fn the_parts_of_a_collection_cover_it_without_gap_or_overlap() {
        let plan = begun();
        let borders: Vec<_> =
            plan.parts().iter().map(|part| (part.from.clone(), part.until.clone())).collect();
        assert_eq!(
            borders,
            [(From::Start, Some(id(5))), (From::At(id(5)), Some(id("x"))), (From::At(id("x")), None),]
        );
        assert_eq!((plan.waiting().len(), plan.collections_left(), plan.estimate()), (1, 2, 180));
    }

    #[test]
    fn a_finished_range_moves_its_part_and_the_last_one_removes_it() {
        let mut plan = begun();
        let step = |after| Step { part: 1, after, documents: 10 };
        plan.finish(&step(Some(id(7))));
        assert_eq!((plan.parts()[1].from.clone(), plan.parts()[1].estimate), (From::After(id(7)), 20));
        plan.finish(&step(None));
        assert_eq!(plan.parts().iter().map(|part| part.id).collect::<Vec<_>>(), [0, 2]);
        plan.finish(&step(None));
        assert_eq!(plan.parts().len(), 2, "a part that is gone stays gone");
    }

    #[test]
    fn parts_of_another_collection_get_names_of_their_own() {
        let mut plan = begun();
        plan.finish(&Step { part: 0, after: None, documents: 0 });
        plan.begin(vec![id(1)]);
        assert_eq!(plan.parts().iter().map(|part| part.id).collect::<Vec<_>>(), [1, 2, 3, 4]);
    }

    #[test]
    fn a_collection_that_is_renamed_or_dropped_is_followed() {
        let mut plan = begun();
        assert!(plan.rename(&namespace("a.b"), &namespace("z.b")));
        assert!(plan.parts().iter().all(|part| *part.namespace == *namespace("z.b")));
        assert!(plan.rename(&namespace("x.y"), &namespace("a.c")), "what had the name is gone");
        assert_eq!(plan.waiting().len(), 0);
        assert!(plan.remove(&namespace("z.b")) && plan.is_empty());
        assert!(!plan.remove(&namespace("z.b")));
    }

    #[test]
    fn a_collection_waits_only_once() {
        let mut plan = begun();
        plan.add([waiting("a.c"), waiting("a.b")]);
        let names: Vec<_> = plan.waiting().map(|waiting| waiting.namespace.to_string()).collect();
        assert_eq!(names, ["a.c", "a.b"], "what is begun may be copied once more");
    }
}
