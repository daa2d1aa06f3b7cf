//! Text → template: which placeholders there are, and what may stand where.

use super::{Node, Place, Placeholder, Purpose, Template, What};
use crate::{
    config::Invalid,
    json,
    raw::{Document, Element, kind},
};

/// Names that run code, or write somewhere else.
const FORBIDDEN: &[&str] = &["$where", "$function", "$accumulator", "$out", "$merge"];
/// The stages that an update takes.
const STAGES: &[&str] = &["$addFields", "$set", "$project", "$unset", "$replaceRoot", "$replaceWith"];
/// Operators whose operand a whole document of the record may be.
const FIELD_OPERATORS: &[&str] = &["$set", "$setOnInsert", "$inc", "$mul", "$min", "$max"];

/// What stands at a place, as far as the server's language goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// A filter, or a list of them.
    Query,
    /// What a filter says about a field. A document without operators is compared, or, for `$pull`, a filter itself.
    Condition { is_pull: bool },
    /// Operators about a field.
    Operators,
    /// Values that are compared.
    List,
    /// Data.
    Data,
    /// The fields of an operator, with the scope of each; whether the record may say which fields these are.
    Fields { takes_whole: bool, each: Each },
    /// What is added to an array.
    Added,
    /// An expression.
    Expression,
    /// The specification of a stage: fields, each with an expression.
    Stage,
    /// Where nothing of a record may stand.
    Closed,
}

/// The scope of an operator's fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Each {
    Data,
    Added,
    Condition,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// When it is no Extended JSON, has a placeholder that is none or stands where it would not be safe, or does what no
    /// sink does.
    pub fn parse(text: &str, purpose: Purpose) -> Result<Self, Invalid> {
        let is_list = text.trim_start().starts_with('[');
        if is_list && purpose != Purpose::Update {
            return Err(Invalid("is a list; write a JSON document".into()));
        }
        let mut bson = Vec::new();
        // On a line of its own the last brace stands behind no comment.
        let wrapped = if is_list { format!("{{\"p\":{text}\n}}") } else { text.to_owned() };
        json::read_document(wrapped.as_bytes(), &mut bson)
            .map_err(|error| Invalid(format!("is no JSON document: {error}")))?;
        let document = Document::new(&bson).expect("the reader wrote this document");
        let root = match purpose {
            Purpose::Filter => filter(document)?,
            Purpose::Set => set(document)?,
            Purpose::Update if is_list => pipeline(document)?,
            Purpose::Update => update(document)?,
        };
        Ok(Self { root })
    }
}

fn members(document: Document<'_>) -> impl Iterator<Item = (&str, Element<'_>)> {
    document.elements().map(|element| {
        let element = element.expect("the reader wrote this document");
        (std::str::from_utf8(element.name).expect("the reader takes only UTF-8"), element)
    })
}

fn filter(document: Document<'_>) -> Result<Node, Invalid> {
    if document.is_empty() {
        return Err(Invalid("finds whatever document there is; name a field".into()));
    }
    query(document)
}

fn set(document: Document<'_>) -> Result<Node, Invalid> {
    if document.is_empty() {
        return Err(Invalid("sets nothing".into()));
    }
    for (name, _) in members(document) {
        if name.is_empty() || name.starts_with('$') || name.contains('.') {
            return Err(Invalid(format!(
                "sets {name:?}; a name is not empty, does not start with $ and is no path"
            )));
        }
    }
    node_of(document, |_| Scope::Data)
}

fn update(document: Document<'_>) -> Result<Node, Invalid> {
    if document.is_empty() || members(document).any(|(name, _)| !name.starts_with('$')) {
        return Err(Invalid(
            "is no update; write operators like {\"$set\": {…}}, or a pipeline like [{\"$set\": {…}}]".into(),
        ));
    }
    node_of(document, |name| match name {
        "$rename" | "$unset" => Scope::Closed,
        "$push" | "$addToSet" => Scope::Fields { takes_whole: false, each: Each::Added },
        "$pull" => Scope::Fields { takes_whole: false, each: Each::Condition },
        name => Scope::Fields { takes_whole: FIELD_OPERATORS.contains(&name), each: Each::Data },
    })
}

