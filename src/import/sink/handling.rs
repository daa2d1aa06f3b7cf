//! What is made of the records of a topic: the keys that the connector lets a topic have for itself.

use super::{
    super::{
        converters::{Converter, converter},
        reader::{Reader, escaped},
        toml::Table,
    },
    namespace, steps,
};

const HANDLER: &str = "change.data.capture.handler";
const STRATEGY: &str = "document.id.strategy";
const NULLS: &str = "delete.on.null.values";
const WRITE: &str = "writemodel.strategy";
const DELETE: &str = "delete.writemodel.strategy";

/// What a table of a sink, or of one of its overrides, says about records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Handling {
    value: &'static str,
    format: &'static str,
    key_format: &'static str,
    namespace: String,
    remove_nulls: bool,
    on_tombstone: &'static str,
    steps: Vec<Table>,
    id: Table,
    write: Table,
    time_series: Table,
}

/// Reads it; `None` where a target is missing.
pub(super) fn handling(reader: &mut Reader<'_>) -> Option<Handling> {
    let value = value(reader);
    let namespace = namespace::template(reader, value);
    let mut own = Handling {
        value,
        format: "json",
        key_format: "json",
        namespace: String::new(),
        remove_nulls: false,
        on_tombstone: "delete",
        steps: Vec::new(),
        id: Table::default(),
        write: Table::default(),
        time_series: Table::default(),
    };
    let mut reads_key = ["debezium", "debezium_rows", "qlik"].contains(&value);
    if value == "document" {
        reads_key = reads_key_later(reader);
        own.time_series = time_series(reader);
        own.steps = steps::steps(reader, reads_key);
        own.id = id(reader);
        own.on_tombstone = tombstones(reader);
        own.write = write(reader, !own.time_series.is_empty());
        reader.pass_over("change.data.capture.handler.remove.null.values");
    } else {
        own.remove_nulls = reader.flag("change.data.capture.handler.remove.null.values");
        handlers_own(reader);
    }
    reads_key |= namespace.as_ref().is_some_and(|(_, reads_key)| *reads_key);
    (own.format, own.key_format) = formats(reader, reads_key);
    own.namespace = namespace?.0;
    Some(own)
}

impl Handling {
    /// Writes what is not the default into a sink's table.
    pub(super) fn put(self, table: &mut Table) {
        table.put_unless(&"event", "value", self.value);
        table.put_unless(&"json", "format", self.format);
        table.put_unless(&self.format, "key_format", self.key_format);
        table.put("namespace", self.namespace);
        table.put_unless(&false, "remove_nulls", self.remove_nulls);
        table.put_unless(&"delete", "on_tombstone", self.on_tombstone);
        table.put("step", self.steps);
        table.put("id", self.id);
        table.put("write", self.write);
        table.put("timeseries", self.time_series);
    }

    /// Writes what is not as `sink` has it into the table of an override. What is not written there is the sink's.
    pub(super) fn put_over(self, sink: &Self, table: &mut Table) {
        table.put_unless(&sink.value, "value", self.value);
        table.put_unless(&sink.format, "format", self.format);
        table.put_unless(&sink.key_format, "key_format", self.key_format);
        table.put_unless(&sink.namespace, "namespace", self.namespace);
        table.put_unless(&sink.remove_nulls, "remove_nulls", self.remove_nulls);
        if self.value != "document" {
            return;
        }
        table.put_unless(&sink.on_tombstone, "on_tombstone", self.on_tombstone);
        if self.steps != sink.steps {
            table.put("step", if self.steps.is_empty() { vec![steps::nothing()] } else { self.steps });
        }
        table.put_unless(&sink.id, "id", self.id);
        let or_default = |own: Table, key: &str, default: &str| {
            if own.is_empty() { Table::of([(key, default.into())]) } else { own }
        };
        if self.write != sink.write {
            table.put("write", or_default(self.write, "model", "replace"));
        }
        if self.time_series != sink.time_series {
            table.put("timeseries", or_default(self.time_series, "time_field", ""));
        }
    }
}

