//! Query document → condition. Refuses what is not known, because a condition half understood would drop the wrong
//! events.

use super::{Condition, Order, Test, Value};
use crate::{
    config::Invalid,
    json,
    raw::{Document, Element, kind},
};

const OF_DOCUMENTS: &str = "$and, $or, $nor";
const OF_FIELDS: &str =
    "$eq, $ne, $gt, $gte, $lt, $lte, $in, $nin, $exists, $type, $not, $regex with $options";
/// How deep conditions may be nested; documents that are compared do not count.
const MOST_LEVELS: usize = 100;

pub(super) fn parse(text: &str) -> Result<Condition, Invalid> {
    let mut bson = Vec::new();
    json::read_document(text.as_bytes(), &mut bson)
        .map_err(|err| Invalid(format!("is no JSON document: {err}")))?;
    let document = Document::new(&bson).expect("the reader wrote this document");
    if document.is_empty() {
        return invalid(
            "is empty and would match every event; name a field, like {\"operationType\": \"delete\"}",
        );
    }
    query(document, 0)
}

fn query(document: Document<'_>, level: usize) -> Result<Condition, Invalid> {
    if level > MOST_LEVELS {
        return invalid("is nested too deep");
    }
    let mut conditions = Vec::new();
    for element in elements(document) {
        let name = text(element.name);
        match name {
            "$and" => conditions.push(Condition::All(queries(element, level)?)),
            "$or" => conditions.push(Condition::Any(queries(element, level)?)),
            "$nor" => conditions.push(not(Condition::Any(queries(element, level)?))),
            _ if name.starts_with('$') => {
                return Err(Invalid(format!(
                    "uses {name}, which is not known here; known are {OF_DOCUMENTS}"
                )));
            }
            _ => conditions.push(field(name, element, level)?),
        }
    }
    Ok(Condition::All(conditions))
}

fn queries(element: Element<'_>, level: usize) -> Result<Vec<Condition>, Invalid> {
    let name = text(element.name);
    let refuse =
        || Invalid(format!("has no list of documents with {name}; write {{\"{name}\": [{{…}}, {{…}}]}}"));
    let array = element.as_document().filter(|_| element.kind == kind::ARRAY).ok_or_else(refuse)?;
    if array.is_empty() {
        return Err(refuse());
    }
    elements(array)
        .map(|item| {
            let item = item.as_document().filter(|_| item.kind == kind::DOCUMENT).ok_or_else(refuse)?;
            query(item, level + 1)
        })
        .collect()
}

fn field(name: &str, element: Element<'_>, level: usize) -> Result<Condition, Invalid> {
    let path: Vec<Box<str>> = name.split('.').map(Into::into).collect();
    if path.iter().any(|step| step.is_empty() || step.starts_with('$')) {
        return Err(Invalid(format!("has the field {name:?}, which is no path of plain names")));
    }
    match element.as_document().filter(|inner| element.kind == kind::DOCUMENT && has_operators(*inner)) {
        Some(operators) => tests(&path, operators, level),
        None => Ok(Condition::Field(path, equal_or_regex(element)?)),
    }
}

fn has_operators(document: Document<'_>) -> bool {
    elements(document).any(|element| element.name.first() == Some(&b'$'))
}

/// All of the operators on one field.
fn tests(path: &[Box<str>], operators: Document<'_>, level: usize) -> Result<Condition, Invalid> {
    if level > MOST_LEVELS {
        return invalid("is nested too deep");
    }
    let on_field = |test| Condition::Field(path.to_vec(), test);
    let options = elements(operators).find(|element| element.name == b"$options");
    if options.is_some() && !elements(operators).any(|element| element.name == b"$regex") {
        return invalid("has $options without $regex");
    }
    let mut conditions = Vec::new();
    for element in elements(operators) {
        conditions.push(match text(element.name) {
            "$eq" => on_field(Test::Equal(Value::of(element))),
            "$ne" => not(on_field(Test::Equal(refuse_regex(element)?))),
            "$gt" => on_field(Test::Order(Order::Greater, refuse_regex(element)?)),
            "$gte" => on_field(Test::Order(Order::GreaterOrEqual, refuse_regex(element)?)),
            "$lt" => on_field(Test::Order(Order::Less, refuse_regex(element)?)),
            "$lte" => on_field(Test::Order(Order::LessOrEqual, refuse_regex(element)?)),
            "$in" => on_field(one_of(element)?),
            "$nin" => not(on_field(one_of(element)?)),
            "$exists" if is_true(element) => on_field(Test::Exists),
            "$exists" => not(on_field(Test::Exists)),
            "$type" => on_field(Test::Type(kinds(element)?)),
            "$regex" => on_field(Test::Regex(regex(element, options)?)),
            "$options" => continue,
            "$not" => not(negated(path, element, level)?),
            name => {
                return Err(Invalid(format!(
                    "uses {name:?} on a field, which is not known here; known are {OF_FIELDS}"
                )));
            }
        });
    }
    Ok(Condition::All(conditions))
}

fn negated(path: &[Box<str>], element: Element<'_>, level: usize) -> Result<Condition, Invalid> {
    if element.kind == kind::REGEX {
        return Ok(Condition::Field(path.to_vec(), Test::Regex(regex(element, None)?)));
    }
    match element.as_document().filter(|inner| element.kind == kind::DOCUMENT && has_operators(*inner)) {
        Some(operators) => tests(path, operators, level + 1),
        None => invalid("has a $not without operators; write {\"$not\": {\"$gt\": 5}}, or $ne for a value"),
    }
}

