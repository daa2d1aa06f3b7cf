//! The JSON that the connectors take where a key holds JSON: Extended JSON and what the shell allows beyond it.
//!
//! The text is left as it is where the daemon reads it; otherwise it is written anew: names and texts in double quotes,
//! `ObjectId("…")` and its like as Extended JSON. As the connector does, a text that cannot be read is tried again
//! with every backslash doubled.

use bson::Document;

use crate::json;

/// A JSON array, as the daemon reads it.
pub(super) fn array(text: &str) -> Result<String, String> {
    either(text, |text| {
        document_of(&format!("{{\"a\":{text}\n}}"))
            .and_then(|document| document.get_array("a").map(|_| ()).map_err(|_| "is no JSON array".into()))
    })
}

/// A JSON object, as the daemon reads it.
pub(super) fn document(text: &str) -> Result<String, String> {
    either(text, |text| document_of(text).map(|_| ()))
}

/// The object itself, its fields in the order of writing.
pub(super) fn parsed(text: &str) -> Result<Document, String> {
    document_of(&document(text)?)
}

fn either(text: &str, check: impl Fn(&str) -> Result<(), String>) -> Result<String, String> {
    let text = text.trim();
    let first = check(text);
    if first.is_ok() {
        return Ok(text.into());
    }
    let doubled = text.replace('\\', "\\\\");
    for candidate in [strict(text), Some(doubled.clone()), strict(&doubled)].into_iter().flatten() {
        if check(&candidate).is_ok() {
            return Ok(candidate);
        }
    }
    first.map(|()| text.into())
}

fn document_of(text: &str) -> Result<Document, String> {
    let mut bytes = Vec::new();
    json::read_document(text.as_bytes(), &mut bytes)
        .map_err(|error| format!("is no JSON of the right kind: {error}"))?;
    bson::deserialize_from_slice(&bytes).map_err(|error| format!("is no document: {error}"))
}

/// What the shell allows, as strict Extended JSON; `None` where it is neither.
fn strict(text: &str) -> Option<String> {
    let mut scanner = Scanner { rest: text, out: String::new() };
    while !scanner.rest.is_empty() {
        scanner.step()?;
    }
    Some(scanner.out)
}

struct Scanner<'a> {
    rest: &'a str,
    out: String,
}

