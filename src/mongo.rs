//! MongoDB clients from settings, and what the driver's errors mean.
//!
//! Errors are judged by code and label, never by their text. The driver serves source, sink and checkpoints, so there
//! is no blanket conversion: whoever calls says what was being attempted.

use std::time::Duration;

use bson::{Document, doc, oid::ObjectId};
use mongodb::{
    Client,
    error::{Error, ErrorKind},
    options::ClientOptions,
};

use crate::{
    config::{self, ClusterTime},
    retry::Failure,
};

/// How long to look for a usable server before the attempt counts as failed. The driver's default, 30 s, keeps an
/// operator waiting for the first word about a mistyped host.
const SERVER_SELECTION_TIMEOUT: Duration = Duration::from_secs(5);

/// A client for the deployment. Connects lazily: an error here is one of the connection string.
///
/// # Errors
/// When the string cannot be resolved (SRV) or used.
pub async fn client(settings: &config::Mongodb) -> Result<Client, Failure> {
    let mut options = ClientOptions::parse(settings.uri.expose())
        .await
        .map_err(|error| failure("cannot resolve the MongoDB connection string", &error))?;
    options.app_name.get_or_insert_with(|| "millrace".to_owned());
    options.server_selection_timeout.get_or_insert(SERVER_SELECTION_TIMEOUT);
    Client::with_options(options).map_err(|error| failure("cannot use the MongoDB connection string", &error))
}

/// The server's error code, if the server answered at all.
pub fn code(error: &Error) -> Option<i32> {
    match error.kind.as_ref() {
        ErrorKind::Command(command) => Some(command.code),
        ErrorKind::Write(mongodb::error::WriteFailure::WriteError(write)) => Some(write.code),
        ErrorKind::Write(mongodb::error::WriteFailure::WriteConcernError(concern)) => Some(concern.code),
        ErrorKind::Authentication { .. } => Some(codes::AUTHENTICATION_FAILED),
        _ => None,
    }
}

/// Server error codes by name: <https://github.com/mongodb/mongo/blob/master/src/mongo/base/error_codes.yml>.
pub mod codes {
    #![allow(missing_docs, reason = "the names are the server's")]
    pub const BAD_VALUE: i32 = 2;
    pub const FAILED_TO_PARSE: i32 = 9;
    pub const UNAUTHORIZED: i32 = 13;
    pub const TYPE_MISMATCH: i32 = 14;
    pub const AUTHENTICATION_FAILED: i32 = 18;
    pub const ILLEGAL_OPERATION: i32 = 20;
    pub const CURSOR_NOT_FOUND: i32 = 43;
    pub const NO_MATCHING_DOCUMENT: i32 = 47;
    pub const NAMESPACE_EXISTS: i32 = 48;
    pub const COMMAND_NOT_FOUND: i32 = 59;
    pub const INVALID_OPTIONS: i32 = 72;
    pub const INVALID_NAMESPACE: i32 = 73;
    pub const COMMAND_NOT_SUPPORTED: i32 = 115;
    pub const CAPPED_POSITION_LOST: i32 = 136;
    pub const INVALID_PIPELINE_OPERATOR: i32 = 168;
    pub const INVALID_RESUME_TOKEN: i32 = 260;
    pub const CHANGE_STREAM_FATAL_ERROR: i32 = 280;
    pub const CHANGE_STREAM_HISTORY_LOST: i32 = 286;
    pub const COMMAND_NOT_SUPPORTED_ON_VIEW: i32 = 166;
    pub const SNAPSHOT_TOO_OLD: i32 = 239;
    pub const SNAPSHOT_UNAVAILABLE: i32 = 246;
    pub const BSON_OBJECT_TOO_LARGE: i32 = 10334;
    pub const NO_REPLICATION_ENABLED: i32 = 76;
    pub const CHANGE_STREAM_NEEDS_REPLICA_SET: i32 = 40573;
    pub const INTERRUPTED_AT_SHUTDOWN: i32 = 11600;
    pub const UNKNOWN_FIELD: i32 = 40415;
    /// One member of an event that is to be split is over 16 MB itself. Has no name.
    pub const SPLIT_FAILED: i32 = 7_182_500;
}

