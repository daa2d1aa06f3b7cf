//! Fragments of large events → whole events. Pure.
//!
//! A server that may split sends an event over 16 MB as several: each has the resume token of its own, a `splitEvent`
//! that says which of how many it is, and some of the event's members, no member in two of them
//! (<https://www.mongodb.com/docs/manual/reference/operator/aggregation/changeStreamSplitLargeEvent/>). The joined event
//! has the token of its last fragment. Until that has come, the stream stands before the first.

use crate::{
    position::ResumeToken,
    raw::{self, Document, Element, Writer},
};

/// Most bytes of one event. Two images and what changed are three documents of 16 MB.
const MOST_BYTES: usize = 64 << 20;

/// Members in the order in which the server writes them in events that it does not split; others follow.
const ORDER: [&[u8]; 13] = [
    b"_id",
    b"operationType",
    b"clusterTime",
    b"collectionUUID",
    b"wallTime",
    b"fullDocument",
    b"ns",
    b"to",
    b"documentKey",
    b"operationDescription",
    b"stateBeforeChange",
    b"updateDescription",
    b"fullDocumentBeforeChange",
];

/// The fragments of the event that is not complete yet.
#[derive(Debug, Default)]
pub(super) struct Joiner {
    fragments: Vec<Vec<u8>>,
    of: i64,
    bytes: usize,
}

/// A reply's events, where they are not those that the server sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Joined {
    /// An array of whole events.
    pub(super) events: Vec<u8>,
    /// The token of the last of them.
    pub(super) last: Option<ResumeToken>,
    /// Whether fragments wait for others of the next reply.
    pub(super) waits: bool,
}

/// Why fragments do not become an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    /// The bytes are not BSON, or a fragment does not say which it is.
    #[error(transparent)]
    Malformed(#[from] raw::Error),
    /// The stream began in the middle of an event: its token was made for other settings.
    #[error("the stream began in the middle of a split event")]
    BeganInside,
    /// Not the fragment that comes next.
    #[error("a fragment of a split event is missing")]
    Missing,
    /// Over [`MOST_BYTES`].
    #[error("a split event has more than {} MiB", MOST_BYTES >> 20)]
    TooLarge,
}

impl Joiner {
    /// Takes a reply's events; `None` when they are whole as they are.
    ///
    /// # Errors
    /// When fragments are missing or too many.
    pub(super) fn take(&mut self, events: Document<'_>) -> Result<Option<Joined>, Error> {
        let mut first_fragment = None;
        for (index, event) in events.elements().enumerate() {
            if fragment(document(event?)?)?.is_some() {
                first_fragment = Some(index);
                break;
            }
        }
        if first_fragment.is_none() && self.fragments.is_empty() {
            return Ok(None);
        }
        let mut writer = Writer::default();
        let mut last = None;
        let mut count = 0_usize;
        writer.begin();
        for event in events.elements() {
            let event = document(event?)?;
            let whole = match fragment(event)? {
                None if self.fragments.is_empty() => event.as_bytes().to_vec(),
                None => return Err(Error::Missing),
                Some(fragment) => match self.add(event, fragment)? {
                    Some(whole) => whole,
                    None => continue,
                },
            };
            let whole = Document::new(&whole)?;
            writer.document(count.to_string().as_bytes(), whole);
            count += 1;
            last = Some(token(event)?);
        }
        writer.end();
        let last = last.map(ResumeToken::new).transpose()?;
        Ok(Some(Joined { events: writer.into_bytes(), last, waits: !self.fragments.is_empty() }))
    }

    /// Adds one; gives the event if it is complete now.
    fn add(
        &mut self,
        event: Document<'_>,
        Fragment { number, of }: Fragment,
    ) -> Result<Option<Vec<u8>>, Error> {
        let next = i64::try_from(self.fragments.len()).expect("there are few") + 1;
        if number != next || (next > 1 && of != self.of) {
            return Err(if self.fragments.is_empty() { Error::BeganInside } else { Error::Missing });
        }
        self.of = of;
        self.bytes += event.as_bytes().len();
        if self.bytes > MOST_BYTES {
            return Err(Error::TooLarge);
        }
        self.fragments.push(event.as_bytes().to_vec());
        if number < of {
            return Ok(None);
        }
        let Self { fragments, .. } = std::mem::take(self);
        Ok(Some(join(&fragments)?))
    }
}

/// Which part of an event it is.
#[derive(Clone, Copy, Debug)]
struct Fragment {
    number: i64,
    of: i64,
}

fn fragment(event: Document<'_>) -> Result<Option<Fragment>, raw::Error> {
    let Some(split) = event.get("splitEvent")? else { return Ok(None) };
    let unusable = raw::Error { at: 4, what: "a fragment that does not say which it is" };
    let split = split.as_document().ok_or(unusable)?;
    let number = |name| Ok(split.get(name)?.and_then(Element::as_i64).ok_or(unusable));
    let (number, of) = (number("fragment")??, number("of")??);
    Ok(Some(Fragment { number, of }))
}

