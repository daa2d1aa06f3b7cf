//! How a sink puts documents into shape and writes them.

use super::{
    super::{
        Handling, Id, IdStrategy, Invalid, OnTombstone, Step, StepAction, TimeSeries, ValueShape, Write,
        WriteBy, WriteModel, units::parse_duration,
    },
    reading::{Reader, Section},
    source::optional,
};
use crate::{
    config::Side,
    sink::{
        shape::{
            date::DatePattern,
            project::{Pattern, Projection},
            rename::{self, Renaming},
        },
        template::{Purpose, Template},
    },
};

/// The steps in order. Rules of renaming that follow each other are one pass.
pub(super) fn steps(reader: &mut Reader<'_>, section: &Section<'_>) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for section in section.sections("step") {
        let Some(step) = step(reader, &section) else { continue };
        let on = step.on;
        match (steps.last_mut().filter(|last| last.on == on).map(|last| &mut last.action), step.action) {
            (Some(StepAction::Rename(Renaming::Rules(rules))), StepAction::Rename(Renaming::Rules(more))) => {
                rules.extend(more);
            }
            (_, action) => steps.push(Step { on, action }),
        }
    }
    steps
}

/// One step: exactly one action.
fn step(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<Step> {
    let on: Side = reader.choice(section, "on")?;
    let flag = |reader: &mut Reader<'_>, key: &'static str, action: StepAction| {
        reader.flag(section, key).unwrap_or_default().then_some((key, action))
    };
    let renamed = rename(reader, &section.section("rename"));
    let rules = rename_regex(reader, section)?;
    let set = optional(reader, section, "set", |text| Template::parse(text, Purpose::Set))?;
    let list = |reader: &mut Reader<'_>, key: &str| reader.list(section, key, Pattern::parse);
    let allow = section.has("allow").then(|| Projection::allow(list(reader, "allow")));
    let block = section.has("block").then(|| Projection::block(list(reader, "block")));
    let actions = [
        allow.map(|allow| ("allow", StepAction::Project(allow))),
        block.map(|block| ("block", StepAction::Project(block))),
        renamed.map(|renamed| ("rename", StepAction::Rename(renamed))),
        rules.map(|rules| ("rename_regex", StepAction::Rename(rules))),
        flag(reader, "remove_nulls", StepAction::RemoveNulls),
        flag(reader, "add_metadata", StepAction::AddMetadata),
        flag(reader, "add_id", StepAction::AddId),
        set.map(|set| ("set", StepAction::Set(set))),
    ];
    let mut actions = actions.into_iter().flatten();
    let (Some((name, action)), None) = (actions.next(), actions.next()) else {
        let message = "needs exactly one of allow, block, rename, rename_regex, remove_nulls, add_metadata, add_id, set";
        reader.report(&section.path, message.into());
        return None;
    };
    if on == Side::Key && matches!(action, StepAction::AddId) {
        reader.report(&section.path(name), "is for the value; leave out on = \"key\"".into());
    }
    Some(Step { on, action })
}

/// `None` also where nothing is renamed.
fn rename(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<Renaming> {
    let pair = |path: &String| {
        let check = |name: &str| rename::check_mapping(path, name).map(|()| name.as_bytes().to_vec());
        Some((path.as_bytes().to_vec(), reader.parse(section, path, check)?))
    };
    let has_any = section.keys().next().is_some();
    let names = section.keys().filter_map(pair).collect();
    has_any.then_some(Renaming::Mapping(names))
}

/// The outer `None` is a problem, the inner one no such rule.
fn rename_regex(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<Option<Renaming>> {
    let Some(path) = optional(reader, section, "rename_regex", rename::parse_path_regex)? else {
        return Some(None);
    };
    let pattern = reader.parse(section, "pattern", |text| match text {
        "" => Err(Invalid("is empty; write what is replaced in the names".into())),
        text => rename::parse_regex(text),
    })?;
    let rule = reader.parse(section, "replace", |text| rename::Rule::new(path, pattern, text))?;
    Some(Some(Renaming::Rules(vec![rule])))
}

pub(super) fn id(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<Id> {
    let (strategy, uuid_format) = (reader.choice(section, "strategy"), reader.choice(section, "uuid_format"));
    let (overwrite, is_stable) = (reader.flag(section, "overwrite"), reader.flag(section, "stable"));
    let allow = reader.list(section, "allow", Pattern::parse);
    let block = reader.list(section, "block", Pattern::parse);
    let strategy: IdStrategy = strategy?;
    let is_partial = matches!(strategy, IdStrategy::PartialKey | IdStrategy::PartialValue);
    let part = match (is_partial, allow.is_empty(), block.is_empty()) {
        (false, true, true) => None,
        (true, false, true) => Some(Projection::allow(allow)),
        (true, true, false) => Some(Projection::block(block)),
        (true, ..) => {
            let message = "needs the fields of the part: either allow or block";
            reader.report(&section.path("strategy"), message.into());
            return None;
        }
        (false, is_empty, _) => {
            let key = if is_empty { "block" } else { "allow" };
            let message = "is only for strategy = \"partial_key\" and \"partial_value\"";
            reader.report(&section.path(key), message.into());
            return None;
        }
    };
    Some(Id { strategy, overwrite: overwrite?, uuid_format: uuid_format?, is_stable: is_stable?, part })
}

pub(super) fn write(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<Write> {
    let (model, by) = (reader.choice(section, "model"), reader.choice(section, "by"));
    let (timestamps, delete_by) = (reader.flag(section, "timestamps"), reader.choice(section, "delete_by"));
    let filter = optional(reader, section, "filter", |text| Template::parse(text, Purpose::Filter));
    let update = optional(reader, section, "update", |text| Template::parse(text, Purpose::Update));
    let upsert = reader.flag(section, "upsert");
    let write = Write {
        model: model?,
        by: by?,
        timestamps: timestamps?,
        delete_by: delete_by?,
        filter: filter?,
        update: update?,
        upsert: upsert?,
    };
    let is_delete = write.model == WriteModel::Delete;
    if write.timestamps && (write.model != WriteModel::Update || write.update.is_some()) {
        reader
            .report(&section.path("timestamps"), "is only for model = \"update\" without a template".into());
    }
    if write.filter.is_some() && write.update.is_none() && !is_delete {
        reader.report(&section.path("filter"), "needs update, or model = \"delete\"".into());
    }
    if write.update.is_some() && is_delete {
        let message = "is a template for what is done, but model = \"delete\" deletes; leave out one of them";
        reader.report(&section.path("update"), message.into());
    }
    Some(write)
}

/// The outer `None` is a problem, the inner one an ordinary collection.
pub(super) fn time_series(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<Option<TimeSeries>> {
    let field = |text: &str| match text {
        text if text.contains('.') || text.starts_with('$') || text.contains('\0') => {
            Err(Invalid("is no name of a field of the document itself".into()))
        }
        text => Ok(text.to_owned()),
    };
    let time_field = optional(reader, section, "time_field", field)?;
    let meta_field = optional(reader, section, "meta_field", field)?;
    let granularity = reader.choice(section, "granularity")?;
    let expire_after = reader.parse(section, "expire_after", parse_duration)?;
    let convert = reader.flag(section, "convert")?;
    let date_format = optional(reader, section, "date_format", DatePattern::parse)?;
    let given = [
        ("meta_field", meta_field.is_some()),
        ("granularity", granularity != super::super::Granularity::Default),
        ("expire_after", !expire_after.is_zero()),
        ("convert", convert),
        ("date_format", date_format.is_some()),
    ];
    if time_field.is_none() {
        for (key, _) in given.into_iter().filter(|(_, is_given)| *is_given) {
            reader.report(
                &section.path(key),
                "needs time_field, which makes the collection a time series".into(),
            );
        }
    }
    Some(time_field.map(|time_field| TimeSeries {
        time_field,
        meta_field,
        granularity,
        expire_after: (!expire_after.is_zero()).then_some(expire_after),
        convert,
        date_format: date_format.unwrap_or_default(),
    }))
}

/// What the tables of documents must not say together.
pub(super) fn refuse_contradictions(reader: &mut Reader<'_>, section: &Section<'_>, handling: &Handling) {
    if handling.value != ValueShape::Document {
        return;
    }
    let Handling { id, write, .. } = handling;
    let (path, table) = (section.path("write"), section.section("write"));
    if handling.time_series.is_some() {
        let is_insert = matches!(write.model, WriteModel::Replace | WriteModel::Insert);
        if !is_insert || write.by == WriteBy::BusinessKey || write.update.is_some() || write.filter.is_some()
        {
            reader.report(&path, "asks for more than inserts, and a time series takes nothing else".into());
        }
    }
    let is_key_alone = matches!(id.strategy, IdStrategy::PartialKey | IdStrategy::FullKey);
    if handling.on_tombstone != OnTombstone::Delete || write.filter.is_some() {
        return;
    }
    if write.delete_by == WriteBy::BusinessKey && !is_key_alone {
        let message = "is \"business_key\", which takes id.strategy = \"partial_key\" or \"full_key\": a record without a \
                       value has only its key";
        reader.report(&table.path("delete_by"), message.into());
    } else if !id.strategy.is_of_key() && (write.model, write.by) != (WriteModel::Delete, WriteBy::Id) {
        let message = "is \"delete\", but id.strategy makes no _id from a key, and a record without a value has nothing else; \
                       write \"skip\" or \"fail\"";
        reader.report(&section.path("on_tombstone"), message.into());
    }
}
