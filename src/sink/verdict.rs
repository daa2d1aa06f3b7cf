//! What to do about a write that the server refused: the one place where its error codes are judged. Pure.
//!
//! Codes and labels only, never texts: those change, and may quote documents. An unknown code stops the sink, because
//! to go on would be to lose the record. Codes:
//! <https://github.com/mongodb/mongo/blob/master/src/mongo/base/error_codes.yml>.

use super::{batch::Statement, command::Refused};
use crate::{config::Tolerance, namespace::Namespace};

/// What to do about one refused statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// Send it again.
    Again,
    /// The document is there: send it as a replace.
    Replace,
    /// The document is there under another spelling of its `_id` (1 and 1.0): delete it, then send it again.
    Recreate,
    /// The document is there, and must not be overwritten: it is a replay if it is the same.
    Compare,
    /// Another document has the value of a unique field; it may be about to give it up.
    Conflict,
    /// Somebody has to act.
    Stop,
}

/// What to do about a command that failed as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Send it again.
    Again,
    /// Somebody has to act.
    Stop,
}

const IMMUTABLE_FIELD: i32 = 66;
const DUPLICATE_KEY: i32 = 11000;

/// Judges one statement's error. `is_on_id`: a duplicate key is one of `_id`.
pub fn of_item(code: i32, statement: &Statement, is_on_id: bool) -> Item {
    match (code, statement) {
        (DUPLICATE_KEY, Statement::Insert(_)) if is_on_id => Item::Replace,
        (DUPLICATE_KEY, Statement::InsertOnly(_)) if is_on_id => Item::Compare,
        // Two upserts met; the other one has written the document by now.
        (DUPLICATE_KEY, _) if is_on_id => Item::Again,
        (DUPLICATE_KEY, _) => Item::Conflict,
        (IMMUTABLE_FIELD, Statement::Update(_)) => Item::Stop,
        (IMMUTABLE_FIELD, _) => Item::Recreate,
        (code, _) if is_transient(code) => Item::Again,
        _ => Item::Stop,
    }
}

/// Why the server refuses a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// Its code; none where there is no document that must be there.
    pub code: Option<i32>,
    /// What the server says. It may quote the document, so it belongs into dead letters only.
    pub message: String,
    /// The server's details, as relaxed Extended JSON. The same holds.
    pub details: String,
}

impl From<&Refused> for Reason {
    fn from(refused: &Refused) -> Self {
        Self { code: Some(refused.code), message: refused.message.clone(), details: refused.details.clone() }
    }
}

impl Reason {
    /// A code without words.
    pub fn of_code(code: i32) -> Self {
        Self { code: Some(code), message: explain(code).0.into(), details: "{}".into() }
    }

    /// There is no document that must be there.
    pub fn missing() -> Self {
        Self { code: None, message: "the document to update is not there".into(), details: "{}".into() }
    }

    /// Whether the record may be passed over. What lies outside of the record is only tolerated with everything else.
    pub fn is_tolerated(&self, tolerance: Tolerance) -> bool {
        match tolerance {
            Tolerance::None => false,
            Tolerance::Data => self.code.is_none_or(|code| !is_about_the_sink(code)),
            Tolerance::All => true,
        }
    }

    /// For the operator: what was refused, and what to do. Never quotes the document.
    pub fn explain(&self, namespace: &Namespace) -> String {
        match self.code {
            None => format!(
                "there is no document in {namespace} that the update is for; copy the collection first, or set missing_document"
            ),
            Some(code) => {
                let (name, remedy) = explain(code);
                format!("MongoDB refuses the write to {namespace} (code {code}, {name}); {remedy}")
            }
        }
    }
}

/// Errors that would meet any other record as well.
fn is_about_the_sink(code: i32) -> bool {
    matches!(code, 13 | 18 | 20 | 73 | 79 | 100 | 166 | 14031)
}

/// Judges the error of a whole command, or its write concern error.
pub fn of_command<'a>(code: i32, mut labels: impl Iterator<Item = &'a str>) -> Command {
    let is_transient_label = |label| {
        matches!(
            label,
            "RetryableWriteError" | "TransientTransactionError" | "RetryableError" | "SystemOverloadedError"
        )
    };
    match code {
        // No statement is named. Sent again, each one that meets a document is.
        DUPLICATE_KEY => Command::Again,
        code if is_transient(code) || labels.any(is_transient_label) => Command::Again,
        _ => Command::Stop,
    }
}

/// Errors that pass by themselves: elections, shutdowns, time limits, routing, overload.
pub(super) fn is_transient(code: i32) -> bool {
    matches!(
        code,
        6 // HostUnreachable
            | 7 // HostNotFound
            | 24 // LockTimeout
            | 46 // LockBusy
            | 50 // MaxTimeMSExpired
            | 63 // StaleShardVersion
            | 64 // WriteConcernFailed (its time limit)
            | 89 // NetworkTimeout
            | 91 // ShutdownInProgress
            | 112 // WriteConflict
            | 117 // ConflictingOperationInProgress
            | 133 // FailedToSatisfyReadPreference
            | 134 // ReadConcernMajorityNotAvailableYet
            | 150 // StaleEpoch
            | 189 // PrimarySteppedDown
            | 202 // NetworkInterfaceExceededTimeLimit
            | 246 // SnapshotUnavailable
            | 262 // ExceededTimeLimit
            | 365 // TemporarilyUnavailable
            | 391 // ReauthenticationRequired
            | 462 // IngressRequestRateLimitExceeded
            | 9001 // SocketException
            | 10107 // NotWritablePrimary
            | 11600 // InterruptedAtShutdown
            | 11601 // Interrupted (killOp)
            | 11602 // InterruptedDueToReplStateChange
            | 13388 // StaleConfig
            | 13435 // NotPrimaryNoSecondaryOk
            | 13436 // NotPrimaryOrSecondary
    )
}

