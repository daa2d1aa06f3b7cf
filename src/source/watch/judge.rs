//! What the end of a cursor means. Pure.

use mongodb::error::Error;

use crate::{
    config,
    mongo::{self, codes},
    position::Position,
    retry::{Failure, Verdict},
};

/// What the end of a cursor means.
#[derive(Debug)]
pub enum Ending {
    /// It may pass: the stream is opened again after a pause.
    Passes(Failure),
    /// The server does not know this token, or not for this stream; the time that it stands for may be known.
    TokenRefused(String),
    /// The position is no longer in the oplog.
    HistoryLost(String),
    /// An event does not fit into a reply.
    TooLarge(String),
    /// Somebody has to act.
    Stops(Failure),
}

/// Resume tokens that are unknown or unsound. The higher ones have no names; they are those of a token that is not
/// found (older servers) and of one that cannot be read.
const TOKEN_REFUSED: [i32; 6] =
    [codes::INVALID_RESUME_TOKEN, codes::CHANGE_STREAM_FATAL_ERROR, 40_576, 40_615, 40_647, 50_811];

/// Commands that are refused whenever they are sent.
const REFUSED: [i32; 13] = [
    codes::BAD_VALUE,
    codes::FAILED_TO_PARSE,
    codes::TYPE_MISMATCH,
    codes::ILLEGAL_OPERATION,
    codes::COMMAND_NOT_FOUND,
    codes::INVALID_OPTIONS,
    codes::INVALID_NAMESPACE,
    codes::COMMAND_NOT_SUPPORTED,
    codes::INVALID_PIPELINE_OPERATOR,
    40,  // ConflictingUpdateOperators
    52,  // DollarPrefixedFieldName
    241, // ConversionFailure
    323, // APIStrictError
];

/// Codes from here on have no name: they belong to one place in the server's source, mostly where pipelines are read.
const FIRST_UNNAMED: i32 = 14_000;

/// What `error` means for the stream at `position`.
pub fn judge(settings: &config::Source, position: &Position, error: &Error) -> Ending {
    let name = &settings.name;
    let reason = mongo::describe(error);
    let stops = |message: String| Ending::Stops(Failure::stop(format!("source {name}: {message}")));
    let Some(code) = mongo::code(error) else { return other(name, error) };
    match code {
        codes::CHANGE_STREAM_HISTORY_LOST => Ending::HistoryLost(reason),
        // The cursor fell behind the oplog; whether the position has left it too is seen when it is opened again.
        codes::CAPPED_POSITION_LOST => other(name, error),
        code if TOKEN_REFUSED.contains(&code) => Ending::TokenRefused(reason),
        codes::BSON_OBJECT_TOO_LARGE | codes::SPLIT_FAILED => Ending::TooLarge(reason),
        codes::CHANGE_STREAM_NEEDS_REPLICA_SET => {
            stops(format!("change streams need a replica set or a sharded cluster ({reason})"))
        }
        codes::NO_MATCHING_DOCUMENT => stops(format!(
            "after {position}: an image that is \"required\" is not there ({reason}); let the collection keep images \
             (changeStreamPreAndPostImages), or set \"whenAvailable\" and list the collections that must have them in \
             require_full_document or require_before_change"
        )),
        codes::UNKNOWN_FIELD if settings.stream.show_expanded_events => stops(format!(
            "the server does not know an option of the stream; show_expanded_events needs MongoDB 6.0 ({reason})"
        )),
        code if REFUSED.contains(&code) || code >= FIRST_UNNAMED => stops(format!(
            "after {position}: the server refuses the change stream ({reason}); check pipeline, collation and the other \
             options of [sources.{name}] against the server's version"
        )),
        _ => other(name, error),
    }
}

fn other(name: &str, error: &Error) -> Ending {
    let failure = mongo::failure(&format!("change stream of source {name}"), error);
    match failure.verdict {
        Verdict::Retry => Ending::Passes(failure),
        Verdict::Stop => Ending::Stops(failure),
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;
    use mongodb::error::{CommandError, ErrorKind};

    use super::*;
    use crate::config::{ClusterTime, tests::source};

    fn error(code: i32) -> Error {
        let reply = doc! { "code": code, "codeName": "Name", "errmsg": "reason" };
        let error: CommandError = bson::deserialize_from_document(reply).expect("an error of the server");
        ErrorKind::Command(error).into()
    }

    fn judged(lines: &str, code: i32) -> String {
        let position = Position::at_time(0, ClusterTime { seconds: 7, increment: 2 });
        match judge(&source(lines), &position, &error(code)) {
            Ending::Passes(_) => "passes".into(),
            Ending::TokenRefused(_) => "token refused".into(),
            Ending::HistoryLost(_) => "history lost".into(),
            Ending::TooLarge(_) => "too large".into(),
            Ending::Stops(failure) => failure.message,
        }
    }

    #[test]
    fn errors_are_told_apart_by_their_codes() {
        for (code, expected) in [
            (286, "history lost"),
            (136, "passes"),
            (260, "token refused"),
            (280, "token refused"),
            (50_811, "token refused"),
            (10_334, "too large"),
            (7_182_500, "too large"),
            (40_573, "need a replica set"),
            (47, "require_full_document"),
            (40_324, "check pipeline"),
            (20, "check pipeline"),
            (13, "lacks the right"),
            // A primary that steps down, a cursor that was killed, one that is to be opened again.
            (189, "passes"),
            (10_107, "passes"),
            (11_600, "passes"),
            (13_436, "passes"),
            (43, "passes"),
            (222, "passes"),
            (234, "passes"),
        ] {
            let found = judged("", code);
            assert!(found.contains(expected), "{code}: {found}");
        }
    }

    #[test]
    fn an_option_that_an_old_server_does_not_know_is_named() {
        let found = judged("show_expanded_events = true", 40_415);
        assert!(found.contains("show_expanded_events needs MongoDB 6.0"), "{found}");
        assert!(judged("", 40_415).contains("check pipeline"));
    }
}
