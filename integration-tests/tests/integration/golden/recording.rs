//! Golden files: where they are and what is in them.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use flate2::read::GzDecoder;
use serde::{Deserialize, de::DeserializeOwned};

/// One recording of the connector.
#[derive(Deserialize)]
pub(super) struct Recording {
    pub records: Vec<Record>,
}

#[derive(Deserialize)]
pub(super) struct Record {
    pub topic: String,
    pub key: Option<Payload>,
    pub value: Option<Payload>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Payload {
    Text(String),
    Hex(String),
}

impl Payload {
    pub(super) fn bytes(&self) -> anyhow::Result<Vec<u8>> {
        match self {
            Self::Text(text) => Ok(text.clone().into_bytes()),
            Self::Hex(digits) => hex_bytes(digits),
        }
    }
}

/// Which connector a folder's files are of.
#[derive(Clone, Copy)]
pub(super) enum Connector {
    OfficialSource,
    Debezium,
}

impl Connector {
    fn folder(self) -> &'static str {
        match self {
            Self::OfficialSource => "official-source",
            Self::Debezium => "debezium",
        }
    }
}

/// The folder of a connector's golden files: the project's, or that of `GOLDEN`.
pub(super) fn folder(connector: Connector) -> PathBuf {
    let Some(folder) = std::env::var_os("GOLDEN").map(PathBuf::from) else { return own_folder(connector) };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
    let inner = folder.join(connector.folder());
    if inner.is_dir() { inner } else { folder }
}

/// The folder of the project's own files.
pub(super) fn own_folder(connector: Connector) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden").join(connector.folder())
}

/// The recording, if the folder has it.
pub(super) fn load(folder: &Path, file: &str) -> anyhow::Result<Option<Recording>> {
    load_json(folder, file)
}

/// A file that has to be among the project's own and may be missing elsewhere, which is printed.
pub(super) fn load_or_skip(connector: Connector, file: &str) -> anyhow::Result<Option<Recording>> {
    said_if_missing(connector, file, load(&folder(connector), file)?)
}

/// The documents of the collection `types` as they are stored, on the terms of [`load_or_skip`].
pub(super) fn load_types() -> anyhow::Result<Option<Vec<Vec<u8>>>> {
    const FILE: &str = "types.bson.hex";
    let stored: Option<Vec<String>> = load_json(&folder(Connector::OfficialSource), FILE)?;
    let stored = said_if_missing(Connector::OfficialSource, FILE, stored)?;
    stored.map(|stored| stored.iter().map(|digits| hex_bytes(digits)).collect()).transpose()
}

fn said_if_missing<T>(connector: Connector, file: &str, found: Option<T>) -> anyhow::Result<Option<T>> {
    if found.is_none() {
        let folder = folder(connector);
        ensure!(folder != own_folder(connector), "{file} is not in {}", folder.display());
        println!("skipped: {file} is not in {}", folder.display());
    }
    Ok(found)
}

fn hex_bytes(digits: &str) -> anyhow::Result<Vec<u8>> {
    (0..digits.len())
        .step_by(2)
        .map(|at| {
            let pair = digits.get(at..at + 2).context("hex digits come in pairs")?;
            u8::from_str_radix(pair, 16).context("hex digits")
        })
        .collect()
}

fn load_json<T: DeserializeOwned>(folder: &Path, file: &str) -> anyhow::Result<Option<T>> {
    let plain = folder.join(format!("{file}.json"));
    let gzipped = folder.join(format!("{file}.json.gz"));
    let (path, is_gzipped) = if plain.exists() { (plain, false) } else { (gzipped, true) };
    if !path.exists() {
        return Ok(None);
    }
    let place = || path.display().to_string();
    let mut source = File::open(&path).with_context(place)?;
    let mut text = String::new();
    let read = if is_gzipped {
        GzDecoder::new(source).read_to_string(&mut text)
    } else {
        source.read_to_string(&mut text)
    };
    read.with_context(place)?;
    serde_json::from_str(&text).map(Some).with_context(place)
}
