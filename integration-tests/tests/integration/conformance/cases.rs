//! The cases as they are written, and the reasons for not doing as they say.
//!
//! A file is read as Extended JSON, because the order of fields and the types of values are part of what it says.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow};
use bson::{Bson, Document};
use millrace::{import::Connector, json};
use serde::Deserialize;

/// One case.
pub(super) struct Case {
    pub(super) name: String,
    pub(super) side: String,
    pub(super) parity: String,
    pub(super) config: BTreeMap<String, String>,
    pub(super) input: Document,
    pub(super) expect: Document,
}

impl Case {
    fn new(mut case: Document) -> anyhow::Result<Self> {
        let mut text = |key: &str| match case.remove(key) {
            Some(Bson::String(text)) => Ok(text),
            _ => Err(anyhow!("a case has no {key}")),
        };
        let (name, side, parity) = (text("name")?, text("side")?, text("parity")?);
        let mut inner = |key: &str| match case.remove(key) {
            Some(Bson::Document(inner)) => Ok(inner),
            _ => Err(anyhow!("{name:?} has no {key}")),
        };
        let config = inner("config")?.into_iter().map(|(key, value)| match value {
            Bson::String(text) => Ok((key, text)),
            value => Err(anyhow!("{key} is {value}, and no text")),
        });
        let config = config.collect::<Result<_, _>>()?;
        Ok(Self { config, input: inner("input")?, expect: inner("expect")?, name, side, parity })
    }

    /// The connector of the case, with what a runner has to add.
    pub(super) fn connector(&self) -> Connector {
        let mut config = self.config.clone();
        let class = if self.side == "sink" { "MongoSinkConnector" } else { "MongoSourceConnector" };
        config.insert("connector.class".into(), format!("com.mongodb.kafka.connect.{class}"));
        let uri = match self.side.as_str() {
            "sink" => "mongodb://localhost:27017",
            _ => "mongodb://localhost:27017,localhost:27018,localhost:27019",
        };
        config.entry("connection.uri".into()).or_insert_with(|| uri.into());
        let has_topics = config.contains_key("topics") || config.contains_key("topics.regex");
        if self.side == "sink" && !has_topics && !self.input.get_bool("noDefaultTopics").unwrap_or(false) {
            let topics: BTreeSet<&str> = self.documents("records").map(topic_of).collect();
            config.insert("topics".into(), topics.into_iter().collect::<Vec<_>>().join(","));
        }
        Connector { name: Some("connector".into()), config }
    }

    /// Whether records are to have schemas.
    pub(super) fn needs_schemas(&self) -> bool {
        ["output.format.key", "output.format.value"]
            .iter()
            .any(|key| self.config.get(*key).is_some_and(|format| format.eq_ignore_ascii_case("schema")))
    }

    /// The key for which the configuration is to be refused.
    pub(super) fn refused_key(&self) -> Option<&str> {
        self.expect.get_document("configError").ok()?.get_str("key").ok()
    }

    /// A list of documents in the input.
    pub(super) fn documents(&self, key: &str) -> impl Iterator<Item = &Document> {
        let list = self.input.get_array(key).map_or(&[][..], Vec::as_slice);
        list.iter().filter_map(Bson::as_document)
    }
}

/// The topic of a sink's record.
pub(super) fn topic_of(record: &Document) -> &str {
    record.get_str("topic").unwrap_or("t1")
}

/// All files in order of their names.
pub(super) fn load() -> anyhow::Result<Vec<(String, Vec<Case>)>> {
    let folder = folder();
    let entries = fs::read_dir(&folder).with_context(|| format!("{}", folder.display()))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<Vec<_>>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    paths.iter().map(|path| read(path).with_context(|| format!("{}", path.display()))).collect()
}

fn read(path: &Path) -> anyhow::Result<(String, Vec<Case>)> {
    let text = format!("{{\"cases\": {}}}", fs::read_to_string(path)?);
    let mut bytes = Vec::new();
    json::read_document(text.as_bytes(), &mut bytes)?;
    let mut document: Document = bson::deserialize_from_slice(&bytes)?;
    let Some(Bson::Array(cases)) = document.remove("cases") else {
        return Err(anyhow!("is no array of cases"));
    };
    let cases = cases.into_iter().map(|case| match case {
        Bson::Document(case) => Case::new(case),
        _ => Err(anyhow!("has a case that is no object")),
    });
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Ok((name, cases.collect::<Result<_, _>>()?))
}

/// The project's own cases, or those of `CONFORMANCE_CASES`.
fn folder() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    match std::env::var_os("CONFORMANCE_CASES") {
        Some(folder) => root.join("..").join(folder),
        None => root.join("tests/data/cases"),
    }
}

/// Why cases are not done as they say.
#[derive(Deserialize)]
pub(super) struct Reasons {
    /// By file.
    not_yet: BTreeMap<String, String>,
    /// By what a case needs.
    not_yet_kinds: BTreeMap<String, String>,
    deviations: BTreeMap<String, String>,
}

impl Reasons {
    pub(super) fn load() -> anyhow::Result<Self> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/cases-deviations.json");
        Ok(serde_json::from_str(&fs::read_to_string(path)?)?)
    }

    pub(super) fn is_not_yet(&self, file: &str) -> bool {
        self.not_yet.contains_key(file)
    }

    pub(super) fn is_kind_not_yet(&self, kind: &str) -> bool {
        self.not_yet_kinds.contains_key(kind)
    }

    /// The reason for a kind of deviation.
    pub(super) fn deviation(&self, kind: &str) -> anyhow::Result<&str> {
        let reason = self.deviations.get(kind).map(String::as_str);
        reason.with_context(|| format!("the deviation {kind:?} has no reason in cases-deviations.json"))
    }
}
