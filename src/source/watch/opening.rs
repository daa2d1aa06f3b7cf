//! What is asked of the server to open a change stream. Pure.
//!
//! Our own filter comes first, then the user's stages, then what an event is reduced to (if it is), and last the stage
//! that splits events over 16 MB, which has to be the last.

use std::time::Duration;

use bson::{Document, Timestamp, doc};
use mongodb::options::{AggregateOptions, Collation, ReadConcern, ReadPreference, SelectionCriteria};

use super::pipeline::{self, Comparing, Scope};
use crate::{
    config::{self, BeforeChange, FullDocument},
    position::Position,
};

/// The stage that splits events over 16 MB.
const SPLIT: &str = "$changeStreamSplitLargeEvent";

/// Everything that is sent.
#[derive(Clone, Debug)]
pub struct Opening {
    /// The pipeline.
    pub stages: Vec<Document>,
    /// Most events in one reply.
    pub batch_size: u32,
    max_await: Duration,
    comment: String,
    collation: Option<Collation>,
    read_preference: Option<ReadPreference>,
}

/// How much of each event is asked for, and how many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All, and at most so many at once.
    Whole(u32),
    /// All, one event at a time: an error then concerns the event right after the position.
    OneByOne,
    /// One event, as little as this of it.
    One(Reduction),
}

/// What is left out of an event that does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// These of its members. They are taken away behind the user's stages, which may look at them.
    Without(&'static [&'static str]),
    /// The same, and the server does not look for images in the first place.
    WithoutLooking(&'static [&'static str]),
    /// All but what says which event it is.
    Essence,
    /// The same, without looking for images in the first place.
    EssenceWithoutLooking,
}

impl Reduction {
    fn looks_for_images(self) -> bool {
        matches!(self, Self::Without(_) | Self::Essence)
    }

    fn stage(self) -> Document {
        match self {
            Self::Without(members) | Self::WithoutLooking(members) => doc! { "$unset": members.to_vec() },
            Self::Essence | Self::EssenceWithoutLooking => doc! { "$project": {
                "_id": 1, "operationType": 1, "clusterTime": 1, "ns": 1, "documentKey": 1,
            } },
        }
    }
}

impl Opening {
    /// The opening at `position`. `splits` says whether the server may be asked to split large events.
    pub fn new(
        settings: &config::Source,
        scope: &Scope,
        position: &Position,
        splits: bool,
        extent: Extent,
    ) -> Self {
        let stream = &settings.stream;
        let mut stages = vec![doc! { "$changeStream": change_stream(stream, scope, position, extent) }];
        let comparing =
            if stream.collation.is_some() { Comparing::DespiteCollation } else { Comparing::Plainly };
        let filter = pipeline::filter(&settings.streamed(), scope, comparing);
        stages.extend(filter.map(|filter| doc! { "$match": filter }));
        stages.extend(stream.pipeline.iter().filter(|stage| !stage.contains_key(SPLIT)).cloned());
        if let Extent::One(reduction) = extent {
            stages.push(reduction.stage());
        }
        if splits {
            stages.push(doc! { SPLIT: {} });
        }
        Self {
            stages,
            batch_size: match extent {
                Extent::Whole(events) => events,
                Extent::OneByOne | Extent::One(_) => 1,
            },
            max_await: stream.max_await,
            comment: stream.comment.clone(),
            collation: stream.collation.clone(),
            read_preference: stream.read_preference.clone(),
        }
    }

    /// The command's options.
    pub fn options(&self) -> AggregateOptions {
        let mut options = AggregateOptions::builder()
            .read_concern(ReadConcern::majority())
            .max_await_time(self.max_await)
            .batch_size(self.batch_size)
            .comment(bson::Bson::String(self.comment.clone()))
            .build();
        options.collation.clone_from(&self.collation);
        options.selection_criteria = self.read_preference.clone().map(SelectionCriteria::ReadPreference);
        options
    }
}

/// The options of the stage `$changeStream`.
fn change_stream(stream: &config::Stream, scope: &Scope, position: &Position, extent: Extent) -> Document {
    let mut options = Document::new();
    if *scope == Scope::Deployment {
        options.insert("allChangesForCluster", true);
    }
    let looks_for_images = !matches!(extent, Extent::One(reduction) if !reduction.looks_for_images());
    if looks_for_images {
        options.extend(images(stream));
    }
    if stream.show_expanded_events {
        options.insert("showExpandedEvents", true);
    }
    // startAfter takes every token that resumeAfter takes, and those of invalidate events too.
    match &position.token {
        Some(token) => {
            let token =
                bson::deserialize_from_slice::<Document>(token.as_bytes()).expect("tokens are documents");
            options.insert("startAfter", token)
        }
        None => options.insert(
            "startAtOperationTime",
            Timestamp { time: position.time.seconds, increment: position.time.increment },
        ),
    };
    options
}

fn images(stream: &config::Stream) -> Document {
    let mut options = Document::new();
    let after = match stream.full_document {
        FullDocument::Default => None,
        FullDocument::UpdateLookup => Some("updateLookup"),
        FullDocument::WhenAvailable => Some("whenAvailable"),
        FullDocument::Required => Some("required"),
    };
    options.extend(after.map(|after| ("fullDocument".to_owned(), after.into())));
    let before = match stream.full_document_before_change {
        BeforeChange::Off => None,
        BeforeChange::WhenAvailable => Some("whenAvailable"),
        BeforeChange::Required => Some("required"),
    };
    options.extend(before.map(|before| ("fullDocumentBeforeChange".to_owned(), before.into())));
    options
}

