//! The documents of a load.

use bson::{Bson, RawDocumentBuf};
use millrace::raw::{Writer, kind};

use super::{
    random::Random,
    values::{self, Value},
};

/// Which BSON types a load writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Types {
    /// Those that strict JSON carries.
    Strict,
    /// Those, and what only raw BSON carries: DBPointer, users' fields that look like wrappers, text that is not UTF-8.
    All,
}

/// Makes documents: each has every kind of `_id` and every edge value in turn.
#[derive(Debug)]
pub struct Documents {
    values: Vec<Value>,
}

impl Documents {
    /// For these types.
    pub fn new(types: Types) -> Self {
        let mut values = values::strict();
        if types == Types::All {
            // In front, so that a short load meets them too.
            values.splice(0..0, values::exotic());
        }
        Self { values }
    }

    /// The document number `number` of writer `writer`, as it is inserted.
    pub fn document(&self, writer: u32, number: u32, random: &mut Random) -> RawDocumentBuf {
        let (id_kind, id) = id(writer, number);
        self.with_id(id_kind, &id, number, random)
    }

    /// Another document with the same `_id`.
    pub fn replacement(&self, id: &Bson, number: u32, random: &mut Random) -> RawDocumentBuf {
        let alone = bson::serialize_to_vec(&bson::doc! { "_id": id.clone() }).expect("an _id is plain BSON");
        let alone = millrace::raw::Document::new(&alone).expect("just written");
        let element = alone.get("_id").expect("just written").expect("just written");
        self.with_id(element.kind, element.value, number, random)
    }

    /// How many edge values there are: after as many documents, each was written.
    pub fn value_count(&self) -> usize {
        self.values.len()
    }

    fn with_id(&self, id_kind: u8, id: &[u8], number: u32, random: &mut Random) -> RawDocumentBuf {
        let mut writer = Writer::default();
        writer.begin();
        writer.value(b"_id", id_kind, id);
        writer.int32(b"number", number.cast_signed());
        writer.int64(b"counter", 0);
        self.edge(b"edge", number as usize, &mut writer);
        writer.begin_document(b"nested");
        writer.int32(b"7", 7);
        self.edge(b"edge", random.below(self.values.len()), &mut writer);
        writer.end();
        writer.begin_array(b"list");
        for index in 0..random.below(4) {
            self.edge(index.to_string().as_bytes(), random.below(self.values.len()), &mut writer);
        }
        writer.end();
        let filler = "x".repeat(random.below(400));
        writer.string(b"filler", filler.as_bytes());
        writer.end();
        RawDocumentBuf::from_bytes(writer.into_bytes()).expect("the writer makes documents")
    }

    fn edge(&self, name: &[u8], index: usize, writer: &mut Writer) {
        let (kind, value) = &self.values[index % self.values.len()];
        writer.value(name, *kind, value);
    }
}

/// Different for each pair, also by the server's rule that numbers of different types are equal.
fn id(writer: u32, number: u32) -> Value {
    let unique = i64::from(writer) << 32 | i64::from(number);
    match number % 6 {
        0 => (kind::OBJECT_ID, [&[0x65; 4], &unique.to_be_bytes()[..]].concat()),
        1 => {
            let text = format!("{writer}/ünïque \"{number}\"\0");
            let length = i32::try_from(text.len()).expect("short").to_le_bytes();
            (kind::STRING, [&length[..], text.as_bytes()].concat())
        }
        2 => (kind::INT64, unique.to_le_bytes().to_vec()),
        3 => values::document(|id| {
            id.int32(b"writer", writer.cast_signed());
            id.string(b"number", number.to_string().as_bytes());
        }),
        4 => (kind::BINARY, [&[16, 0, 0, 0, 4][..], &[0x40; 8], &unique.to_be_bytes()].concat()),
        _ => (kind::DATE_TIME, unique.to_le_bytes().to_vec()),
    }
}
