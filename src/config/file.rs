//! What the user wrote: the TOML file, checked against the schema with the place of every value.

use std::path::Path;

use figment::value::{Dict, Value};
use toml_edit::{ImDocument, Item, TableLike, Value as Toml};

use super::{
    Place, Problem, Problems,
    layers::{Places, reported},
    problem::KeyPath,
    schema::{self, Key, Kind, ROOT, unknown_key},
};

/// The file's text.
pub(super) fn text(path: &Path) -> Result<String, Problems> {
    let whole = |place, message| {
        Problems::new(path.into(), vec![Problem { place, path: KeyPath::default(), message }])
    };
    let bytes = std::fs::read(path).map_err(|err| whole(Place::Whole, format!("cannot be read: {err}")))?;
    String::from_utf8(bytes).map_err(|err| {
        let valid_bytes = err.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(&err.as_bytes()[..valid_bytes]);
        whole(Place::of(&text, valid_bytes), "is not UTF-8 from here".into())
    })
}

/// Reads the values that have the type of the schema, and reports all others. The error is a file that is not TOML.
pub(super) fn walk(text: &str, places: &mut Places, problems: &mut Vec<Problem>) -> Result<Dict, Problem> {
    let document = ImDocument::parse(text).map_err(|err| {
        let place = err.span().map_or(Place::Whole, |span| Place::of(text, span.start));
        let message = err.message().trim_end().replace('\n', ", ");
        Problem { place, path: KeyPath::default(), message: format!("is not TOML: {message}") }
    })?;
    let mut walk = Walk { text, places, problems };
    Ok(walk.table(document.as_table(), ROOT, &KeyPath::default()))
}

struct Walk<'a> {
    text: &'a str,
    places: &'a mut Places,
    problems: &'a mut Vec<Problem>,
}

