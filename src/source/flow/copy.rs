//! The loop's part in snapshots: holds the stream for a wave, hands rows on, keeps the plan in the position.

use super::{Flow, GROUP_BYTES, GROUP_RECORDS};
use crate::{
    config::ClusterTime,
    mongo,
    namespace::Namespace,
    raw,
    retry::Failure,
    source::{
        decode::{self, Change},
        deliver::Group,
        requests::{Answer, Ask, Request},
        snapshot::{self, Deletes, Event, Rows},
        watch::Batch,
    },
};

impl Flow {
    /// Takes a reply of the stream: hands it on, or begins a wave before it and holds it until the wave is over.
    pub(super) async fn take(&mut self, batch: Batch) -> Result<(), Failure> {
        if !self.snapshot.is_reading() && !self.snapshot.plan().is_empty() {
            let first = self.first_time(&batch)?;
            if let Some(time) =
                self.clean.before(first, batch.after.time).filter(|time| self.snapshot.is_due(*time))
            {
                tracing::trace!(source = self.settings.name, %time, "a wave begins");
                self.snapshot.begin_wave(time);
            }
        }
        if !self.snapshot.is_reading() {
            return self.publish(&batch).await;
        }
        if batch.is_empty() {
            // Nothing to hold: the stream may stand further on.
            self.read = self.read.moved_to(&batch.after);
        } else {
            self.held = Some(batch);
        }
        Ok(())
    }

    /// The cluster time of the reply's first event.
    fn first_time(&self, batch: &Batch) -> Result<Option<ClusterTime>, Failure> {
        let first = self.malformed(batch.events())?.elements().next();
        let event = self.malformed(first.transpose())?.and_then(raw::Element::as_document);
        let time = event.map_or(Ok(None), |event| event.get("clusterTime"));
        Ok(self.malformed(time)?.and_then(raw::Element::as_timestamp))
    }