/// The code's name and what to do about it, for the codes that a write meets.
pub fn explain(code: i32) -> (&'static str, &'static str) {
    match code {
        13 => ("Unauthorized", "grant the sink's user readWrite on the target database"),
        18 => ("AuthenticationFailed", "check user, password and authSource in the uri"),
        50 => ("MaxTimeMSExpired", "look at the load of the server"),
        64 => ("WriteConcernFailed", "a majority of the members has to be up"),
        100 => ("UnsatisfiableWriteConcern", "a majority of the members has to bear data"),
        2 => ("BadValue", "the server does not take this document; see its log"),
        20 => ("IllegalOperation", "the target must be a member of a replica set or mongos"),
        22 => ("InvalidBSON", "the server does not take this document"),
        IMMUTABLE_FIELD => ("ImmutableField", "the target has the document under another _id or shard key"),
        52 => ("DollarPrefixedFieldName", "the server takes no such name in an _id"),
        73 => ("InvalidNamespace", "change the sink's namespace"),
        79 => ("UnknownReplWriteConcern", "the target must be a member of a replica set or mongos"),
        121 => {
            ("DocumentValidationFailure", "relax the collection's validator or mend the record's producer")
        }
        166 => ("CommandNotSupportedOnView", "the target is a view; change the sink's namespace"),
        10334 | 17419 | 17420 => {
            ("BSONObjectTooLarge", "the document is larger than the 16 MB that MongoDB takes")
        }
        DUPLICATE_KEY => (
            "DuplicateKey",
            "another document has the value of a unique index; drop the index or mend the documents",
        ),
        91 => ("ShutdownInProgress", "wait for the server"),
        11600 => ("InterruptedAtShutdown", "wait for the server"),
        112 => ("WriteConflict", "look for long transactions on the same documents"),
        189 => ("PrimarySteppedDown", "wait for a primary, or name all members in the uri"),
        11602 => ("InterruptedDueToReplStateChange", "wait for a primary, or name all members in the uri"),
        10107 => ("NotWritablePrimary", "wait for a primary, or name all members in the uri"),
        14031 => ("OutOfDiskSpace", "give the server more space"),
        9 => ("FailedToParse", "mend the sink's write.update"),
        14 => ("TypeMismatch", "mend the sink's write.update or the documents"),
        28 => ("PathNotViable", "a field on the update's path is no document; mend the documents"),
        40 => ("ConflictingUpdateOperators", "mend the sink's write.update"),
        40324 => ("UnrecognizedStage", "updates without the full document need MongoDB 5.0 or later"),
        _ => ("unknown", "see the server's log"),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::body::Body, *};

    #[test]
    fn duplicates_depend_on_the_index_and_on_what_was_sent() {
        let body = || Body::whole(vec![5, 0, 0, 0, 0]);
        let insert = Statement::Insert(body());
        assert_eq!(of_item(11000, &insert, true), Item::Replace);
        assert_eq!(of_item(11000, &insert, false), Item::Conflict);
        assert_eq!(of_item(11000, &Statement::InsertOnly(body()), true), Item::Compare);
        assert_eq!(of_item(11000, &Statement::Replace(body()), true), Item::Again);
        assert_eq!(of_item(11000, &Statement::Replace(body()), false), Item::Conflict);
    }

    #[test]
    fn what_lies_outside_of_the_record_is_not_about_data() {
        for (code, data) in [(121, true), (11000, true), (999_999, true), (13, false), (73, false)] {
            let reason = Reason::of_code(code);
            let tolerated =
                [Tolerance::None, Tolerance::Data, Tolerance::All].map(|t| reason.is_tolerated(t));
            assert_eq!(tolerated, [false, data, true], "{code}");
        }
    }

    #[test]
    fn what_passes_by_itself_is_sent_again() {
        for code in [6, 7, 50, 64, 89, 91, 112, 134, 189, 262, 9001, 10107, 11600, 11602, 13435, 13436] {
            assert_eq!(of_item(code, &Statement::Delete, false), Item::Again, "{code}");
            assert_eq!(of_command(code, std::iter::empty()), Command::Again, "{code}");
        }
        assert_eq!(of_command(11000, std::iter::empty()), Command::Again);
        assert_eq!(of_command(1, ["RetryableWriteError"].into_iter()), Command::Again);
    }

    #[test]
    fn everything_else_stops() {
        for code in [0, 1, 2, 13, 18, 73, 100, 121, 166, 10334, 14031, 999_999] {
            assert_eq!(of_item(code, &Statement::Delete, false), Item::Stop, "{code}");
            assert_eq!(of_command(code, ["NoWritesPerformed"].into_iter()), Command::Stop, "{code}");
        }
        assert_eq!(of_item(66, &Statement::Delete, false), Item::Recreate);
    }
}