/// Whether a server of this version (`buildInfo`'s `versionArray`) has the stage that splits large events: 6.0.9 and
/// later of 6.0, and from 7.0 on. The rapid releases between them were made before.
pub(super) fn can_split(version: &[i32]) -> bool {
    match *version {
        [6, 0, patch, ..] => patch >= 9,
        [major, ..] => major >= 7,
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{ClusterTime, tests::source},
        position::ResumeToken,
    };

    fn opening(lines: &str, splits: bool, extent: Extent) -> Opening {
        let settings = source(lines);
        let position = Position::at_time(0, ClusterTime { seconds: 7, increment: 2 });
        Opening::new(&settings, &pipeline::scope(&settings.watch), &position, splits, extent)
    }

    #[test]
    fn nothing_is_sent_that_was_not_asked_for() {
        let opening = opening("", false, Extent::Whole(5000));
        let start = doc! { "startAtOperationTime": Timestamp { time: 7, increment: 2 } };
        assert_eq!(opening.stages, [doc! { "$changeStream": start }]);
        let options = opening.options();
        assert_eq!((options.batch_size, options.selection_criteria), (Some(5_000), None));
        assert!(options.collation.is_none());
        assert_eq!(options.comment, Some("millrace source shop".into()));
    }

    #[test]
    fn what_was_asked_for_is_sent_in_the_servers_words() {
        let opening = opening(
            "pipeline = '[{\"$match\": {\"operationType\": \"insert\"}}, {\"$unset\": \"x\"}]'\n\
             full_document = \"updateLookup\"\nfull_document_before_change = \"whenAvailable\"\n\
             show_expanded_events = true\ncollation = '{\"locale\": \"de\", \"strength\": 2}'\ncomment = \"c\"\n\
             batch_size = 7\nmax_await = \"250ms\"\nread_preference = \"secondaryPreferred\"",
            true,
            Extent::Whole(7),
        );
        assert_eq!(
            opening.stages,
            [
                doc! { "$changeStream": {
                    "fullDocument": "updateLookup",
                    "fullDocumentBeforeChange": "whenAvailable",
                    "showExpandedEvents": true,
                    "startAtOperationTime": Timestamp { time: 7, increment: 2 },
                } },
                doc! { "$match": { "operationType": "insert" } },
                doc! { "$unset": "x" },
                doc! { "$changeStreamSplitLargeEvent": {} },
            ]
        );
        let options = opening.options();
        assert_eq!((options.batch_size, options.max_await_time), (Some(7), Some(Duration::from_millis(250))));
        assert_eq!(options.comment, Some("c".into()));
        assert_eq!(options.collation.map(|collation| collation.locale), Some("de".to_owned()));
        let secondary =
            SelectionCriteria::ReadPreference(ReadPreference::SecondaryPreferred { options: None });
        assert_eq!(options.selection_criteria, Some(secondary));
    }

    #[test]
    fn a_token_is_started_after_whatever_its_event_was() {
        let settings = source("");
        let position = Position::at_time(0, ClusterTime::default()).after(ResumeToken::from_data("82AB"));
        let scope = pipeline::scope(&settings.watch);
        let opening = Opening::new(&settings, &scope, &position, false, Extent::Whole(5000));
        assert_eq!(opening.stages, [doc! { "$changeStream": { "startAfter": { "_data": "82AB" } } }]);
    }

    #[test]
    fn an_event_is_reduced_behind_the_users_stages_and_before_it_is_split() {
        let lines = "pipeline = '[{\"$match\": {\"fullDocument.a\": 1}}, {\"$changeStreamSplitLargeEvent\": {}}]'\n\
                     full_document = \"updateLookup\"";
        for (reduction, looks, stage) in [
            (Reduction::Without(&["fullDocument"]), true, doc! { "$unset": ["fullDocument"] }),
            (Reduction::WithoutLooking(&["fullDocument"]), false, doc! { "$unset": ["fullDocument"] }),
        ] {
            let opening = opening(lines, true, Extent::One(reduction));
            let first = opening.stages[0].get_document("$changeStream").expect("the first stage");
            assert_eq!(first.contains_key("fullDocument"), looks);
            let rest = [doc! { "$match": { "fullDocument.a": 1 } }, stage, doc! { SPLIT: {} }];
            assert_eq!(opening.stages[1..], rest);
            assert_eq!(opening.batch_size, 1);
        }
        let essence = opening(lines, false, Extent::One(Reduction::Essence));
        let project = essence.stages[2].get_document("$project").expect("a projection");
        assert!(project.contains_key("_id") && !project.contains_key("fullDocument"));
    }

    #[test]
    fn servers_that_split_are_told_by_their_version() {
        for (version, expected) in [
            (vec![5, 0, 31, 0], false),
            (vec![6, 0, 5, 0], false),
            (vec![6, 0, 9, 0], true),
            (vec![6, 0, 27, 0], true),
            (vec![6, 3, 1, 0], false),
            (vec![7, 0, 0, 0], true),
            (vec![8, 2, 1, 0], true),
            (vec![], false),
        ] {
            assert_eq!(can_split(&version), expected, "{version:?}");
        }
    }
}