    /// Does what the snapshot says.
    pub(super) async fn copy(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Rows(rows, time) => self.publish_rows(&rows, time).await?,
            Event::Deletes(deletes, time) => self.publish_deletes(&deletes, time).await?,
            Event::Planned => self.keep_plan().await?,
            Event::WaveOver => {
                if let Some(batch) = self.held.take() {
                    self.publish(&batch).await?;
                }
            }
        }
        self.snapshot.look_at_clock(self.held.is_some());
        Ok(())
    }

    /// Hands all rows of a range to Kafka, in groups; the plan moves on with the last of them.
    async fn publish_rows(&mut self, rows: &Rows, time: ClusterTime) -> Result<(), Failure> {
        let mut group = self.begin_group();
        let mut bytes = Vec::new();
        for document in rows.documents() {
            bytes.clear();
            let row = document.and_then(|row| snapshot::write_row(&rows.namespace, &rows.key, row, bytes));
            bytes = self.malformed_row(&rows.namespace, row)?;
            group = self.publish_row(&rows.namespace, &bytes, time, group).await?;
        }
        self.snapshot.finish(&rows.step);
        self.end_step(&group).await
    }

    /// Hands on that these documents are not there any more.
    async fn publish_deletes(&mut self, deletes: &Deletes, time: ClusterTime) -> Result<(), Failure> {
        let mut group = self.begin_group();
        let mut bytes = Vec::new();
        for key in &deletes.keys {
            bytes.clear();
            let delete = raw::Document::new(key)
                .and_then(|key| snapshot::write_delete(&deletes.namespace, key, bytes));
            bytes = self.malformed_row(&deletes.namespace, delete)?;
            group = self.publish_row(&deletes.namespace, &bytes, time, group).await?;
        }
        self.snapshot.finish_sweep(deletes);
        self.end_step(&group).await
    }

    /// Hands on an event that was made at `time`; gives the group that is open then.
    async fn publish_row(
        &mut self,
        namespace: &Namespace,
        event: &[u8],
        time: ClusterTime,
        mut group: Group,
    ) -> Result<Group, Failure> {
        let event = raw::Document::new(event).map_err(decode::Error::from).and_then(decode::decode);
        let change = Change { snapshot: true, time: Some(time), ..self.malformed_row(namespace, event)? };
        self.delivery.change(&change, None, &mut group).await?;
        if group.records < GROUP_RECORDS && group.bytes < GROUP_BYTES {
            return Ok(group);
        }
        self.end_group(&group, self.read.clone()).await?;
        Ok(self.begin_group())
    }

    /// Closes the last group of a step of the snapshot.
    async fn end_step(&mut self, group: &Group) -> Result<(), Failure> {
        self.read = self.read.with_snapshot(self.snapshot.plan());
        self.end_group(group, self.read.clone()).await?;
        self.account()
    }

    /// The plan has changed: so has the position, once everything that is on its way is acknowledged.
    async fn keep_plan(&mut self) -> Result<(), Failure> {
        let group = self.begin_group();
        self.end_step(&group).await
    }

    /// Whether changes may mean something for the snapshot.
    pub(super) fn has_to_follow(&self) -> bool {
        !self.snapshot.plan().is_empty() || self.settings.signal_collection.is_some()
    }

    /// What a change means for the snapshot, now that it is handed on.
    pub(super) async fn follow(&mut self, change: &Change<'_>) -> Result<(), Failure> {
        let Some(db) = change.db else { return Ok(()) };
        if self.is_signal(change) {
            return self.signal(change).await;
        }
        let own = change.coll.map(|coll| Namespace { db: db.to_owned(), coll: coll.to_owned() });
        let has_changed = match (change.operation, own) {
            ("drop", Some(own)) => self.snapshot.rename(&own, None),
            ("rename", Some(own)) => {
                let to = self.malformed(change.event.get("to"))?.and_then(raw::Element::as_document);
                let part =
                    |name| to.and_then(|to| to.get(name).ok().flatten()).and_then(raw::Element::as_str);
                let to = part("db").zip(part("coll"));
                let to = to.map(|(db, coll)| Namespace { db: db.to_owned(), coll: coll.to_owned() });
                self.snapshot.rename(&own, to.as_ref())
            }
            _ => false,
        };
        if has_changed {
            self.read = self.read.with_snapshot(self.snapshot.plan());
        }
        Ok(())
    }

    /// Whether the change is of the signal collection.
    pub(super) fn is_signal(&self, change: &Change<'_>) -> bool {
        let signals = self.settings.signal_collection.as_ref();
        signals.is_some_and(|own| change.db == Some(&own.db) && change.coll == Some(&own.coll))
    }

    /// Whether the change is one of what is watched. Signals are often not.
    pub(super) fn is_watched(&self, change: &Change<'_>) -> bool {
        let watch = &self.settings.watch;
        !self.is_signal(change)
            || change.db.zip(change.coll).is_some_and(|(db, coll)| watch.matches(db, coll))
    }

    /// Does what an inserted document says. One that cannot be followed is not worth stopping for.
    async fn signal(&mut self, change: &Change<'_>) -> Result<(), Failure> {
        let Some(document) = change.full_document.filter(|_| change.operation == "insert") else {
            return Ok(());
        };
        let outcome = match bson::deserialize_from_slice(document.as_bytes()) {
            Ok(document) => match read_signal(&document) {
                Ok(ask) => self.answer(&ask).await?,
                Err(error) => Err(error),
            },
            Err(error) => Err(error.to_string()),
        };
        let (source, time) = (&self.settings.name, change.time.unwrap_or_default());
        match outcome {
            Ok(answer) => {
                tracing::info!(source, %time, collections = answer.collections.len(), "signal followed");
            }
            Err(error) => tracing::warn!(source, %time, error, "a signal cannot be followed"),
        }
        Ok(())
    }

    /// Does what is asked for from outside.
    pub(super) async fn request(&mut self, Request { ask, answer }: Request) -> Result<(), Failure> {
        if answer.is_closed() {
            return Ok(());
        }
        let outcome = self.answer(&ask).await?;
        if outcome.is_ok() {
            self.keep_plan().await?;
        }
        if answer.send(outcome).is_err() {
            tracing::debug!(source = self.settings.name, "nobody waits for the answer any more");
        }
        Ok(())
    }

    /// Changes the plan as asked; the refusal, where it cannot be done.
    async fn answer(&mut self, ask: &Ask) -> Result<Result<Answer, String>, Failure> {
        let names = match ask {
            Ask::Cancel => {
                let collections = self.snapshot.plan().namespaces();
                let documents = self.snapshot.plan().estimate();
                self.snapshot.cancel();
                self.read = self.read.with_snapshot(self.snapshot.plan());
                tracing::info!(
                    source = self.settings.name,
                    collections = collections.len(),
                    "the snapshot is cancelled"
                );
                return Ok(Ok(Answer { collections, documents }));
            }
            Ask::Snapshot(names) => names,
        };
        let collections = match names.iter().map(|name| self.watched(name)).collect::<Result<Vec<_>, _>>() {
            Ok(collections) => collections,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let waiting = match snapshot::estimated(&self.client, collections.clone()).await {
            Ok(waiting) => waiting,
            Err(failure) => return Ok(Err(failure.message)),
        };
        let documents = waiting.iter().map(|waiting| waiting.estimate).sum();
        self.snapshot.add(waiting);
        self.read = self.read.with_snapshot(self.snapshot.plan());
        tracing::info!(
            source = self.settings.name,
            collections = collections.len(),
            documents,
            "a snapshot is asked for"
        );
        Ok(Ok(Answer { collections, documents }))
    }

    fn watched(&self, name: &str) -> Result<Namespace, String> {
        let namespace = Namespace::parse(name).map_err(|error| format!("{name:?} {error}"))?;
        if self.settings.watch.matches(&namespace.db, &namespace.coll) {
            return Ok(namespace);
        }
        Err(format!("{namespace} is not watched by source {}", self.settings.name))
    }

    /// Copies what is left, without a stream; ends when everything is acknowledged.
    pub(in crate::source) async fn run_without_stream(&mut self) -> Result<(), Failure> {
        let stop = self.stop.clone();
        while !self.snapshot.plan().is_empty() && !stop.is_cancelled() {
            tokio::select! {
                now = mongo::operation_time(&self.client) => self.snapshot.begin_wave(now?),
                () = stop.cancelled() => break,
            }
            self.ready.store(true, std::sync::atomic::Ordering::Relaxed);
            while self.snapshot.is_reading() && !stop.is_cancelled() {
                tokio::select! {
                    event = self.snapshot.next() => self.copy(event?).await?,
                    request = self.requests.next() => self.request(request).await?,
                    () = self.publisher.reports().changed() => self.account()?,
                    failure = self.keeper.failed() => return Err(failure),
                    () = stop.cancelled() => {}
                }
            }
            tokio::select! {
                () = tokio::time::sleep(self.snapshot.pause()) => {}
                () = stop.cancelled() => {}
            }
        }
        self.drain().await
    }

    fn malformed_row<T, E: std::fmt::Display>(
        &self,
        namespace: &Namespace,
        outcome: Result<T, E>,
    ) -> Result<T, Failure> {
        outcome.map_err(|error| {
            Failure::stop(format!("source {}: a document of {namespace}: {error}", self.settings.name))
        })
    }
}