/// One event of all fragments' members, with the token of the last.
fn join(fragments: &[Vec<u8>]) -> Result<Vec<u8>, raw::Error> {
    let mut members = Vec::new();
    for (number, fragment) in fragments.iter().enumerate() {
        for element in Document::new(fragment)?.elements() {
            let element = element?;
            let is_wanted = match element.name {
                b"splitEvent" => false,
                b"_id" => number + 1 == fragments.len(),
                _ => true,
            };
            if is_wanted {
                members.push(element);
            }
        }
    }
    let place =
        |element: &Element<'_>| ORDER.iter().position(|name| *name == element.name).unwrap_or(ORDER.len());
    members.sort_by_key(place);
    let mut writer = Writer::default();
    writer.begin();
    for Element { name, kind, value } in members {
        writer.value(name, kind, value);
    }
    writer.end();
    Ok(writer.into_bytes())
}

fn document(event: Element<'_>) -> Result<Document<'_>, raw::Error> {
    event.as_document().ok_or(raw::Error { at: 0, what: "an event is no document" })
}

fn token(event: Document<'_>) -> Result<Document<'_>, raw::Error> {
    let token = event.get("_id")?.and_then(Element::as_document);
    token.ok_or(raw::Error { at: 4, what: "an event has no token" })
}

#[cfg(test)]
mod tests {
    use bson::{Bson, RawDocumentBuf, doc};

    use super::*;

    fn raw(document: &bson::Document) -> Vec<u8> {
        RawDocumentBuf::try_from(document).expect("encodes").into_bytes()
    }

    /// An array of events.
    fn reply(events: &[bson::Document]) -> Vec<u8> {
        let numbered =
            events.iter().enumerate().map(|(at, event)| (at.to_string(), Bson::from(event.clone())));
        raw(&numbered.collect())
    }

    fn whole(token: &str) -> bson::Document {
        doc! { "_id": {"_data": token}, "operationType": "insert" }
    }

    fn part(token: &str, number: i32, members: bson::Document) -> bson::Document {
        let mut event = doc! { "_id": {"_data": token}, "splitEvent": {"fragment": number, "of": 3} };
        event.extend(members);
        event
    }

    fn parts() -> [bson::Document; 3] {
        [
            part("82A1", 1, doc! { "operationType": "update", "ns": {"db": "d", "coll": "c"}, "other": 1 }),
            part("82A2", 2, doc! { "fullDocumentBeforeChange": {"_id": 1, "a": "before"} }),
            part("82A3", 3, doc! { "fullDocument": {"_id": 1, "a": "after"} }),
        ]
    }

    fn event() -> bson::Document {
        doc! {
            "_id": {"_data": "82A3"}, "operationType": "update", "fullDocument": {"_id": 1, "a": "after"},
            "ns": {"db": "d", "coll": "c"}, "fullDocumentBeforeChange": {"_id": 1, "a": "before"}, "other": 1,
        }
    }

    fn take(joiner: &mut Joiner, events: &[bson::Document]) -> Result<Option<Joined>, Error> {
        joiner.take(Document::new(&reply(events)).expect("an array"))
    }

    #[test]
    fn whole_events_stay_where_they_are() {
        assert_eq!(take(&mut Joiner::default(), &[whole("8201"), whole("8202")]), Ok(None));
        assert_eq!(take(&mut Joiner::default(), &[]), Ok(None));
    }

    #[test]
    fn fragments_become_one_event_with_the_last_token_and_the_usual_order_of_members() {
        let [first, second, third] = parts();
        let joined = take(&mut Joiner::default(), &[whole("8201"), first, second, third, whole("82B0")]);
        let joined = joined.expect("joins").expect("was rewritten");
        assert_eq!(joined.events, reply(&[whole("8201"), event(), whole("82B0")]));
        assert_eq!(joined.last, Some(ResumeToken::from_data("82B0")));
        assert!(!joined.waits);
    }

    #[test]
    fn between_fragments_the_stream_stands_before_the_first() {
        let [first, second, third] = parts();
        let mut joiner = Joiner::default();
        for (events, expected, last, waits) in [
            (vec![whole("8201"), first], vec![whole("8201")], Some("8201"), true),
            (vec![], vec![], None, true),
            (vec![second], vec![], None, true),
            (vec![third], vec![event()], Some("82A3"), false),
        ] {
            let joined = take(&mut joiner, &events).expect("joins").expect("was rewritten");
            assert_eq!(joined.events, reply(&expected));
            assert_eq!((joined.last, joined.waits), (last.map(ResumeToken::from_data), waits));
        }
        assert_eq!(take(&mut joiner, &[whole("82B0")]), Ok(None), "it is done");
    }

    #[test]
    fn what_is_no_complete_sequence_is_refused() {
        let [first, second, third] = parts();
        for (events, expected) in [
            (vec![second.clone()], Error::BeganInside),
            (vec![first.clone(), third], Error::Missing),
            (vec![first.clone(), first.clone()], Error::Missing),
            (vec![first, whole("82B0"), second], Error::Missing),
        ] {
            assert_eq!(take(&mut Joiner::default(), &events), Err(expected));
        }
        let strange = doc! { "_id": {"_data": "82"}, "splitEvent": {"fragment": 1} };
        assert!(matches!(take(&mut Joiner::default(), &[strange]), Err(Error::Malformed(_))));
    }

    #[test]
    fn an_event_has_a_largest_size() {
        let mut joiner = Joiner { bytes: MOST_BYTES, ..Joiner::default() };
        assert_eq!(take(&mut joiner, &parts()[..1]), Err(Error::TooLarge));
    }
}
