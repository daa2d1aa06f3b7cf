//! Random updates with every operator that the server has, for documents of one form.
//!
//! The server refuses some of them (two operators on one path, an operator on the wrong type): then nothing has changed,
//! and the next one follows. What is left out, on purpose: pipelines that move fields which are already there, because an
//! event does not say where they went; and names with dots, which
//! servers before 6.1 do not tell from paths.

use bson::{Array, Bson, Document, bson, doc};
use mongodb::options::UpdateModifications;

use super::random::Random;

/// What stays in each document, so that a delta is always smaller than the document, and the server writes one.
const FILLER_BYTES: usize = 4_000;

/// Paths at which there are mostly numbers.
const NUMBERS: [&str; 7] = ["n", "deep.n", "deep.in.n", "7", "deep.0", "list.1", "new.n"];
/// Paths at which there are mostly arrays of numbers.
const LISTS: [&str; 6] = ["list", "deep.list", "deep.in.list", "nested.0", "nested.1.1", "new.list"];
/// Paths at which there are mostly arrays of documents with a number `k`.
const ROWS: [&str; 3] = ["rows", "deep.rows", "deep.in.rows"];
/// Paths at which there is anything or nothing.
const ANY: [&str; 16] = [
    "free",
    "b",
    "a.b",
    "a.b.c",
    "a.10",
    "a.1",
    "a.x.0",
    "deep.free.x",
    "deep.free.y",
    "deep.1",
    "rows.0.v",
    "rows.2.v",
    "rows.1.t.2",
    "nested.2.0",
    "nested.0.4",
    "list.6",
];
/// Names of fields that only a pipeline can write one by one.
const NAMES: [&str; 5] = ["$x", "$", "7", "$0", "0"];
/// Names of fields inside of values.
const INNER: [&str; 7] = ["x", "y", "0", "1", "$x", "c", "ключ"];

/// An update as the server takes it.
#[derive(Clone, Debug)]
pub struct Update {
    /// The operators in it, or the pipeline's name.
    pub kinds: Vec<&'static str>,
    /// Operators or a pipeline.
    pub modification: UpdateModifications,
    /// For the operators.
    pub array_filters: Vec<Document>,
}

/// Every kind that [`Updates::draw`] makes.
pub const KINDS: [&str; 25] = [
    "$set",
    "$unset",
    "$inc",
    "$mul",
    "$min",
    "$max",
    "$rename",
    "$currentDate",
    "$push",
    "$push $sort",
    "$addToSet",
    "$pop",
    "$pull",
    "$pullAll",
    "$bit",
    "$[]",
    "$[e]",
    "$[e].t.$[f]",
    "set",
    "compute",
    "unset",
    "shorten",
    "map",
    "setField",
    "removeField",
];

/// Makes updates.
#[derive(Clone, Debug)]
pub struct Updates {
    random: Random,
}

impl Updates {
    /// The same ones for the same seed.
    pub fn new(seed: u64) -> Self {
        Self { random: Random::new(seed, 0) }
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        self.random.below(bound)
    }

    /// A document to begin with.
    pub fn document(&mut self, id: i32) -> Document {
        let list = |random: &mut Random| (0..5).map(|_| number(random)).collect::<Array>();
        let row = |random: &mut Random| bson!({ "k": number(random), "v": 1, "t": list(random) });
        let rows = |random: &mut Random| (0..4).map(|_| row(random)).collect::<Array>();
        let random = &mut self.random;
        doc! {
            "_id": id, "n": number(random), "filler": "x".repeat(FILLER_BYTES),
            "deep": {
                "n": 1, "list": list(random), "0": 5, "in": { "n": 2.5, "list": list(random), "rows": rows(random) },
                "rows": rows(random), "padding": "y".repeat(300),
            },
            "list": list(random), "rows": rows(random),
            "nested": [list(random), [1, list(random)], { "0": 1 }],
            "a": { "b": 1, "padding": "z".repeat(300) }, "7": 7, "$x": { "y": 1 },
        }
    }

    /// The next update.
    pub fn draw(&mut self) -> Update {
        if self.random.below(4) == 0 {
            let (kind, stages) = self.pipeline();
            let modification = UpdateModifications::Pipeline(stages);
            return Update { kinds: vec![kind], modification, array_filters: Vec::new() };
        }
        let (mut operators, mut kinds, mut array_filters) = (Document::new(), Vec::new(), Vec::new());
        for _ in 0..=self.random.below(6).saturating_sub(3) {
            let (kind, operator, members) = self.operator();
            kinds.push(kind);
            if kind.starts_with("$[e]") {
                array_filters = vec![doc! { "e.k": { "$gte": 0 } }];
            }
            if kind.ends_with("$[f]") {
                array_filters.push(doc! { "f": { "$lt": 3 } });
            }
            match operators.get_document_mut(operator) {
                Ok(there) => there.extend(members),
                Err(_) => drop(operators.insert(operator, members)),
            }
        }
        Update { kinds, modification: UpdateModifications::Document(operators), array_filters }
    }