fn not(condition: Condition) -> Condition {
    Condition::Not(Box::new(condition))
}

fn equal_or_regex(element: Element<'_>) -> Result<Test, Invalid> {
    if element.kind == kind::REGEX {
        regex(element, None).map(Test::Regex)
    } else {
        Ok(Test::Equal(Value::of(element)))
    }
}

fn refuse_regex(element: Element<'_>) -> Result<Value, Invalid> {
    if element.kind == kind::REGEX {
        let name = text(element.name);
        return Err(Invalid(format!("has a regular expression with {name}; use $regex, or $not around it")));
    }
    Ok(Value::of(element))
}

fn one_of(element: Element<'_>) -> Result<Test, Invalid> {
    let Some(array) = element.as_document().filter(|_| element.kind == kind::ARRAY) else {
        return Err(Invalid(format!("has no list with {}", text(element.name))));
    };
    if elements(array).any(|item| item.as_document().is_some_and(has_operators)) {
        return Err(Invalid(format!("has operators in the list of {}", text(element.name))));
    }
    Ok(Test::In(elements(array).map(equal_or_regex).collect::<Result<_, _>>()?))
}

/// As the server takes any value for a truth value.
fn is_true(element: Element<'_>) -> bool {
    match element.kind {
        kind::NULL | kind::UNDEFINED => false,
        _ => {
            element.as_bool().unwrap_or(true) && element.as_i64() != Some(0) && element.as_f64() != Some(0.0)
        }
    }
}

fn kinds(element: Element<'_>) -> Result<Vec<u8>, Invalid> {
    let mut found = Vec::new();
    match element.as_document().filter(|_| element.kind == kind::ARRAY) {
        None => kind_of(element, &mut found)?,
        Some(list) => elements(list).try_for_each(|item| kind_of(item, &mut found))?,
    }
    if found.is_empty() {
        return invalid("has an empty list with $type");
    }
    Ok(found)
}

/// <https://www.mongodb.com/docs/manual/reference/operator/query/type/>
const TYPES: [(&str, u8); 21] = [
    ("double", kind::DOUBLE),
    ("string", kind::STRING),
    ("object", kind::DOCUMENT),
    ("array", kind::ARRAY),
    ("binData", kind::BINARY),
    ("undefined", kind::UNDEFINED),
    ("objectId", kind::OBJECT_ID),
    ("bool", kind::BOOLEAN),
    ("date", kind::DATE_TIME),
    ("null", kind::NULL),
    ("regex", kind::REGEX),
    ("dbPointer", kind::DB_POINTER),
    ("javascript", kind::CODE),
    ("symbol", kind::SYMBOL),
    ("javascriptWithScope", kind::CODE_WITH_SCOPE),
    ("int", kind::INT32),
    ("timestamp", kind::TIMESTAMP),
    ("long", kind::INT64),
    ("decimal", kind::DECIMAL128),
    ("minKey", kind::MIN_KEY),
    ("maxKey", kind::MAX_KEY),
];

fn kind_of(element: Element<'_>, found: &mut Vec<u8>) -> Result<(), Invalid> {
    if element.as_str() == Some("number") {
        found.extend([kind::INT32, kind::INT64, kind::DOUBLE, kind::DECIMAL128]);
        return Ok(());
    }
    let known = TYPES.iter().find(|(name, kind)| {
        element.as_str() == Some(name)
            || element.as_i64() == Some(if *kind == kind::MIN_KEY { -1 } else { i64::from(*kind) })
    });
    let Some((_, kind)) = known else {
        let names: Vec<_> = TYPES.iter().map(|(name, _)| *name).collect();
        return Err(Invalid(format!("has no type with $type; known are number, {}", names.join(", "))));
    };
    found.push(*kind);
    Ok(())
}

fn regex(element: Element<'_>, options: Option<Element<'_>>) -> Result<regex::bytes::Regex, Invalid> {
    let (pattern, own_options) = if element.kind == kind::REGEX {
        let mut parts = element.value.split(|byte| *byte == 0);
        (text(parts.next().unwrap_or_default()), text(parts.next().unwrap_or_default()))
    } else {
        let Some(pattern) = element.as_str().filter(|_| element.kind == kind::STRING) else {
            return invalid("has no text with $regex");
        };
        (pattern, "")
    };
    let options = match options {
        None => own_options,
        Some(options) => options.as_str().ok_or_else(|| Invalid("has no text with $options".into()))?,
    };
    let mut builder = regex::bytes::RegexBuilder::new(pattern);
    for option in options.chars() {
        match option {
            'i' => builder.case_insensitive(true),
            'm' => builder.multi_line(true),
            's' => builder.dot_matches_new_line(true),
            'x' => builder.ignore_whitespace(true),
            _ => {
                return Err(Invalid(format!(
                    "has the regular expression's option {option:?}; known are i, m, s, x"
                )));
            }
        };
    }
    builder.build().map_err(|err| {
        let message = err.to_string();
        let reason = message.lines().last().unwrap_or_default().trim_start_matches("error: ");
        Invalid(format!("has the regular expression {pattern:?}, which cannot be used: {reason}"))
    })
}

fn elements(document: Document<'_>) -> impl Iterator<Item = Element<'_>> {
    document.elements().map(|element| element.expect("the reader wrote this document"))
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("the reader takes only UTF-8")
}

fn invalid<T>(problem: &str) -> Result<T, Invalid> {
    Err(Invalid(problem.into()))
}