fn pipeline(document: Document<'_>) -> Result<Node, Invalid> {
    let not_stages = || Invalid(format!("is no pipeline of an update; its stages are {}", STAGES.join(", ")));
    let mut outer = members(document);
    let (Some((_, list)), None) = (outer.next(), outer.next()) else { return Err(not_stages()) };
    let list = list.as_document().filter(|list| !list.is_empty()).ok_or_else(not_stages)?;
    let mut stages = Vec::new();
    for (_, stage) in members(list) {
        let stage = stage.as_document().filter(|_| stage.kind == kind::DOCUMENT).ok_or_else(not_stages)?;
        let names: Vec<&str> = members(stage).map(|(name, _)| name).collect();
        let [name] = names[..] else { return Err(not_stages()) };
        refuse_forbidden(name)?;
        if !STAGES.contains(&name) {
            return Err(not_stages());
        }
        stages.push(node_of(stage, |name| match name {
            "$unset" => Scope::Closed,
            "$replaceWith" => Scope::Expression,
            _ => Scope::Stage,
        })?);
    }
    Ok(Node::Array(stages))
}

fn query(document: Document<'_>) -> Result<Node, Invalid> {
    node_of(document, |name| match name {
        "$and" | "$or" | "$nor" => Scope::Query,
        "$expr" => Scope::Expression,
        "$jsonSchema" => Scope::Closed,
        name if name.starts_with('$') => Scope::Data,
        _ => Scope::Condition { is_pull: false },
    })
}

/// Operators about a field.
fn operators(document: Document<'_>) -> Result<Node, Invalid> {
    let is_about_elements = document.get("$elemMatch").ok().flatten().is_some_and(has_operators);
    node_of(document, |name| match name {
        "$in" | "$nin" | "$all" => Scope::List,
        "$not" => Scope::Operators,
        "$elemMatch" if is_about_elements => Scope::Operators,
        "$elemMatch" => Scope::Query,
        _ => Scope::Data,
    })
}

/// Whether it is a document of operators about a field.
fn has_operators(element: Element<'_>) -> bool {
    let first = element.as_document().and_then(|document| members(document).next());
    element.looks_like_operators() && first.is_some_and(|(name, _)| !matches!(name, "$and" | "$or" | "$nor"))
}

/// A document each of whose members has the scope of its name.
fn node_of(document: Document<'_>, scope: impl Fn(&str) -> Scope) -> Result<Node, Invalid> {
    let member = |(name, element): (&str, Element<'_>)| {
        refuse_forbidden(name)?;
        if mentions_placeholder(name) {
            return Err(Invalid(format!("has {name:?} for a name; only values can come from a record")));
        }
        Ok((name.as_bytes().to_vec(), node(element, scope(name))?))
    };
    members(document).map(member).collect::<Result<_, _>>().map(Node::Document)
}

fn node(element: Element<'_>, scope: Scope) -> Result<Node, Invalid> {
    if let Some(text) = element.as_str().filter(|_| element.kind == kind::STRING) {
        return text_node(text, element, scope);
    }
    let Some(inner) = element.as_document() else {
        return Ok(Node::Fixed(element.kind, element.value.to_vec()));
    };
    if element.kind == kind::ARRAY {
        let inside = match scope {
            Scope::Condition { .. } | Scope::Fields { .. } | Scope::Added => Scope::Data,
            other => other,
        };
        let items: Result<_, _> = members(inner).map(|(_, item)| node(item, inside)).collect();
        return items.map(Node::Array);
    }
    match scope {
        Scope::Query => query(inner),
        Scope::Operators => operators(inner),
        Scope::Condition { .. } | Scope::List if has_operators(element) => operators(inner),
        Scope::Condition { is_pull: true } => query(inner),
        Scope::Fields { each, .. } => node_of(inner, |_| match each {
            Each::Data => Scope::Data,
            Each::Added => Scope::Added,
            Each::Condition => Scope::Condition { is_pull: true },
        }),
        Scope::Stage | Scope::Expression => node_of(inner, |name| match name {
            "$literal" => Scope::Data,
            _ => Scope::Expression,
        }),
        Scope::Closed => node_of(inner, |_| Scope::Closed),
        Scope::Condition { .. } | Scope::List | Scope::Data | Scope::Added => node_of(inner, |_| Scope::Data),
    }
}