    /// Kind, operator and its members.
    fn operator(&mut self) -> (&'static str, &'static str, Document) {
        match self.random.below(5) {
            0 | 1 => self.of_fields(),
            2 | 3 => self.of_arrays(),
            _ => self.of_elements(),
        }
    }

    fn of_fields(&mut self) -> (&'static str, &'static str, Document) {
        let random = &mut self.random;
        let plain =
            |operator: &'static str, path: &str, value: Bson| (operator, operator, doc! { path: value });
        let number_path = *random.choose(&NUMBERS);
        match random.below(10) {
            0 | 1 => {
                let count = 1 + random.below(3);
                let members = (0..count).map(|_| (self.any_path().to_owned(), value(&mut self.random, 2)));
                ("$set", "$set", members.collect())
            }
            2 => {
                let count = 1 + random.below(3);
                let members = (0..count).map(|_| (self.any_path().to_owned(), Bson::from(1)));
                ("$unset", "$unset", members.collect())
            }
            3 => plain("$inc", number_path, number(random)),
            4 => plain("$mul", number_path, number(random)),
            5 => plain("$min", number_path, number(random)),
            6 => plain("$max", number_path, number(random)),
            7 => {
                let to = *random.choose(&["free", "deep.free.z", "b", "new.x", "a.c"]);
                let from =
                    *random.choose(&["free", "b", "deep.free.z", "deep.in.x", "a.c", "n", "7", "new.x"]);
                plain("$rename", from, to.into())
            }
            8 => {
                let kind = *random.choose(&["date", "timestamp"]);
                let path = *random.choose(&["at", "deep.at", "rows.0.at"]);
                plain("$currentDate", path, bson!({ "$type": kind }))
            }
            _ => {
                let operation = *random.choose(&["and", "or", "xor"]);
                let operand = random.below(16) as i32;
                plain("$bit", number_path, bson!({ operation: operand }))
            }
        }
    }

    fn of_arrays(&mut self) -> (&'static str, &'static str, Document) {
        let random = &mut self.random;
        let list = *random.choose(&LISTS);
        let rows = *random.choose(&ROWS);
        match random.below(8) {
            0 => ("$push", "$push", doc! { list: number(random) }),
            1 => {
                let mut push = doc! { "$each": numbers(random) };
                if random.below(2) == 0 {
                    push.insert("$position", random.below(9) as i32 - 4);
                }
                if random.below(2) == 0 {
                    push.insert("$slice", random.below(14) as i32 - 7);
                }
                ("$push", "$push", doc! { list: push })
            }
            2 => {
                let row = doc! { "k": number(random), "v": value(random, 1), "t": numbers(random) };
                let order = *random.choose(&[-1, 1]);
                let push =
                    doc! { "$each": [row], "$sort": { "k": order }, "$slice": 1 + random.below(5) as i32 };
                ("$push $sort", "$push", doc! { rows: push })
            }
            3 => ("$addToSet", "$addToSet", doc! { list: { "$each": numbers(random) } }),
            4 => ("$pop", "$pop", doc! { list: *random.choose(&[-1, 1]) }),
            5 => ("$pull", "$pull", doc! { list: { "$lt": number(random) } }),
            6 => ("$pull", "$pull", doc! { rows: { "k": number(random) } }),
            _ => ("$pullAll", "$pullAll", doc! { list: numbers(random) }),
        }
    }

    fn of_elements(&mut self) -> (&'static str, &'static str, Document) {
        let random = &mut self.random;
        let rows = *random.choose(&ROWS);
        match random.below(3) {
            0 => ("$[]", "$inc", doc! { format!("{rows}.$[].n"): 1 }),
            1 => ("$[e]", "$set", doc! { format!("{rows}.$[e].v"): value(random, 1) }),
            _ => ("$[e].t.$[f]", "$inc", doc! { format!("{rows}.$[e].t.$[f]"): 1 }),
        }
    }

