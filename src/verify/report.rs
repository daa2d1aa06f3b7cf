//! What a comparison has found, for people and for scripts. Pure.

use std::fmt::Write;

use super::{content::State, pairs::Pair, progress::grouped};
use crate::{
    json::{self, Style},
    ranges::Id,
    raw,
    transform::equals,
};

/// What a comparison has found.
#[derive(Debug, Default)]
pub struct Report {
    /// By pairs of namespaces, in order.
    pub namespaces: Vec<Comparison>,
}

/// What was found in one pair of namespaces.
#[derive(Debug)]
pub struct Comparison {
    /// Which.
    pub pair: Pair,
    /// Documents of the source that were read.
    pub source_documents: u64,
    /// Documents of the target that were read.
    pub target_documents: u64,
    /// Whether it was left after so many differences; then there may be more.
    pub is_cut_short: bool,
    /// What was found.
    pub findings: Findings,
}

/// What was found about documents.
#[derive(Debug, Default)]
pub struct Findings {
    /// Those that differ, in the order in which that became certain.
    pub differences: Vec<Difference>,
    /// Some of those that never rested.
    pub unsettled: Vec<Id>,
    /// How many never rested.
    pub unsettled_count: u64,
}

/// One document that differs.
#[derive(Debug)]
pub struct Difference {
    /// How.
    pub kind: Kind,
    /// Which.
    pub id: Id,
    /// Of one that is different: the fields that are; none where it is their order alone, or where it is so no longer.
    pub fields: Vec<String>,
}

/// How a document differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only the source has it.
    Missing,
    /// Only the target has it.
    Extra,
    /// Both have it, with other contents.
    Different,
}

impl Kind {
    pub(super) fn of(state: State) -> Self {
        match (state.source, state.target) {
            (Some(_), Some(_)) => Self::Different,
            (_, None) => Self::Missing,
            (None, Some(_)) => Self::Extra,
        }
    }

    /// In one word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::Different => "different",
        }
    }
}

impl Findings {
    pub(super) fn add_unsettled(&mut self, id: Id, most: usize) {
        self.unsettled_count += 1;
        if self.unsettled.len() < most {
            self.unsettled.push(id);
        }
    }