/// Whether there was no (complete) answer: the server is gone, changing or out of reach.
pub fn is_transport(error: &Error) -> bool {
    matches!(
        error.kind.as_ref(),
        ErrorKind::Io(_)
            | ErrorKind::ServerSelection { .. }
            | ErrorKind::ConnectionPoolCleared { .. }
            | ErrorKind::DnsResolve { .. }
    )
}

/// `what` failed with `error`: the verdict on it, in one line.
pub fn failure(what: &str, error: &Error) -> Failure {
    let reason = describe(error);
    match code(error).or_else(|| authentication_in_chain(error)) {
        Some(codes::AUTHENTICATION_FAILED) => Failure::stop(format!(
            "{what}: MongoDB refuses the credentials ({reason}); check user, password and authSource in the uri"
        )),
        Some(codes::UNAUTHORIZED) => Failure::stop(format!(
            "{what}: the MongoDB user lacks the right ({reason}); see README, Least rights"
        )),
        _ => match error.kind.as_ref() {
            ErrorKind::InvalidArgument { .. }
            | ErrorKind::InvalidTlsConfig { .. }
            | ErrorKind::IncompatibleServer { .. } => Failure::stop(format!("{what}: {reason}")),
            _ => Failure::retry(format!("{what}: {reason}")),
        },
    }
}

/// Server selection hides the reason why no server could be used; a refused password is among them.
fn authentication_in_chain(error: &Error) -> Option<i32> {
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if let Some(found) = inner.downcast_ref::<Error>().and_then(code) {
            return Some(found);
        }
        source = inner.source();
    }
    None
}

/// The error without the driver's labels and back traces.
pub fn describe(error: &Error) -> String {
    match error.kind.as_ref() {
        ErrorKind::Command(command) => {
            let message = without_keys(&command.message);
            format!("{message} (code {}, {})", command.code, command.code_name)
        }
        ErrorKind::Io(io) => format!("connection failed: {io}"),
        ErrorKind::ServerSelection { message, .. } => no_usable_server(message),
        ErrorKind::Authentication { message, .. } => message.clone(),
        kind => kind.to_string(),
    }
}

/// `message` without the document keys in resume tokens: of each long run of hexadecimal digits only what holds the
/// cluster time is left.
fn without_keys(message: &str) -> String {
    /// A type byte and the eight bytes of a timestamp.
    const TIME_DIGITS: usize = 18;
    let mut out = String::with_capacity(message.len());
    let mut rest = message;
    while !rest.is_empty() {
        let is_hex = rest.starts_with(|c: char| c.is_ascii_hexdigit());
        let end = rest.find(|c: char| c.is_ascii_hexdigit() != is_hex).unwrap_or(rest.len());
        let (run, tail) = rest.split_at(end);
        if is_hex && run.len() > 2 * TIME_DIGITS {
            out.push_str(&run[..TIME_DIGITS]);
            out.push('…');
        } else {
            out.push_str(run);
        }
        rest = tail;
    }
    out
}

/// The driver's account of a failed server selection without the parts that are for its developers. The reason why no
/// server could be used (a closed port, a certificate) is only there, as text; it is shown and never judged by.
fn no_usable_server(message: &str) -> String {
    let servers = message.split_once("Servers: [").map_or(message, |(_, servers)| servers);
    let reasons: Vec<&str> = servers
        .split("{ Address: ")
        .filter(|server| !server.trim().is_empty())
        .map(|server| {
            server.split(", labels: ").next().unwrap_or(server).trim_end_matches([' ', '}', ']', ','])
        })
        .collect();
    format!("no usable server: {}", reasons.join("; "))
}