fn text_node(text: &str, element: Element<'_>, scope: Scope) -> Result<Node, Invalid> {
    if let Some(literal) = text.strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}")) {
        let mut value = (literal.len() as i32 + 3).to_le_bytes().to_vec();
        value.extend_from_slice(format!("{{{literal}}}\0").as_bytes());
        return Ok(Node::Fixed(kind::STRING, value));
    }
    let Some(inside) = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) else {
        if mentions_placeholder(text) {
            let message =
                format!("has a placeholder inside of the text {text:?}; a placeholder is the whole text");
            return Err(Invalid(message));
        }
        return Ok(Node::Fixed(element.kind, element.value.to_vec()));
    };
    let (what, is_optional) = match inside.strip_suffix('?') {
        Some(inside) => (what(inside), true),
        None => (what(inside), false),
    };
    let what = what.ok_or_else(|| {
        Invalid(format!(
            "has the unknown placeholder {text}; allowed: {ALLOWED}; write {{{text}}} for the text itself"
        ))
    })?;
    let place = match scope {
        Scope::Data => Place::Plain,
        Scope::Condition { .. } => Place::Condition,
        Scope::List => Place::Listed,
        Scope::Added => Place::Added,
        Scope::Expression => Place::Expression,
        Scope::Fields { takes_whole: true, .. } => Place::Fields,
        Scope::Fields { .. } | Scope::Query | Scope::Operators | Scope::Stage | Scope::Closed => {
            return Err(Invalid(format!(
                "has {text} where a record would say what is done, and not with which values; name the fields there"
            )));
        }
    };
    Ok(Node::Filled(Placeholder { what, is_optional, place }))
}

const ALLOWED: &str = "{key}, {key.PATH}, {value}, {value.PATH}, {topic}, {partition}, {offset}, {timestamp}, \
                       {timestamp_type}, {headers.NAME}";

fn what(inside: &str) -> Option<What> {
    let (root, rest) = match inside.split_once('.') {
        Some((root, rest)) => (root, Some(rest)),
        None => (inside, None),
    };
    let path = rest.map(str::to_owned);
    match (root, rest) {
        ("key" | "value", Some(rest)) if rest.split('.').any(str::is_empty) => None,
        ("key", _) => Some(What::Key(path)),
        ("value", _) => Some(What::Value(path)),
        ("headers", Some(name)) if !name.is_empty() => Some(What::Header(name.to_owned())),
        ("topic", None) => Some(What::Topic),
        ("partition", None) => Some(What::Partition),
        ("offset", None) => Some(What::Offset),
        ("timestamp", None) => Some(What::Timestamp),
        ("timestamp_type", None) => Some(What::TimestampType),
        _ => None,
    }
}

/// Whether a placeholder stands somewhere in the text.
fn mentions_placeholder(text: &str) -> bool {
    text.match_indices('{').any(|(at, _)| {
        let inside = text[at + 1..].split_once('}').map(|(inside, _)| inside.trim_end_matches('?'));
        inside.is_some_and(|inside| what(inside).is_some())
    })
}

fn refuse_forbidden(name: &str) -> Result<(), Invalid> {
    match FORBIDDEN.contains(&name) {
        true => Err(Invalid(format!("has {name}, which runs code or writes elsewhere; a sink does neither"))),
        false => Ok(()),
    }
}