/// What a record's value is.
fn value(reader: &mut Reader<'_>) -> &'static str {
    let handler = reader.text(HANDLER).trim();
    let is_of = |word: &str| handler.split('.').any(|part| part == word);
    if handler.is_empty() {
        return "document";
    }
    if is_of("qlik") {
        return "qlik";
    }
    if is_of("rdbms") || ["RdbmsHandler", "MysqlHandler", "PostgresHandler"].iter().any(|class| is_of(class))
    {
        return "debezium_rows";
    }
    if is_of("debezium") || is_of("MongoDbHandler") {
        return "debezium";
    }
    let message = "updates write what changed where the event has no document, arrays cut short included; an update with the \
         document writes it even where it is not there; a tombstone is passed over";
    reader.note(HANDLER, message);
    "event"
}

/// Keys that are for documents; a handler takes their place.
fn handlers_own(reader: &mut Reader<'_>) {
    const FOR_DOCUMENTS: &[&str] = &[
        "post.processor.chain",
        STRATEGY,
        WRITE,
        DELETE,
        NULLS,
        "value.projection.list",
        "key.projection.list",
        "field.renamer.mapping",
        "field.renamer.regexp",
    ];
    for key in FOR_DOCUMENTS {
        if reader.given(key).is_some() {
            reader.note(key, "is not used: a handler is set, which takes its place in the connector too");
        }
    }
    if !reader.text("timeseries.timefield").trim().is_empty() {
        reader.lack("timeseries.timefield", "there are no time series of change events");
    }
}

/// Whether anything looks at the key after the steps.
fn reads_key_later(reader: &Reader<'_>) -> bool {
    let by_key =
        ["FullKeyStrategy", "PartialKeyStrategy", "ProvidedInKeyStrategy", "UuidProvidedInKeyStrategy"];
    by_key.contains(&reader.class(STRATEGY)) || reader.class(WRITE) == "DeleteOneDefaultStrategy"
}

/// `[…id]`
fn id(reader: &mut Reader<'_>) -> Table {
    let class = reader.class(STRATEGY);
    let strategy = match class {
        "FullKeyStrategy" => "full_key",
        "KafkaMetaDataStrategy" => "kafka_metadata",
        "PartialKeyStrategy" => "partial_key",
        "PartialValueStrategy" => "partial_value",
        "ProvidedInKeyStrategy" => "provided_in_key",
        "ProvidedInValueStrategy" => "provided_in_value",
        "UuidProvidedInKeyStrategy" => "uuid_in_key",
        "UuidProvidedInValueStrategy" => "uuid_in_value",
        "UuidStrategy" => "uuid",
        _ => "object_id",
    };
    let mut table = Table::of([("strategy", strategy.into())]);
    table.put_unless(&false, "overwrite", reader.flag("document.id.strategy.overwrite.existing"));
    let format = reader.word("document.id.strategy.uuid.format");
    if strategy == "uuid" {
        table.put_unless(&"string".to_owned(), "uuid_format", format);
    }
    if ["uuid", "object_id"].contains(&strategy) && reader.given(STRATEGY).is_some() {
        reader.note(STRATEGY, "is new at every delivery, as it is there; see id.stable");
    }
    match strategy {
        "partial_key" => partial(reader, "key", &mut table),
        "partial_value" => partial(reader, "value", &mut table),
        _ => {}
    }
    table
}

/// The fields of a partial `_id`: the strategy's own, or else those of the projection.
fn partial(reader: &mut Reader<'_>, side: &str, table: &mut Table) {
    let own = format!("{STRATEGY}.partial.{side}.projection");
    let type_key = format!("{own}.type");
    let projection = if reader.word(&type_key).is_empty() { format!("{side}.projection") } else { own };
    let list_key = format!("{projection}.list");
    let paths = steps::paths(reader, &list_key);
    if paths.is_empty() {
        reader.lack(&list_key, "names no field, of which an _id could be made");
    }
    match reader.word(&format!("{projection}.type")).as_str() {
        "allowlist" | "whitelist" => table.put("allow", paths),
        "blocklist" | "blacklist" => table.put("block", paths),
        _ => {
            reader.refuse::<()>(&type_key, "is required by the strategy: AllowList or BlockList");
        }
    }
}

/// `on_tombstone`
fn tombstones(reader: &mut Reader<'_>) -> &'static str {
    if !reader.flag(NULLS) {
        return "fail";
    }
    let knows_key = ["FullKeyStrategy", "PartialKeyStrategy", "ProvidedInKeyStrategy"];
    if !knows_key.contains(&reader.class(STRATEGY)) {
        let message = format!("needs as document.id.strategy one of {}", knows_key.join(", "));
        reader.refuse::<()>(NULLS, message);
    }
    "delete"
}

/// `[…write]`
fn write(reader: &mut Reader<'_>, is_time_series: bool) -> Table {
    let (model, by, timestamps) = match reader.class(WRITE) {
        "InsertOneDefaultStrategy" => ("insert", "id", false),
        "ReplaceOneBusinessKeyStrategy" => ("replace", "business_key", false),
        "UpdateOneDefaultStrategy" => ("update", "id", false),
        "UpdateOneTimestampsStrategy" => ("update", "id", true),
        "UpdateOneBusinessKeyTimestampStrategy" => ("update", "business_key", true),
        "DeleteOneDefaultStrategy" => ("delete", "id", false),
        "DeleteOneBusinessKeyStrategy" => ("delete", "business_key", false),
        "DeleteOneTombstoneBusinessKeyStrategy" => {
            reader.lack(WRITE, "is for records without a value; see delete.writemodel.strategy");
            ("replace", "id", false)
        }
        "DefaultWriteModelStrategy" | "" if is_time_series => ("insert", "id", false),
        _ => ("replace", "id", false),
    };
    if is_time_series && (by != "id" || !["replace", "insert"].contains(&model)) {
        reader.lack(WRITE, "asks for more than inserts, and a time series takes nothing else");
    }
    let mut table = Table::default();
    table.put_unless(&"replace", "model", model);
    table.put_unless(&"id", "by", by);
    table.put_unless(&false, "timestamps", timestamps);
    let delete = reader.class(DELETE);
    match delete {
        _ if !reader.flag(NULLS) => {}
        "DeleteOneDefaultStrategy" | "" => {}
        "DeleteOneTombstoneBusinessKeyStrategy" if reader.class(STRATEGY) == "PartialKeyStrategy" => {
            table.put("delete_by", "business_key");
        }
        "DeleteOneTombstoneBusinessKeyStrategy" => {
            reader.lack(DELETE, "fails at every record without document.id.strategy PartialKeyStrategy");
        }
        _ => reader.lack(DELETE, "fails at every record without a value; see write.delete_by"),
    }
    table
}

/// `[…timeseries]`
fn time_series(reader: &mut Reader<'_>) -> Table {
    let mut table = Table::default();
    let time_field = reader.plain("timeseries.timefield");
    let locale = "timeseries.timefield.auto.convert.locale.language.tag";
    if time_field.trim().is_empty() {
        for key in [
            "timeseries.metafield",
            "timeseries.expire.after.seconds",
            "timeseries.granularity",
            "timeseries.timefield.auto.convert",
        ] {
            if !["", "0", "false"].contains(&reader.word(key).as_str()) {
                reader.refuse::<()>(key, "needs timeseries.timefield");
            }
        }
        reader.pass_over("timeseries.timefield.auto.convert.date.format");
        reader.pass_over(locale);
        return table;
    }
    table.put("time_field", time_field);
    table.put_unless(&String::new(), "meta_field", reader.plain("timeseries.metafield"));
    table.put_unless(&String::new(), "granularity", reader.word("timeseries.granularity"));
    let seconds = reader.number("timeseries.expire.after.seconds");
    table.put_unless(&"0s".to_owned(), "expire_after", format!("{seconds}s"));
    let converts = reader.flag("timeseries.timefield.auto.convert");
    table.put_unless(&false, "convert", converts);
    if converts {
        date_format(reader, &mut table);
        if !reader.text(locale).trim().is_empty() {
            reader.lack(locale, "names of months and days are read in English alone");
        }
    }
    table
}

/// Patterns of numbers mean the same to both; names of months and days are not read.
fn date_format(reader: &mut Reader<'_>, table: &mut Table) {
    const KEY: &str = "timeseries.timefield.auto.convert.date.format";
    let format = reader.text(KEY);
    let unquoted: String = format.split('\'').step_by(2).collect();
    let other = unquoted.chars().find(|c| c.is_alphabetic() && !"yuMdHmsSXZV".contains(*c));
    if let Some(other) = other.or_else(|| unquoted.contains("MMM").then_some('M')) {
        reader.lack(KEY, format!("has the letter {other} for what is no number; only numbers are read"));
    } else {
        table.put_unless(&String::new(), "date_format", escaped(format));
    }
}

/// How values and keys are read.
fn formats(reader: &mut Reader<'_>, reads_key: bool) -> (&'static str, &'static str) {
    let value = match converter(reader, "value.converter") {
        Converter::Bytes => "bson",
        Converter::Text => "json",
        Converter::Json { schemas: false } => "plain_json",
        Converter::Json { schemas: true } => "connect_json",
        Converter::Unknown => {
            reader.note("value.converter", "is not known (see --worker); taken for StringConverter");
            "json"
        }
        Converter::Other => {
            reader.lack("value.converter", "values with schemas of a registry come with the schema formats");
            "json"
        }
    };
    let key = match converter(reader, "key.converter") {
        _ if !reads_key => value,
        Converter::Bytes => "bson",
        Converter::Text => "json",
        Converter::Json { schemas: false } => "plain_json",
        Converter::Json { schemas: true } => "connect_json",
        Converter::Unknown => {
            reader.note("key.converter", "is not known (see --worker); taken for StringConverter");
            "json"
        }
        Converter::Other => {
            reader.lack("key.converter", "keys with schemas of a registry come with the schema formats");
            "json"
        }
    };
    (value, key)
}