/// What identifies a deployment over restarts and changes of hosts: the replica set's id, or the sharded cluster's.
///
/// `None` where the user may read neither (`replSetGetConfig` needs `clusterMonitor`): then positions cannot be told
/// apart by deployment.
///
/// # Errors
/// When the deployment does not answer, or is neither a replica set nor sharded.
pub async fn deployment_id(client: &Client) -> Result<Option<String>, Failure> {
    let hello = hello(client).await?;
    if hello.get_str("msg").is_ok_and(|message| message == "isdbgrid") {
        let version = client.database("config").collection::<Document>("version").find_one(doc! {}).await;
        return match version {
            Ok(found) => {
                Ok(found.and_then(|version| version.get_object_id("clusterId").ok()).map(ObjectId::to_hex))
            }
            Err(error) if code(&error) == Some(codes::UNAUTHORIZED) => Ok(None),
            Err(error) => Err(failure("cannot read the cluster's id", &error)),
        };
    }
    if hello.get_str("setName").is_err() {
        return Err(Failure::stop(
            "the MongoDB server is not a member of a replica set; change streams need one (start it with --replSet \
             and run rs.initiate())",
        ));
    }
    match client.database("admin").run_command(doc! { "replSetGetConfig": 1 }).await {
        Ok(reply) => Ok(reply
            .get_document("config")
            .and_then(|config| config.get_document("settings"))
            .and_then(|settings| settings.get_object_id("replicaSetId"))
            .ok()
            .map(ObjectId::to_hex)),
        Err(error) if code(&error) == Some(codes::UNAUTHORIZED) => Ok(None),
        Err(error) => Err(failure("cannot read the replica set's id", &error)),
    }
}

/// The time of the deployment's last operation.
///
/// # Errors
/// When the deployment does not answer.
pub async fn operation_time(client: &Client) -> Result<ClusterTime, Failure> {
    let reply = run(client, "admin", doc! { "ping": 1 }, "cannot reach MongoDB").await?;
    let time = reply.get_timestamp("operationTime").map_err(|_| {
        Failure::stop("the MongoDB server reports no operation time; it has to be a replica set")
    })?;
    Ok(ClusterTime { seconds: time.time, increment: time.increment })
}

/// The earliest time that the deployment's next operation can have.
///
/// # Errors
/// When the deployment does not answer.
pub async fn next_operation_time(client: &Client) -> Result<ClusterTime, Failure> {
    let ClusterTime { seconds, increment } = operation_time(client).await?;
    Ok(ClusterTime { seconds, increment: increment + 1 })
}

/// What the server says of itself.
///
/// # Errors
/// When it does not answer.
pub async fn hello(client: &Client) -> Result<Document, Failure> {
    run(client, "admin", doc! { "hello": 1 }, "cannot reach MongoDB").await
}

async fn run(client: &Client, db: &str, command: Document, what: &str) -> Result<Document, Failure> {
    client.database(db).run_command(command).await.map_err(|error| failure(what, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_in_messages_keep_their_time_alone() {
        let token = "82655A2F4B000000012B042C0100296E5A1004C0FFEE46645F696400FF";
        let message = format!("resume token {{ _data: \"{token}\" }} not found, 12 deadbeef");
        let expected = "resume token { _data: \"82655A2F4B00000001…\" } not found, 12 deadbeef";
        assert_eq!(without_keys(&message), expected);
        assert_eq!(without_keys("größe"), "größe");
    }

    #[test]
    fn a_failed_server_selection_is_one_short_line() {
        let message = "Server selection timeout: No available servers. Topology: { Type: ReplicaSetNoPrimary, Set Name: \
                       rs0, Servers: [ { Address: a:1, Type: Unknown, Error: Kind: I/O error: refused, labels: {\"x\"}, \
                       backtrace: None }, { Address: b:2, Type: Unknown } ] }";
        let expected =
            "no usable server: a:1, Type: Unknown, Error: Kind: I/O error: refused; b:2, Type: Unknown";
        assert_eq!(no_usable_server(message), expected);
        assert_eq!(no_usable_server("something else"), "no usable server: something else");
    }
}
