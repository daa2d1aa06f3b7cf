//! Names with placeholders: how a namespace becomes a topic, and a topic a namespace.

use super::{Invalid, NameSource, Piece, Template};

impl Template {
    /// Reads `{db}`, `{coll}`, `{topic}`, and fields of a record with what may stand for them, as in
    /// `{value.tenant|key.tenant|'main'}`; `{{` and `}}` are braces.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        Self::read(text, false)
    }

    /// As [`Template::parse`]; what stands in `[…]` is there only for collections. `[[` and `]]` are brackets.
    pub fn parse_topic(text: &str) -> Result<Self, Invalid> {
        Self::read(text, true)
    }

    fn read(text: &str, has_groups: bool) -> Result<Self, Invalid> {
        let special: &[char] = if has_groups { &['{', '}', '[', ']'] } else { &['{', '}'] };
        let mut whole = Self { pieces: Vec::new() };
        // The pieces before the bracket that is open.
        let mut outer: Option<Self> = None;
        let mut rest = text;
        while let Some(at) = rest.find(special) {
            whole.push_text(&rest[..at]);
            let tail = &rest[at..];
            let sign = &tail[..1];
            if tail[1..].starts_with(sign) {
                whole.push_text(sign);
                rest = &tail[2..];
                continue;
            }
            rest = &tail[1..];
            match (sign, &mut outer) {
                ("{", _) => {
                    let (placeholder, after) = rest.split_once('}').ok_or_else(unpaired_brace)?;
                    whole.pieces.push(piece(placeholder, !has_groups)?);
                    rest = after;
                }
                ("[", None) => outer = Some(std::mem::replace(&mut whole, Self { pieces: Vec::new() })),
                ("]", Some(before)) => {
                    let group =
                        std::mem::replace(&mut whole, std::mem::replace(before, Self { pieces: Vec::new() }));
                    whole.pieces.push(Piece::IfCollection(group.pieces));
                    outer = None;
                }
                ("[" | "]", _) => return Err(unpaired_bracket()),
                _ => return Err(unpaired_brace()),
            }
        }
        whole.push_text(rest);
        if outer.is_some() {
            return Err(unpaired_bracket());
        }
        if whole.pieces.is_empty() { Err(Invalid("is empty".into())) } else { Ok(whole) }
    }

    /// Appends the name for these values to `out`.
    pub fn render(&self, db: &str, coll: &str, topic: &str, out: &mut String) {
        self.render_with(db, coll, topic, &mut std::iter::empty(), out);
    }

    /// As [`Template::render`], with these for the pieces [`Piece::FirstOf`] in their order; without one, a `*`.
    pub fn render_with(
        &self,
        db: &str,
        coll: &str,
        topic: &str,
        fields: &mut dyn Iterator<Item = &str>,
        out: &mut String,
    ) {
        render(&self.pieces, [db, coll, topic], fields, out);
    }

    /// Whether fields of the record make a part of the name.
    pub fn has_fields(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::FirstOf(_)))
    }

    /// Whether the names of database and collection, or one of them, make a part of the name.
    pub fn uses_names(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Database | Piece::Collection))
    }

    /// Whether part of the name is there only for collections.
    pub fn has_groups(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::IfCollection(_)))
    }

    /// Whether every namespace has a name of its own, as far as placeholders can see to that.
    pub fn names_database_and_collection(&self) -> bool {
        let mut whole = String::new();
        self.render("\u{1}", "\u{2}", "", &mut whole);
        whole.contains('\u{1}') && whole.contains('\u{2}')
    }

    /// The literal texts in it.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        fn flat(piece: &Piece) -> &[Piece] {
            match piece {
                Piece::IfCollection(pieces) => pieces,
                piece => std::slice::from_ref(piece),
            }
        }
        fn texts(piece: &Piece) -> Vec<&str> {
            match piece {
                Piece::Text(text) => vec![text],
                Piece::FirstOf(sources) => sources.iter().filter_map(NameSource::text).collect(),
                _ => Vec::new(),
            }
        }
        self.pieces.iter().flat_map(flat).flat_map(texts)
    }

    /// The name, where no placeholder makes it depend on anything.
    pub fn literal(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Whether `{topic}` occurs.
    pub(super) fn uses_topic(&self) -> bool {
        self.pieces.contains(&Piece::Topic)
    }

    /// A glob over every name that this can make.
    pub(super) fn glob(&self) -> String {
        let mut glob = String::new();
        self.render("*", "*", "*", &mut glob);
        glob
    }

    /// Neighbouring texts are kept as one piece.
    fn push_text(&mut self, text: &str) {
        match self.pieces.last_mut() {
            _ if text.is_empty() => {}
            Some(Piece::Text(last)) => last.push_str(text),
            _ => self.pieces.push(Piece::Text(text.into())),
        }
    }
}