impl Walk<'_> {
    fn table(&mut self, table: &dyn TableLike, keys: &'static [Key], path: &KeyPath) -> Dict {
        let mut dict = Dict::new();
        for (name, item) in table.iter() {
            let path = path.child(name);
            self.remember_key(table, name, &path);
            match keys.iter().find(|key| key.name == name) {
                Some(key) => {
                    dict.insert(name.into(), self.item(item, key.kind, &path));
                }
                None => self.report(&path, unknown_key(name, keys)),
            }
        }
        dict
    }

    /// A value, or its stand-in where it is not of its kind.
    fn item(&mut self, item: &Item, kind: Kind, path: &KeyPath) -> Value {
        if item.is_value() {
            self.remember_value(item, path);
        }
        let value = match (kind, item.as_value(), item.as_table_like()) {
            (Kind::Table(keys), _, Some(table)) => Some(self.table(table, keys, path).into()),
            (Kind::GivenTable(keys), _, Some(table)) => Some(self.whole(table, keys, path)),
            (Kind::Named(keys), _, Some(table)) => Some(self.named(table, keys, path).into()),
            (Kind::Tables(keys), _, _) => self.tables(item, keys, path),
            (Kind::Properties, _, Some(table)) => {
                let mut properties = Dict::new();
                self.properties(table, "", path, &mut properties);
                Some(properties.into())
            }
            (Kind::List, Some(Toml::Array(array)), _) => {
                let elements = array
                    .iter()
                    .enumerate()
                    .map(|(index, element)| self.element(element, &path.element(index)));
                Some(elements.collect::<Vec<Value>>().into())
            }
            (_, Some(value), _) => scalar(value, kind),
            _ => None,
        };
        value.unwrap_or_else(|| {
            self.report(path, format!("is {}; write {}", type_name(item), kind.expected()));
            reported()
        })
    }

    /// A list of tables, written as `[[…]]` or inline; `None` where it is something else.
    fn tables(&mut self, item: &Item, keys: &'static [Key], path: &KeyPath) -> Option<Value> {
        let tables: Vec<&dyn TableLike> = match item {
            Item::ArrayOfTables(tables) => tables.iter().map(|table| table as &dyn TableLike).collect(),
            Item::Value(Toml::Array(array)) => {
                let tables: Option<Vec<_>> =
                    array.iter().map(|table| Some(table.as_inline_table()? as _)).collect();
                tables?
            }
            _ => return None,
        };
        let tables = tables.into_iter().enumerate();
        let tables: Vec<Value> =
            tables.map(|(index, table)| self.whole(table, keys, &path.element(index))).collect();
        Some(tables.into())
    }

    /// A table with its defaults, where those of the whole file do not reach it.
    fn whole(&mut self, table: &dyn TableLike, keys: &'static [Key], path: &KeyPath) -> Value {
        let given = self.table(table, keys, path);
        let mut whole = schema::defaults(keys, &given);
        whole.extend(given);
        whole.into()
    }

    fn named(&mut self, table: &dyn TableLike, keys: &'static [Key], path: &KeyPath) -> Dict {
        let mut halves = Dict::new();
        for (name, item) in table.iter() {
            let path = path.child(name);
            self.remember_key(table, name, &path);
            halves.insert(name.into(), self.item(item, Kind::Table(keys), &path));
        }
        halves
    }

    /// One element of a list of texts.
    fn element(&mut self, element: &Toml, path: &KeyPath) -> Value {
        if let Some(span) = element.span() {
            self.places.set(path, Place::of(self.text, span.start));
        }
        if let Some(text) = element.as_str() {
            return text.into();
        }
        self.report(path, format!("is {}; write {}", named_type(element.type_name()), Kind::Text.expected()));
        reported()
    }

    /// Nested tables are joined with dots; numbers and booleans become text, as librdkafka wants it.
    fn properties(&mut self, table: &dyn TableLike, prefix: &str, path: &KeyPath, properties: &mut Dict) {
        for (name, item) in table.iter() {
            let property = format!("{prefix}{name}");
            if let Some(inner) = item.as_table_like() {
                self.properties(inner, &format!("{property}."), path, properties);
                continue;
            }
            let value = match item.as_value() {
                Some(Toml::String(text)) => Some(text.value().clone()),
                Some(Toml::Integer(number)) => Some(number.value().to_string()),
                Some(Toml::Float(number)) => Some(number.value().to_string()),
                Some(Toml::Boolean(flag)) => Some(flag.value().to_string()),
                _ => None,
            };
            let path = path.child(&property);
            let twice = properties.contains_key(&property);
            self.remember_value(item, &path);
            if twice {
                self.report(
                    &path,
                    "is given twice, once as a name with dots and once as nested tables".into(),
                );
            }
            if value.is_none() {
                self.report(&path, format!("is {}; write text, a number, true or false", type_name(item)));
            }
            properties.insert(property, value.map_or_else(reported, Value::from));
        }
    }

    fn remember_key(&mut self, table: &dyn TableLike, name: &str, path: &KeyPath) {
        let key = table.get_key_value(name).and_then(|(key, _)| key.span());
        if let Some(span) = key {
            self.places.set(path, Place::of(self.text, span.start));
        }
    }

    fn remember_value(&mut self, item: &Item, path: &KeyPath) {
        if let Some(span) = item.span() {
            self.places.set(path, Place::of(self.text, span.start));
        }
    }

    fn report(&mut self, path: &KeyPath, message: String) {
        self.problems.push(Problem { place: self.places.of(path), path: path.clone(), message });
    }
}

/// The value, where it has the right type.
fn scalar(value: &Toml, kind: Kind) -> Option<Value> {
    match (kind, value) {
        (
            Kind::Text
            | Kind::Uri
            | Kind::Secret
            | Kind::Size
            | Kind::Duration
            | Kind::Start
            | Kind::Choice(_),
            Toml::String(text),
        ) => Some(text.value().as_str().into()),
        (Kind::Size, Toml::Integer(bytes)) => Some(bytes.value().to_string().into()),
        (Kind::Start, Toml::Datetime(time)) => Some(time.value().to_string().into()),
        (Kind::Boolean, Toml::Boolean(flag)) => Some((*flag.value()).into()),
        (Kind::Integer, Toml::Integer(number)) => Some((*number.value()).into()),
        _ => None,
    }
}

fn type_name(item: &Item) -> String {
    named_type(item.type_name())
}

fn named_type(name: &str) -> String {
    match name {
        "string" => "text".into(),
        "integer" => "a whole number".into(),
        "float" => "a number with a fraction".into(),
        "boolean" => "true or false".into(),
        "datetime" => "a date or time".into(),
        "array" => "a list".into(),
        "inline table" => "a table".into(),
        "array of tables" => "a list of tables ([[…]])".into(),
        other => format!("a {other}"),
    }
}
