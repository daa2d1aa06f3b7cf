//! Names with placeholders: how a namespace becomes a topic, and a topic a namespace.

use super::{Invalid, Piece, Template};

impl Template {
    /// Reads `{db}`, `{coll}` and `{topic}`; `{{` and `}}` are braces.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let mut template = Self { pieces: Vec::new() };
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            template.push_text(&rest[..at]);
            let tail = &rest[at..];
            if tail.starts_with("{{") || tail.starts_with("}}") {
                template.push_text(&tail[..1]);
                rest = &tail[2..];
                continue;
            }
            let placeholder = tail.strip_prefix('{').and_then(|inner| inner.split_once('}'));
            let Some((placeholder, after)) = placeholder else {
                return Err(Invalid(
                    "has a brace without its partner; write {{ or }} for a brace itself".into(),
                ));
            };
            template.pieces.push(match placeholder {
                "db" => Piece::Database,
                "coll" => Piece::Collection,
                "topic" => Piece::Topic,
                _ => return Err(Invalid(format!("has the unknown placeholder {{{placeholder}}}"))),
            });
            rest = after;
        }
        template.push_text(rest);
        if template.pieces.is_empty() { Err(Invalid("is empty".into())) } else { Ok(template) }
    }

    /// Appends the name for these values to `out`.
    pub fn render(&self, db: &str, coll: &str, topic: &str, out: &mut String) {
        for piece in &self.pieces {
            out.push_str(match piece {
                Piece::Text(text) => text,
                Piece::Database => db,
                Piece::Collection => coll,
                Piece::Topic => topic,
            });
        }
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
    fn unknown_placeholders_and_single_braces_are_refused() {
        let message = |text: &str| Template::parse(text).expect_err("the template is wrong").to_string();
        assert_eq!(message("{database}.x"), "has the unknown placeholder {database}");
        for text in ["{db", "db}", "}{", "a{"] {
            assert!(message(text).contains("brace"), "{text}");
        }
        assert_eq!(message(""), "is empty");
    }
}