    fn pipeline(&mut self) -> (&'static str, Vec<Document>) {
        let random = &mut self.random;
        let list = *random.choose(&["list", "deep.list", "deep.in.list"]);
        let path = format!("${list}");
        let whole = |array: Bson| bson!({ "$cond": [{ "$isArray": path.as_str() }, array, [1, 2, 3]] });
        match random.below(7) {
            0 => {
                let path = *random.choose(&["free", "a.b", "deep.free", "new.x", "a.0"]);
                ("set", vec![doc! { "$set": { path: literal(value(random, 2)) } }])
            }
            1 => {
                let sum = bson!({ "$cond": [{ "$isNumber": "$n" }, { "$mod": ["$n", 1000] }, 1] });
                ("compute", vec![doc! { "$set": { "deep.n": sum, "n": { "$size": whole("$list".into()) } } }])
            }
            2 => {
                let paths =
                    [*random.choose(&["free", "b", "at"]), *random.choose(&["deep.free.x", "a.b", "new"])];
                ("unset", vec![doc! { "$unset": &paths[..] }])
            }
            3 => {
                let length = 1 + random.below(3) as i32;
                (
                    "shorten",
                    vec![doc! { "$set": { list: whole(bson!({ "$slice": [path.as_str(), length] })) } }],
                )
            }
            4 => {
                let changed =
                    bson!({ "$cond": [{ "$eq": ["$$this", 2] }, literal(value(random, 1)), "$$this"] });
                (
                    "map",
                    vec![
                        doc! { "$set": { list: whole(bson!({ "$map": { "input": path.as_str(), "in": changed } })) } },
                    ],
                )
            }
            5 => {
                let value = value(random, 2);
                ("setField", self.with_names(|_| literal(value.clone())))
            }
            _ => ("removeField", self.with_names(|_| "$$REMOVE".into())),
        }
    }

    /// Sets fields, at the top or below, by names that no path can say.
    fn with_names(&mut self, value: impl Fn(&str) -> Bson) -> Vec<Document> {
        let count = 1 + self.random.below(2);
        let mut stages = Vec::new();
        for _ in 0..count {
            let name = *self.random.choose(&NAMES);
            stages.push(match self.random.below(3) {
                0 => doc! { "$replaceWith": set_field(name, "$$ROOT", value(name)) },
                1 => doc! { "$set": { "a": set_field(name, object_at("$a"), value(name)) } },
                _ => doc! { "$set": { "deep.in": set_field(name, object_at("$deep.in"), value(name)) } },
            });
        }
        stages
    }

    fn any_path(&mut self) -> &'static str {
        match self.random.below(8) {
            0 => self.random.choose::<&str>(&NUMBERS),
            1 => self.random.choose::<&str>(&LISTS),
            2 => self.random.choose::<&str>(&ROWS),
            _ => self.random.choose::<&str>(&ANY),
        }
    }
}

/// What is at `path` if that is an object, else an empty one.
fn object_at(path: &str) -> Bson {
    bson!({ "$cond": [{ "$eq": [{ "$type": path }, "object"] }, path, literal(Document::new())] })
}

fn set_field(name: &str, input: impl Into<Bson>, value: Bson) -> Bson {
    bson!({ "$setField": { "field": literal(name), "input": input.into(), "value": value } })
}

fn literal(value: impl Into<Bson>) -> Bson {
    bson!({ "$literal": value.into() })
}

/// Small, so that lists hold the same number more than once.
fn number(random: &mut Random) -> Bson {
    let small = random.below(9) as i32 - 3;
    match random.below(8) {
        0 => i64::from(small).into(),
        1 => (f64::from(small) / 2.0).into(),
        _ => small.into(),
    }
}

fn numbers(random: &mut Random) -> Array {
    (0..1 + random.below(3)).map(|_| number(random)).collect()
}

/// Any value, with containers up to `depth`.
fn value(random: &mut Random, depth: usize) -> Bson {
    let containers = if depth > 0 { 4 } else { 0 };
    match random.below(6 + containers) {
        0 => Bson::Null,
        1 => "$n".into(),
        2 => true.into(),
        3 => bson::DateTime::from_millis(1_700_000_000_000 + random.below(1000) as i64).into(),
        4 | 5 => number(random),
        6 | 7 => (0..random.below(4)).map(|_| value(random, depth - 1)).collect::<Array>().into(),
        _ => {
            let names = (0..random.below(4)).map(|_| (*random.choose(&INNER)).to_owned()).collect::<Vec<_>>();
            let members = names.into_iter().map(|name| (name, value(random, depth - 1)));
            Bson::Document(members.collect())
        }
    }
}
