//! Taking a sink over: what the connector's consumer group has committed becomes what the sink's group has committed.
//!
//! Both groups have to be empty. A partition for which the connector has committed nothing is left to the sink, which
//! begins there at the first record, as the connector would. Done again, it changes nothing; it never goes back behind
//! what the sink has done itself.

use crate::{
    app::sink_group,
    config::{self, Settings},
    kafka::{self, Group, Offsets},
    retry::Failure,
};

/// A sink connector whose offsets are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkConnector {
    /// Its name.
    pub name: String,
    /// Its consumer group.
    pub group: String,
    /// The sink that goes on in its place.
    pub sink: String,
}

/// What was taken over for a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenOffsets {
    /// The connector's name.
    pub connector: String,
    /// The connector's group.
    pub from: String,
    /// The sink's group.
    pub to: String,
    /// The next offset of each partition.
    pub offsets: Offsets,
}

/// What was found, and can be committed.
#[derive(Debug)]
pub(super) struct Found {
    kafka: config::Kafka,
    taken: TakenOffsets,
}

/// Looks at the groups of `connectors`; commits nothing.
pub(super) async fn look(settings: &Settings, connectors: &[SinkConnector]) -> Result<Vec<Found>, Failure> {
    let mut found = Vec::new();
    for connector in connectors {
        let sink = settings.sinks.iter().find(|sink| sink.name == connector.sink).cloned();
        let sink =
            sink.ok_or_else(|| Failure::stop(format!("there is no sink for connector {}", connector.name)))?;
        let to = sink_group(&settings.name, &sink.name);
        let connector = connector.clone();
        let looking = tokio::task::spawn_blocking(move || {
            let offsets = offsets(&sink, &connector, &to)?;
            let taken = TakenOffsets { connector: connector.name, from: connector.group, to, offsets };
            Ok(Found { kafka: sink.kafka, taken })
        });
        let looked = looking.await.map_err(|error| Failure::retry(format!("looking at groups: {error}")))?;
        found.push(looked?);
    }
    Ok(found)
}

/// Commits what was found.
pub(super) async fn store(found: Vec<Found>) -> Result<Vec<TakenOffsets>, Failure> {
    let mut taken = Vec::new();
    for found in found {
        let storing = tokio::task::spawn_blocking(move || {
            let group = open(&found.kafka, &found.taken.to)?;
            group.commit(&found.taken.offsets)?;
            Ok(found.taken)
        });
        let stored = storing.await.map_err(|error| Failure::retry(format!("committing offsets: {error}")))?;
        taken.push(stored?);
    }
    Ok(taken)
}

/// What the connector has committed, if the sink's group can have it.
fn offsets(sink: &config::Sink, connector: &SinkConnector, to: &str) -> Result<Offsets, Failure> {
    let SinkConnector { name, group: from, .. } = connector;
    let theirs = open(&sink.kafka, from)?;
    let members = theirs.members()?;
    if members > 0 {
        return Err(Failure::stop(format!(
            "the connector's group {from} has {members} members, which still commit. Stop the connector (PUT \
             /connectors/{name}/stop), or its workers"
        )));
    }
    let own = open(&sink.kafka, to)?;
    let members = own.members()?;
    if members > 0 {
        return Err(Failure::stop(format!(
            "the sink's group {to} has {members} members: the sink is running"
        )));
    }
    let partitions = theirs.partitions(|topic| sink.reads(topic))?;
    choose(from, &theirs.committed(&partitions)?, to, &own.committed(&partitions)?).map_err(Failure::stop)
}

fn open(settings: &config::Kafka, group: &str) -> Result<Group, Failure> {
    Group::open(settings, &kafka::Context::new("import"), group)
}

/// What one group has committed, unless the other is further already. Pure.
fn choose(from: &str, theirs: &Offsets, to: &str, own: &Offsets) -> Result<Offsets, String> {
    if theirs.0.is_empty() {
        return Err(format!(
            "group {from} has committed nothing of the sink's topics; without --take-over the sink begins at the first \
             record"
        ));
    }
    for (place, next_offset) in &own.0 {
        let theirs = theirs.0.get(place);
        if theirs.is_none_or(|theirs| next_offset > theirs) {
            let ((topic, partition), at) = (place, theirs.map_or("nowhere".into(), ToString::to_string));
            return Err(format!(
                "the sink's group {to} is at {next_offset} of {topic}[{partition}] already, and group {from} is at \
                 {at}: the sink has gone on by itself"
            ));
        }
    }
    Ok(theirs.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_taken_unless_the_sink_is_further() {
        let offsets = |list: &[(&str, i64)]| {
            Offsets(list.iter().map(|(topic, next)| (((*topic).to_owned(), 0), *next)).collect())
        };
        let theirs = offsets(&[("a", 5), ("b", 7)]);
        for (own, is_taken) in [
            (&[][..], true),
            (&[("a", 5), ("b", 7)], true),
            (&[("a", 4)], true),
            (&[("a", 6)], false),
            (&[("c", 1)], false),
        ] {
            let chosen = choose("connect-x", &theirs, "own", &offsets(own));
            assert_eq!(chosen.is_ok(), is_taken, "{own:?}");
        }
        assert!(choose("connect-x", &offsets(&[]), "own", &offsets(&[])).is_err());
        assert_eq!(theirs.to_string(), "a[0] at 5, b[0] at 7");
    }
}