impl NameSource {
    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// `names`: of database, collection and topic.
fn render(pieces: &[Piece], names: [&str; 3], fields: &mut dyn Iterator<Item = &str>, out: &mut String) {
    let [db, coll, topic] = names;
    for piece in pieces {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Database => out.push_str(db),
            Piece::Collection => out.push_str(coll),
            Piece::Topic => out.push_str(topic),
            Piece::IfCollection(_) if coll.is_empty() => {}
            Piece::IfCollection(pieces) => render(pieces, names, fields, out),
            Piece::FirstOf(_) => out.push_str(fields.next().unwrap_or("*")),
        }
    }
}

fn piece(placeholder: &str, has_fields: bool) -> Result<Piece, Invalid> {
    match placeholder {
        "db" => Ok(Piece::Database),
        "coll" => Ok(Piece::Collection),
        "topic" => Ok(Piece::Topic),
        _ if has_fields => {
            let sources: Option<_> = placeholder.split('|').map(|text| source(text.trim())).collect();
            sources.map(Piece::FirstOf).ok_or_else(|| unknown(placeholder))
        }
        _ => Err(unknown(placeholder)),
    }
}

fn source(text: &str) -> Option<NameSource> {
    if let Some(text) = text.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')) {
        return (!text.contains('\'')).then(|| NameSource::Text(text.to_owned()));
    }
    match (text, text.split_once('.')) {
        ("db", _) => Some(NameSource::Database),
        ("coll", _) => Some(NameSource::Collection),
        ("topic", _) => Some(NameSource::Topic),
        (_, Some((_, path))) if path.split('.').any(str::is_empty) => None,
        (_, Some(("value", path))) => Some(NameSource::Value(path.to_owned())),
        (_, Some(("key", path))) => Some(NameSource::Key(path.to_owned())),
        _ => None,
    }
}

fn unknown(placeholder: &str) -> Invalid {
    Invalid(format!("has the unknown placeholder {{{placeholder}}}"))
}

fn unpaired_brace() -> Invalid {
    Invalid("has a brace without its partner; write {{ or }} for a brace itself".into())
}

fn unpaired_bracket() -> Invalid {
    Invalid(
        "has a bracket without its partner, or one inside another; write [[ or ]] for a bracket itself"
            .into(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(text: &str) -> String {
        let mut out = String::from(">");
        Template::parse(text).expect("the template is sound").render("D", "C", "T", &mut out);
        out
    }

    #[test]
    fn placeholders_are_filled_and_doubled_braces_are_braces() {
        assert_eq!(rendered("{db}.{coll}"), ">D.C");
        assert_eq!(rendered("cdc.{topic}-x"), ">cdc.T-x");
        assert_eq!(rendered("{{{db}}}"), ">{D}");
        assert_eq!(rendered("a{{b}}c"), ">a{b}c");
    }

    #[test]
    fn text_around_escapes_stays_one_piece() {
        let template = Template::parse("a{{b").expect("the template is sound");
        assert_eq!(template.literal(), Some("a{b"));
        assert_eq!(Template::parse("a{db}").expect("the template is sound").literal(), None);
    }

    #[test]
    fn what_is_in_brackets_is_only_there_for_collections() {
        let template = Template::parse_topic("p.{db}[.{coll}-x].s[[0]]").expect("the template is sound");
        let rendered = |coll: &str| {
            let mut out = String::new();
            template.render("D", coll, "", &mut out);
            out
        };
        assert_eq!(rendered("C"), "p.D.C-x.s[0]");
        assert_eq!(rendered(""), "p.D.s[0]");
        assert_eq!(Template::parse("a[{db}]").map(|t| t.has_groups()), Ok(false));
        for text in ["[{db}", "{db}]", "[a[b]]", "a]["] {
            let message = Template::parse_topic(text).expect_err("the template is wrong").to_string();
            assert!(message.contains("bracket"), "{text}: {message}");
        }
    }

    #[test]
    fn unknown_placeholders_and_single_braces_are_refused() {
        let message = |text: &str| Template::parse(text).expect_err("the template is wrong").to_string();
        assert_eq!(message("{database}.x"), "has the unknown placeholder {database}");
        for text in ["{db", "db}", "}{", "a{"] {
            assert!(message(text).contains("brace"), "{text}");
        }
        assert_eq!(message(""), "is empty");
        for text in ["{value}", "{value.}", "{value.a..b}", "{value.a|}", "{value.a|other}", "{'a}"] {
            assert!(message(text).contains("unknown placeholder"), "{text}");
        }
        assert!(Template::parse_topic("{value.a}").is_err(), "a source has no record to look into");
    }

    #[test]
    fn fields_of_the_record_are_placeholders_with_what_may_stand_for_them() {
        let template =
            Template::parse("{value.a.b|key.c|db|'main'}.{coll|topic}").expect("the template is sound");
        assert!(template.has_fields() && !template.uses_topic());
        assert_eq!((template.glob().as_str(), template.literal()), ("*.*", None));
        assert_eq!(template.texts().collect::<Vec<_>>(), ["main", "."]);
        let mut out = String::new();
        template.render_with("D", "C", "T", &mut ["x", "y"].into_iter(), &mut out);
        assert_eq!(out, "x.y");
    }
}
