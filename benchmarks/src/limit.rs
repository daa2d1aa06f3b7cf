//! The limits: what the servers give to a tool that does nothing but ask. Each runs in a process of its own.
//!
//!     limit drain  URI DB COLL COUNT SECONDS INCREMENT    a change stream's replies, read and thrown away
//!     limit insert URI DB COLL COUNT                      the load's inserts
//!     limit upsert URI DB COLL COUNT                      each change of the mixed load as a replace with upsert
//!
//! It prints one line of JSON, an [`Outcome`].

mod drain;
mod write;

use std::time::Instant;

use anyhow::{Context, Result, bail};
use mongodb::{Client, Namespace};
use serde::{Deserialize, Serialize};

pub(crate) use self::write::{Form, write};
use crate::{
    load,
    measure::{Pace, Usage},
};

/// The word that chooses a limit instead of a comparison.
pub(crate) const VERB: &str = "limit";

/// What a limit measured of itself.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) pace: Pace,
    pub(crate) usage: Usage,
}

/// Runs one.
pub(crate) async fn main(words: &[String]) -> Result<()> {
    let begun = Instant::now();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let [what, uri, db, coll, count, start @ ..] = &words[..] else { bail!("limit: too few words") };
    let count: u32 = count.parse().context("limit: the count is not a number")?;
    let client = Client::with_uri_str(uri).await?;
    let namespace = Namespace::new(*db, *coll);
    let pace = match (*what, start) {
        ("drain", [seconds, increment]) => {
            let start = bson::Timestamp { time: seconds.parse()?, increment: increment.parse()? };
            drain::drain(&client, &namespace, start, count, begun).await?
        }
        ("insert", []) => write(&client, &namespace, Form::Insert, load::inserts(count), begun).await?,
        ("upsert", []) => write(&client, &namespace, Form::Upsert, load::mixed(count), begun).await?,
        _ => bail!("limit: there is no such limit"),
    };
    let outcome = Outcome { pace, usage: Usage::of(std::process::id())? };
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(())
}
