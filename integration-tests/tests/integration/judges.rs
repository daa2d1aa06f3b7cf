//! The judges judge rightly: what they let pass is what design promises, and nothing else.

use integration_tests::{
    ledger::Event,
    observe::Steps,
    order::{self, Summary},
    replay::Replay,
    topic::{Ends, Record, Visitor},
};

fn event(key: u8, token: &str) -> Event {
    Event {
        token: token.to_owned(),
        operation: "update".to_owned(),
        collection: "c".to_owned(),
        key: vec![key],
    }
}

/// The events of keys 1 and 2, interleaved.
fn events() -> Vec<Event> {
    vec![event(1, "A0"), event(2, "A1"), event(1, "A2"), event(1, "A3"), event(2, "A4")]
}

fn record(key: u8, offset: i64, token: &str) -> Record {
    let value = format!("{{\"_id\": {{\"_data\": \"{token}\"}}}}");
    Record {
        topic: "db.c".to_owned(),
        partition: i32::from(key),
        offset,
        key: Some(vec![key]),
        value: Some(value.into_bytes()),
        timestamp: None,
        headers: Vec::new(),
    }
}

/// The records of key 1 in this order, then all of key 2 as they were.
fn judge(tokens_of_key_1: &[&str], kills: usize) -> Result<Summary, String> {
    let first = tokens_of_key_1.iter().enumerate().map(|(at, token)| record(1, at as i64, token));
    let records: Vec<Record> = first.chain([record(2, 0, "A1"), record(2, 1, "A4")]).collect();
    order::check(&events(), &records, kills).map_err(|error| format!("{error:#}"))
}

#[test]
fn a_topic_with_every_event_once_and_in_order_passes() {
    let expected = Summary { event_count: 5, repeat_count: 0, most_restarts: 0 };
    assert_eq!(judge(&["A0", "A2", "A3"], 0), Ok(expected));
}

#[test]
fn a_replay_after_a_kill_passes_once_per_kill() {
    let replayed = ["A0", "A2", "A0", "A2", "A3"];
    let expected = Summary { event_count: 5, repeat_count: 2, most_restarts: 1 };
    assert_eq!(judge(&replayed, 1), Ok(expected));
    let error = judge(&replayed, 0).expect_err("nobody was killed");
    assert!(error.contains("a new run"), "{error}");
}

#[test]
fn a_repeat_of_the_same_event_is_a_new_run() {
    assert!(judge(&["A0", "A2", "A2", "A3"], 0).is_err());
    assert!(judge(&["A0", "A2", "A2", "A3"], 1).is_ok());
}

#[test]
fn a_missing_event_is_found_wherever_it_is() {
    for present in [&["A0", "A2"][..], &["A0", "A3"], &["A2", "A3"], &[]] {
        assert!(judge(present, 5).is_err(), "{present:?}");
    }
}

#[test]
fn a_replay_that_skips_inside_what_is_there_is_found() {
    let error = judge(&["A0", "A2", "A3", "A0", "A3"], 1).expect_err("A2 is skipped in the second run");
    assert!(error.contains("a new run"), "{error}");
}

#[test]
fn an_event_that_never_happened_is_found() {
    let error = judge(&["A0", "A2", "A3", "B0"], 5).expect_err("B0 is unknown");
    assert!(error.contains("no such event"), "{error}");
}

#[test]
fn records_of_one_document_in_two_partitions_are_found() {
    let mut records: Vec<Record> = vec![record(1, 0, "A0"), record(1, 1, "A2"), record(1, 2, "A3")];
    records[2].partition = 7;
    records.extend([record(2, 0, "A1"), record(2, 1, "A4")]);
    let error = order::check(&events(), &records, 0).expect_err("key 1 is in two partitions");
    assert!(format!("{error:#}").contains("two keys or partitions"), "{error:#}");
}

/// A record of the document 1 for [`Replay`]: `row 2`, `insert`, `update 3` or `delete`, at a cluster time.
fn counted(what: &str, offset: i64, time: u32) -> Record {
    let (what, n) = what.split_once(' ').unwrap_or((what, "0"));
    let n: i64 = n.parse().expect("a number");
    let order = format!("82{time:08X}00000001FF");
    let mut event = bson::doc! { "_id": { "_data": &order }, "operationType": what };
    let mut headers = Vec::new();
    match what {
        "row" | "insert" => drop(event.insert("fullDocument", bson::doc! { "_id": 1, "n": n })),
        "update" => {
            let description = bson::doc! { "updatedFields": { "n": n }, "removedFields": [] };
            event.insert("updateDescription", description);
        }
        _ => {}
    }
    if what == "row" {
        event.insert("operationType", "insert");
        let header = |key: &str, value: &str| (key.to_owned(), Some(value.as_bytes().to_vec()));
        headers.extend([header("millrace.order", &order), header("millrace.snapshot", "true")]);
    }
    let value = Some(bson::serialize_to_vec(&event).expect("plain BSON"));
    Record {
        topic: "db.c".to_owned(),
        partition: 0,
        offset,
        key: Some(vec![1]),
        value,
        timestamp: None,
        headers,
    }
}