/// `{type: "snapshot", namespaces: ["db.coll", …]}` or `{type: "cancel_snapshot"}`.
fn read_signal(signal: &bson::Document) -> Result<Ask, String> {
    match signal.get_str("type") {
        Ok("cancel_snapshot") => Ok(Ask::Cancel),
        Ok("snapshot") => {
            let namespaces = signal.get_array("namespaces").map_err(|_| "has no array `namespaces`")?;
            let names = namespaces.iter().map(|name| name.as_str().map(str::to_owned));
            match names.collect::<Option<Vec<_>>>() {
                Some(names) if !names.is_empty() => Ok(Ask::Snapshot(names)),
                _ => Err("`namespaces` has to be names of collections, like \"db.coll\"".to_owned()),
            }
        }
        _ => Err("`type` is neither \"snapshot\" nor \"cancel_snapshot\"".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    #[test]
    fn signals_say_what_they_want() {
        let ask = |names: &[&str]| Ok(Ask::Snapshot(names.iter().map(|name| String::from(*name)).collect()));
        assert_eq!(
            read_signal(&doc! { "type": "snapshot", "namespaces": ["a.b", "a.c"] }),
            ask(&["a.b", "a.c"])
        );
        assert_eq!(read_signal(&doc! { "type": "cancel_snapshot" }), Ok(Ask::Cancel));
        for wrong in [
            doc! {},
            doc! { "type": "snapshot" },
            doc! { "type": "snapshot", "namespaces": [] },
            doc! { "type": "snapshot", "namespaces": [1] },
            doc! { "type": "execute-snapshot" },
        ] {
            assert!(read_signal(&wrong).is_err(), "{wrong}");
        }
    }
}