impl<'a> Scanner<'a> {
    fn step(&mut self) -> Option<()> {
        let first = self.rest.chars().next()?;
        match first {
            '"' | '\'' => {
                let text = self.quoted()?;
                self.out.push_str(&in_quotes(&text));
            }
            '/' => self.regex()?,
            '-' | '+' | '.' | '0'..='9' => {
                let number = self.take(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
                self.out.push_str(number);
            }
            c if c.is_alphabetic() || c == '$' || c == '_' => self.word()?,
            c => {
                self.out.push(c);
                self.rest = &self.rest[c.len_utf8()..];
            }
        }
        Some(())
    }

    fn take(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !belongs(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    /// A text in either kind of quotes.
    fn quoted(&mut self) -> Option<String> {
        let quote = self.rest.chars().next()?;
        let mut text = String::new();
        let mut chars = self.rest[1..].char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                c if c == quote => {
                    self.rest = &self.rest[at + 2..];
                    return Some(text);
                }
                '\\' => match chars.next()?.1 {
                    'n' => text.push('\n'),
                    't' => text.push('\t'),
                    'r' => text.push('\r'),
                    'b' => text.push('\u{8}'),
                    'f' => text.push('\u{c}'),
                    'u' => {
                        let digits: String = chars.by_ref().take(4).map(|(_, c)| c).collect();
                        text.push(char::from_u32(u32::from_str_radix(&digits, 16).ok()?)?);
                    }
                    c @ ('"' | '\'' | '\\' | '/') => text.push(c),
                    _ => return None,
                },
                c => text.push(c),
            }
        }
        None
    }

    /// `/pattern/options`
    fn regex(&mut self) -> Option<()> {
        let mut end = 1;
        loop {
            end += self.rest.get(end..)?.find('/')?;
            if !self.rest[..end].ends_with('\\') {
                break;
            }
            end += 1;
        }
        let pattern = self.rest[1..end].replace("\\/", "/");
        self.rest = &self.rest[end + 1..];
        let options = self.take(|c| c.is_ascii_lowercase());
        let wrapper = format!(
            "{{\"$regularExpression\": {{\"pattern\": {}, \"options\": {}}}}}",
            in_quotes(&pattern),
            in_quotes(options)
        );
        self.out.push_str(&wrapper);
        Some(())
    }

    /// A name without quotes, a literal, or a value in the shell's own words.
    fn word(&mut self) -> Option<()> {
        let mut word = self.take(|c| c.is_alphanumeric() || c == '$' || c == '_');
        if word == "new" {
            self.rest = self.rest.trim_start();
            word = self.take(char::is_alphanumeric);
        }
        let rest = self.rest.trim_start();
        if rest.starts_with(':') {
            self.out.push_str(&in_quotes(word));
        } else if let Some(rest) = rest.strip_prefix('(') {
            self.rest = rest;
            let arguments = self.arguments()?;
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            self.out.push_str(&wrapper(word, &arguments)?);
        } else {
            match word {
                "true" | "false" | "null" => self.out.push_str(word),
                "undefined" => self.out.push_str("{\"$undefined\": true}"),
                "MinKey" | "MaxKey" => self.out.push_str(&wrapper(word, &[])?),
                "NaN" | "Infinity" => self.out.push_str(&format!("{{\"$numberDouble\": \"{word}\"}}")),
                _ => return None,
            }
        }
        Some(())
    }

    fn arguments(&mut self) -> Option<Vec<String>> {
        let mut arguments = Vec::new();
        loop {
            self.rest = self.rest.trim_start();
            match self.rest.chars().next()? {
                ')' => {
                    self.rest = &self.rest[1..];
                    return Some(arguments);
                }
                ',' => self.rest = &self.rest[1..],
                '"' | '\'' => arguments.push(self.quoted()?),
                _ => {
                    let plain = self.take(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
                    arguments.push((!plain.is_empty()).then(|| plain.to_owned())?);
                }
            }
        }
    }
}

/// A value in the shell's own words as Extended JSON.
fn wrapper(word: &str, arguments: &[&str]) -> Option<String> {
    let one = |name: &str, value: &str| format!("{{\"{name}\": {}}}", in_quotes(value));
    Some(match (word, arguments) {
        ("ObjectId", [id]) => one("$oid", id),
        ("NumberLong", [number]) => one("$numberLong", number),
        ("NumberInt", [number]) => one("$numberInt", number),
        ("NumberDecimal", [number]) => one("$numberDecimal", number),
        ("UUID", [uuid]) => one("$uuid", uuid),
        ("ISODate" | "Date", [date])
            if date.bytes().all(|b| b.is_ascii_digit() || b == b'-') && !date[1..].contains('-') =>
        {
            format!("{{\"$date\": {{\"$numberLong\": \"{date}\"}}}}")
        }
        ("ISODate" | "Date", [date]) => one("$date", date),
        ("Timestamp", [t, i]) => {
            let (t, i): (u32, u32) = (t.parse().ok()?, i.parse().ok()?);
            format!("{{\"$timestamp\": {{\"t\": {t}, \"i\": {i}}}}}")
        }
        ("MinKey", []) => "{\"$minKey\": 1}".into(),
        ("MaxKey", []) => "{\"$maxKey\": 1}".into(),
        _ => return None,
    })
}

fn in_quotes(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_daemon_reads_is_left_alone_and_what_the_shell_allows_is_written_anew() {
        for (given, expected) in [
            ("[]", "[]"),
            (r#" [{"$match": {"a": 1}}] "#, r#"[{"$match": {"a": 1}}]"#),
            (
                "[{$match: {'ns.coll': {$in: ['a', \"b\"]}}}]",
                r#"[{"$match": {"ns.coll": {"$in": ["a", "b"]}}}]"#,
            ),
            (
                r"[{$match: {a: /^x\/y/i}}]",
                r#"[{"$match": {"a": {"$regularExpression": {"pattern": "^x/y", "options": "i"}}}}]"#,
            ),
            (r#"[{"$match": {"a": "\d"}}]"#, r#"[{"$match": {"a": "\\d"}}]"#),
            (
                "[{a: NumberLong(5)}, {b: new Date(7)}]",
                r#"[{"a": {"$numberLong": "5"}}, {"b": {"$date": {"$numberLong": "7"}}}]"#,
            ),
            (
                "[{a: ObjectId('0123456789abcdef01234567')}]",
                r#"[{"a": {"$oid": "0123456789abcdef01234567"}}]"#,
            ),
            ("[{a: -1.5e3, b: true, c: null}]", r#"[{"a": -1.5e3, "b": true, "c": null}]"#),
        ] {
            assert_eq!(array(given).as_deref(), Ok(expected), "{given}");
        }
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in ["{nope", "{}", "nope", "[", "[{a: b}]", "[{a: f(1)}]", "[1", "['a]"] {
            assert!(array(text).is_err(), "{text}");
        }
        for text in ["[]", "1", "{", "{a}"] {
            assert!(document(text).is_err(), "{text}");
        }
    }
}