/// Each run's records, each with a cluster time; the offsets go on from run to run.
fn replayed(runs: &[&[(&str, u32)]]) -> Result<(), String> {
    let (mut ends, mut offset) = (Vec::new(), 0);
    for run in runs {
        offset += run.len() as i64;
        ends.push(Ends::from([(("db.c".to_owned(), 0), offset)]));
    }
    ends.pop();
    let mut replay = Replay::new(ends);
    for ((what, time), offset) in runs.iter().copied().flatten().zip(0..) {
        replay.visit(&counted(what, offset, *time)).map_err(|error| format!("{error:#}"))?;
    }
    Ok(())
}

#[test]
fn rows_between_the_right_events_pass_and_so_does_a_replay_by_a_later_run() {
    for runs in [
        &[&[("row", 1), ("update 1", 2), ("update 2", 3)][..]][..],
        &[&[("update 1", 2), ("row 1", 3), ("row 1", 4), ("update 2", 5), ("delete", 6)]],
        &[&[("insert", 2), ("row", 3), ("update 1", 4)]],
        &[&[("update 1", 2), ("update 2", 3)], &[("row 1", 2), ("update 2", 3), ("update 3", 4)]],
        &[&[("update 1", 2)], &[("update 1", 2), ("row 1", 3)], &[("row 1", 3), ("update 2", 4)]],
        &[&[("row", 1), ("delete", 2)], &[("delete", 2)]],
    ] {
        assert_eq!(replayed(runs), Ok(()), "{runs:?}");
    }
}

#[test]
fn a_row_behind_a_newer_event_or_before_an_older_one_is_found() {
    for runs in [
        &[&[("update 1", 2), ("row", 3)][..]][..],
        &[&[("update 1", 2), ("row 2", 3), ("update 2", 4)]],
        &[&[("row 1", 1), ("update 1", 2)]],
        &[&[("row", 1), ("delete", 2), ("row", 3)]],
        &[&[("row", 1), ("update 1", 2)], &[("row 1", 2), ("update 1", 3)]],
        &[&[("row", 1)], &[("row 1", 2)]],
        // The number is right and the order key is not.
        &[&[("row", 3), ("update 1", 2)]],
    ] {
        assert!(replayed(runs).is_err(), "{runs:?}");
    }
}

#[test]
fn an_event_that_is_skipped_beside_a_snapshot_is_found() {
    for runs in [
        &[&[("row", 1), ("update 2", 2)][..]][..],
        &[&[("update 2", 2)]],
        &[&[("row", 1), ("update 1", 2)], &[("update 3", 4)]],
    ] {
        assert!(replayed(runs).is_err(), "{runs:?}");
    }
}

/// What looks at a collection with one document that had these numbers (`None`: it was not there) show.
fn observed(numbers: &[Option<i64>], restarts: usize) -> Result<usize, String> {
    let mut steps = Steps::default();
    for number in numbers {
        steps.look(&number.iter().map(|&number| (7, number)).collect());
    }
    steps.check(restarts).map(|()| steps.most_backs()).map_err(|error| format!("{error:#}"))
}

#[test]
fn a_copy_goes_back_once_per_restart_and_ends_at_its_highest() {
    for (numbers, restarts, expected) in [
        (&[None, Some(0), Some(0), Some(4), Some(9)][..], 0, Ok(0)),
        (&[Some(0), Some(9), Some(3), Some(9), Some(10)], 1, Ok(1)),
        (&[Some(0), None, Some(0), None], 1, Ok(1)),
        (&[Some(0), Some(9), Some(3), Some(9)], 0, Err("went back 1 times")),
        (&[Some(4), Some(3), Some(2), Some(4)], 1, Err("went back 2 times")),
        (&[Some(0), Some(9), Some(3)], 1, Err("ended at 3, and 9")),
        (&[Some(0), None, Some(0)], 1, Err("ended at 0")),
        (&[None], 1, Err("no document")),
    ] {
        match (observed(numbers, restarts), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{numbers:?}"),
            (Err(error), Err(words)) => assert!(error.contains(words), "{numbers:?}: {error}"),
            (found, _) => panic!("{numbers:?}: {found:?}"),
        }
    }
}
