//! TOML text, in the order in which it is put together.

/// A table; what is empty in it is not written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Table(Vec<(String, Value)>);

/// What a key stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Number(i64),
    Flag(bool),
    List(Vec<String>),
    Table(Table),
    /// A table whose heading is written even where it has no key of its own.
    Always(Table),
    Tables(Vec<Table>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<Vec<String>> for Value {
    fn from(list: Vec<String>) -> Self {
        Self::List(list)
    }
}

impl From<Table> for Value {
    fn from(table: Table) -> Self {
        Self::Table(table)
    }
}

impl From<Vec<Table>> for Value {
    fn from(tables: Vec<Table>) -> Self {
        Self::Tables(tables)
    }
}

impl Table {
    /// A table of these keys.
    pub(super) fn of<const N: usize>(entries: [(&str, Value); N]) -> Self {
        Self(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }

    /// Appends a key.
    pub(super) fn put(&mut self, key: &str, value: impl Into<Value>) {
        self.0.push((key.into(), value.into()));
    }

    /// Appends a key whose value is not `usual`.
    pub(super) fn put_unless<V: Into<Value> + PartialEq>(&mut self, usual: &V, key: &str, value: V) {
        if value != *usual {
            self.put(key, value);
        }
    }

    /// Appends all keys of `other`.
    pub(super) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// What stands under a key.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// Whether there is no key.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The table as a whole document.
    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        self.write("", &mut out);
        out
    }

    /// Keys before tables: after a heading there is no way back.
    fn write(&self, path: &str, out: &mut String) {
        for (key, value) in &self.0 {
            if let Some(text) = inline(value) {
                out.push_str(&format!("{} = {text}\n", name(key)));
            }
        }
        for (key, value) in &self.0 {
            let path = if path.is_empty() { name(key) } else { format!("{path}.{}", name(key)) };
            match value {
                Value::Table(table) | Value::Always(table) => {
                    let has_own = table.0.iter().any(|(_, value)| inline(value).is_some());
                    if has_own || matches!(value, Value::Always(_)) {
                        out.push_str(&format!("\n[{path}]\n"));
                    }
                    table.write(&path, out);
                }
                Value::Tables(tables) => {
                    for table in tables {
                        out.push_str(&format!("\n[[{path}]]\n"));
                        table.write(&path, out);
                    }
                }
                _ => {}
            }
        }
    }
}

fn inline(value: &Value) -> Option<String> {
    match value {
        Value::Text(text) => Some(string(text)),
        Value::Number(number) => Some(number.to_string()),
        Value::Flag(flag) => Some(flag.to_string()),
        Value::List(list) => {
            Some(format!("[{}]", list.iter().map(|s| string(s)).collect::<Vec<_>>().join(", ")))
        }
        Value::Table(_) | Value::Always(_) | Value::Tables(_) => None,
    }
}

/// A key, in quotes where it needs them.
fn name(key: &str) -> String {
    let is_bare = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if !key.is_empty() && key.bytes().all(is_bare) { key.into() } else { string(key) }
}

/// A text in quotes: in single ones, where nothing is escaped, if that reads better.
fn string(text: &str) -> String {
    if text.contains(['"', '\\']) && !text.contains(|c: char| c == '\'' || c.is_control()) {
        return format!("'{text}'");
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_before_tables_and_empty_tables_are_left_out() {
        let mut table = Table::default();
        table.put("inner", Table::of([("a.b", "x".into())]));
        table.put("nothing", Table::default());
        table.put("hollow", Table::of([("deep", Table::of([("n", 1.into())]).into())]));
        table.put("rule", vec![Table::of([("m", true.into())]), Table::default()]);
        table.put("list", vec!["a".to_owned(), "b\"".into()]);
        let expected = "list = [\"a\", 'b\"']\n\n[inner]\n\"a.b\" = \"x\"\n\n[hollow.deep]\nn = 1\n\n[[rule]]\nm = true\n\n[[rule]]\n";
        assert_eq!(table.text(), expected);
    }

    #[test]
    fn every_text_is_read_back_as_it_was() {
        for text in ["", "a", "\"", "\\d+", "'", "'\"\\", "a\nb\t\u{1}\u{7f}\u{85}", "é中\u{1f600}", "$${x}"]
        {
            let document = Table::of([("k", text.into()), (text, "v".into())]).text();
            let read: toml_edit::DocumentMut = document.parse().expect("TOML");
            assert_eq!(read["k"].as_str(), Some(text), "{document}");
            assert_eq!(read.get(text).and_then(|item| item.as_str()), Some("v"), "{document}");
        }
    }
}