    /// Whether the document is among those that differ already.
    pub(super) fn has(&self, id: &Id) -> Result<bool, raw::Error> {
        for difference in &self.differences {
            if equals(difference.id.element(), id.element())? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn count(&self, kind: Kind) -> usize {
        self.differences.iter().filter(|difference| difference.kind == kind).count()
    }
}

impl Comparison {
    fn is_equal(&self) -> bool {
        self.findings.differences.is_empty()
    }
}

impl Report {
    /// Whether no document differs.
    pub fn is_equal(&self) -> bool {
        self.namespaces.iter().all(Comparison::is_equal)
    }

    /// For people: a line for each pair and each document, and one for the whole.
    pub fn text(&self) -> String {
        let mut out = String::new();
        for namespace in &self.namespaces {
            write_text(namespace, &mut out);
        }
        let unequal = self.namespaces.iter().filter(|namespace| !namespace.is_equal()).count();
        let all = self.namespaces.len();
        let unsettled: u64 = self.namespaces.iter().map(|n| n.findings.unsettled_count).sum();
        line(
            &mut out,
            &if unequal == 0 {
                format!("equal: {all} of {all} namespaces")
            } else {
                format!("different: {unequal} of {all} namespaces")
            },
        );
        if unsettled > 0 {
            line(&mut out, &format!("{} documents kept changing and were not compared", grouped(unsettled)));
        }
        out
    }

    /// For scripts: one JSON document, in one line. `docs/operations.md` describes it.
    pub fn json(&self) -> String {
        let namespaces: Vec<_> = self.namespaces.iter().map(json_of).collect();
        format!("{{\"equal\":{},\"namespaces\":[{}]}}\n", self.is_equal(), namespaces.join(","))
    }
}

/// The report where there is none, for scripts.
pub fn json_error(message: &str) -> String {
    format!("{{\"equal\":null,\"error\":{}}}\n", quoted(message))
}

fn write_text(namespace: &Comparison, out: &mut String) {
    let Comparison { pair, source_documents, target_documents, findings, .. } = namespace;
    let (sources, targets) = (grouped(*source_documents), grouped(*target_documents));
    let verdict = if namespace.is_cut_short {
        format!("different; left after {} differences", findings.differences.len())
    } else if !namespace.is_equal() {
        format!("different; {sources} documents, in the target {targets}")
    } else if source_documents == target_documents {
        format!("equal; {sources} documents")
    } else {
        // Documents came and went while it was read.
        format!("equal; about {sources} documents")
    };
    line(out, &format!("{} → {}: {verdict}", pair.source, pair.target));
    for Difference { kind, id, fields } in &findings.differences {
        let fields = match (kind, fields.is_empty()) {
            (Kind::Different, false) => format!("  in {}", fields.join(", ")),
            _ => String::new(),
        };
        line(out, &format!("  {:<9} {}{fields}", kind.name(), extended_json(id, Style::Relaxed)));
    }
    for id in &findings.unsettled {
        line(out, &format!("  {:<9} {}", "unsettled", extended_json(id, Style::Relaxed)));
    }
}

fn line(out: &mut String, text: &str) {
    writeln!(out, "{text}").expect("a String takes everything");
}

fn json_of(namespace: &Comparison) -> String {
    let Comparison { pair, source_documents, target_documents, is_cut_short, findings } = namespace;
    let differences: Vec<_> = findings
        .differences
        .iter()
        .map(|Difference { kind, id, fields }| {
            let id = extended_json(id, Style::Canonical);
            let fields: Vec<_> = fields.iter().map(|field| quoted(field)).collect();
            format!("{{\"kind\":\"{}\",\"_id\":{id},\"fields\":[{}]}}", kind.name(), fields.join(","))
        })
        .collect();
    let unsettled: Vec<_> = findings.unsettled.iter().map(|id| extended_json(id, Style::Canonical)).collect();
    let count = |kind| findings.count(kind);
    format!(
        "{{\"source\":{},\"target\":{},\"equal\":{},\"complete\":{},\
         \"documents\":{{\"source\":{source_documents},\"target\":{target_documents}}},\
         \"missing\":{},\"extra\":{},\"different\":{},\"differences\":[{}],\
         \"unsettled\":{},\"unsettledIds\":[{}]}}",
        quoted(&pair.source.to_string()),
        quoted(&pair.target.to_string()),
        namespace.is_equal(),
        !is_cut_short,
        count(Kind::Missing),
        count(Kind::Extra),
        count(Kind::Different),
        differences.join(","),
        findings.unsettled_count,
        unsettled.join(","),
    )
}

fn extended_json(id: &Id, style: Style) -> String {
    let mut out = Vec::new();
    match json::write_value(id.element(), style, &mut out) {
        Ok(()) => String::from_utf8_lossy(&out).into_owned(),
        Err(error) => quoted(&format!("an _id that cannot be shown: {error}")),
    }
}

fn quoted(text: &str) -> String {
    let mut out = Vec::new();
    json::write_quoted(text.as_bytes(), &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use bson::{Bson, doc, oid::ObjectId};

    use super::*;
    use crate::namespace::Namespace;

    fn id(value: impl Into<Bson>) -> Id {
        Id::from_bytes(doc! { "_id": value.into() }.to_vec().expect("writable")).expect("an _id")
    }

    fn comparison(coll: &str, differences: Vec<Difference>) -> Comparison {
        let namespace = |db: &str| Namespace { db: db.into(), coll: coll.into() };
        Comparison {
            pair: Pair { source: namespace("shop"), target: namespace("copy") },
            source_documents: 1_200,
            target_documents: 1_200,
            is_cut_short: false,
            findings: Findings { differences, ..Findings::default() },
        }
    }

    fn differences() -> Vec<Difference> {
        let difference = |kind, id, fields: &[&str]| {
            let fields = fields.iter().map(ToString::to_string).collect();
            Difference { kind, id, fields }
        };
        vec![
            difference(Kind::Missing, id(ObjectId::from_bytes([1; 12])), &[]),
            difference(Kind::Extra, id(7), &[]),
            difference(Kind::Different, id("a"), &["total", "status"]),
        ]
    }

    #[test]
    fn people_get_a_line_for_each_namespace_and_document() {
        let mut report =
            Report { namespaces: vec![comparison("carts", Vec::new()), comparison("orders", differences())] };
        let expected = "shop.carts → copy.carts: equal; 1,200 documents\n\
                        shop.orders → copy.orders: different; 1,200 documents, in the target 1,200\n\
                        \x20 missing   {\"$oid\": \"010101010101010101010101\"}\n\
                        \x20 extra     7\n\
                        \x20 different \"a\"  in total, status\n\
                        different: 1 of 2 namespaces\n";
        assert_eq!(report.text(), expected);
        report.namespaces.pop();
        report.namespaces[0].findings.add_unsettled(id(1), 10);
        let expected = "shop.carts → copy.carts: equal; 1,200 documents\n  unsettled 1\n\
                        equal: 1 of 1 namespaces\n1 documents kept changing and were not compared\n";
        assert_eq!(report.text(), expected);
        assert!(report.is_equal());
    }

    #[test]
    fn scripts_get_one_json_document_that_keeps_the_types_of_ids() {
        let mut report = Report { namespaces: vec![comparison("orders", differences())] };
        report.namespaces[0].is_cut_short = true;
        report.namespaces[0].findings.add_unsettled(id(5_i64), 10);
        let text = report.json();
        assert_eq!(text.lines().count(), 1);
        let found: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let oid = "010101010101010101010101";
        let expected = serde_json::json!({
            "equal": false,
            "namespaces": [{
                "source": "shop.orders", "target": "copy.orders", "equal": false, "complete": false,
                "documents": { "source": 1200, "target": 1200 },
                "missing": 1, "extra": 1, "different": 1,
                "differences": [
                    { "kind": "missing", "_id": { "$oid": oid }, "fields": [] },
                    { "kind": "extra", "_id": { "$numberInt": "7" }, "fields": [] },
                    { "kind": "different", "_id": "a", "fields": ["total", "status"] },
                ],
                "unsettled": 1, "unsettledIds": [{ "$numberLong": "5" }],
            }],
        });
        assert_eq!(found, expected);
        assert_eq!(json_error("no \"server\""), "{\"equal\":null,\"error\":\"no \\\"server\\\"\"}\n");
    }

    #[test]
    fn a_document_is_known_by_what_the_server_takes_for_its_id() {
        let mut findings = Findings { differences: differences(), ..Findings::default() };
        assert!(findings.has(&id(7.0)).expect("sound") && !findings.has(&id(8)).expect("sound"));
        findings.add_unsettled(id(1), 0);
        assert_eq!((findings.unsettled.len(), findings.unsettled_count), (0, 1));
    }
}
