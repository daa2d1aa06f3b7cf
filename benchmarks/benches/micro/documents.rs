//! What is measured: documents as they are met and documents that mean harm. The same in each run.

use integration_tests::load::Random;
use millrace::raw::{Document, Writer, kind};

const SEED: u64 = 7;
/// Milliseconds since the epoch.
const WALL_TIME: i64 = 1_795_398_199_123;
const TEXT_BYTES: usize = 20_000;
/// As deep as the server lets documents be.
const LEVELS: usize = 100;
const PROSE: &str = "The parcel was left at the door of the neighbours, who were in; the bell did not ring. ";
const MULTIBYTE: &str = "Das Päckchen — 小包 — посылка steht vor der Tür der Nachbarn 😀, und es regnet. ";

/// A document and what it is called.
pub(crate) struct Sample {
    pub(crate) name: &'static str,
    bytes: Vec<u8>,
}

impl Sample {
    pub(crate) fn document(&self) -> Document<'_> {
        Document::new(&self.bytes).expect("the writer makes documents")
    }

    pub(crate) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }
}

/// All documents: the first four are realistic, the others hostile.
pub(crate) fn all() -> Vec<Sample> {
    vec![
        sample("event", event(1, &made(|writer| small(1, writer)))),
        sample("order", made(order)),
        sample("prose", made(|writer| texts(PROSE, writer))),
        sample("multibyte", made(|writer| texts(MULTIBYTE, writer))),
        sample("escapes", made(|writer| texts("\"\\\u{1}\"\\\n\u{1f}\"\\\t", writer))),
        sample("deep", made(deep)),
        sample("integers", made(integers)),
        sample("short keys", made(short_keys)),
        sample("doubles", made(doubles)),
        sample("decimals", made(decimals)),
        sample("dates", made(dates)),
        sample("binary", made(|writer| writer.value(b"blob", kind::BINARY, &binary(0, 64 << 10)))),
        sample("scopes", made(scopes)),
    ]
}

/// An update's change event with the whole document; with a [`small`] one about 600 bytes, and 750 as strict JSON.
pub(crate) fn event(key: u32, document: &[u8]) -> Vec<u8> {
    let token = format!("826B0A{key:026X}2B022C0100296E5A10047AA4DC54B4DF4E95A237D5FEC046271146645F69640064");
    made(|event| {
        event.begin_document(b"_id");
        event.string(b"_data", token.as_bytes());
        event.end();
        event.string(b"operationType", b"update");
        event.value(b"clusterTime", kind::TIMESTAMP, &[1, 0, 0, 0, 0x37, 0x9a, 0x03, 0x6b]);
        event.value(b"wallTime", kind::DATE_TIME, &WALL_TIME.to_le_bytes());
        event.value(b"fullDocument", kind::DOCUMENT, document);
        event.begin_document(b"ns");
        event.string(b"db", b"shop");
        event.string(b"coll", b"orders");
        event.end();
        event.begin_document(b"documentKey");
        event.value(b"_id", kind::OBJECT_ID, &id(key));
        event.end();
        event.begin_document(b"updateDescription");
        changed_fields(key, event);
        event.end();
    })
}

/// What an update's event says of the fields that have changed.
pub(crate) fn changed_fields(number: u32, writer: &mut Writer) {
    writer.begin_document(b"updatedFields");
    writer.int32(b"number", number.cast_signed());
    writer.string(b"status", b"delivered");
    writer.end();
    for name in [b"removedFields".as_slice(), b"truncatedArrays"] {
        writer.begin_array(name);
        writer.end();
    }
}

/// The fields of a document of about 200 bytes.
pub(crate) fn small(key: u32, writer: &mut Writer) {
    writer.value(b"_id", kind::OBJECT_ID, &id(key));
    writer.int32(b"number", key.cast_signed());
    writer.string(b"customer", format!("customer-{key:08}").as_bytes());
    writer.string(b"status", b"delivered");
    writer.double(b"amount", f64::from(key % 100_000) / 100.0);
    writer.value(b"created", kind::DATE_TIME, &WALL_TIME.to_le_bytes());
    writer.begin_array(b"lines");
    writer.int64(b"0", i64::from(key % 1_000));
    writer.int64(b"1", i64::from(key % 1_000 + 1));
    writer.end();
    writer.string(b"note", b"left at the door of the neighbours");
}

/// A document with these contents.
pub(crate) fn made(fill: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.begin();
    fill(&mut writer);
    writer.end();
    writer.into_bytes()
}

/// An ObjectId.
pub(crate) fn id(key: u32) -> [u8; 12] {
    let mut id = [0x65; 12];
    id[8..].copy_from_slice(&key.to_be_bytes());
    id
}

fn sample(name: &'static str, bytes: Vec<u8>) -> Sample {
    Sample { name, bytes }
}

/// An order with the types that documents of shops have, and some that few have.
fn order(writer: &mut Writer) {
    let mut random = Random::new(SEED, 0);
    small(4_711, writer);
    for (name, text) in [
        (b"currency".as_slice(), "EUR"),
        (b"channel", "web"),
        (b"locale", "de-AT"),
        (b"coupon", "SPRING-2026"),
        (b"userAgent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
        (b"comment", "Bitte klingeln: \"Müller\", 2. Stock\nDanke!"),
    ] {
        writer.string(name, text.as_bytes());
    }
    writer.int64(b"version", 1 << 40);
    writer.boolean(b"gift", false);
    writer.null(b"cancelledAt");
    for name in [b"paidAt".as_slice(), b"packedAt", b"shippedAt"] {
        writer.value(name, kind::DATE_TIME, &WALL_TIME.to_le_bytes());
    }
    writer.value(b"total", kind::DECIMAL128, &decimal(129_995, -2));
    writer.value(b"session", kind::BINARY, &binary(4, 16));
    writer.value(b"match", kind::REGEX, b"^order-[0-9]+$\0i\0");
    writer.value(b"written", kind::TIMESTAMP, &[1, 0, 0, 0, 0x37, 0x9a, 0x03, 0x6b]);
    writer.value(b"script", kind::CODE, &string("function () { return 1; }"));
    writer.value(b"scoped", kind::CODE_WITH_SCOPE, &scope(&made(|scope| scope.int32(b"x", 1))));
    writer.value(b"symbol", kind::SYMBOL, &string("EUR"));
    writer.value(b"lowest", kind::MIN_KEY, b"");
    writer.value(b"highest", kind::MAX_KEY, b"");
    writer.begin_document(b"address");
    for (name, text) in [
        (b"name".as_slice(), "Jördis Müller"),
        (b"street", "Lange Gasse 12/3"),
        (b"city", "Wien"),
        (b"zip", "1080"),
    ] {
        writer.string(name, text.as_bytes());
    }
    writer.begin_array(b"location");
    writer.double(b"0", 16.350_123_4);
    writer.double(b"1", 48.212_987_6);
    writer.end();
    writer.end();
    writer.begin_array(b"items");
    for item in 0..5_u32 {
        writer.begin_document(item.to_string().as_bytes());
        writer.value(b"product", kind::OBJECT_ID, &id(item));
        writer.string(b"sku", format!("SKU-{:06}", random.below(1_000_000)).as_bytes());
        writer.int32(b"quantity", 1 + item.cast_signed());
        writer.double(b"price", f64::from(item) * 19.99);
        writer.end();
    }
    writer.end();
}

/// Strings of 500 bytes or a little more, 20 KB together.
fn texts(unit: &str, writer: &mut Writer) {
    const STRING_BYTES: usize = 500;
    let text = unit.repeat(STRING_BYTES.div_ceil(unit.len()));
    for number in 0..TEXT_BYTES / STRING_BYTES {
        writer.string(format!("text{number}").as_bytes(), text.as_bytes());
    }
}

fn deep(writer: &mut Writer) {
    for _ in 1..LEVELS {
        writer.begin_document(b"a");
    }
    writer.int32(b"a", 1);
    for _ in 1..LEVELS {
        writer.end();
    }
}

fn integers(writer: &mut Writer) {
    writer.begin_array(b"list");
    for number in 0..10_000 {
        writer.int32(number.to_string().as_bytes(), number % 100);
    }
    writer.end();
}

fn short_keys(writer: &mut Writer) {
    for number in 0..5_000 {
        writer.boolean(format!("{number:x}").as_bytes(), true);
    }
}

/// Each needs 16 or 17 digits.
fn doubles(writer: &mut Writer) {
    let mut random = Random::new(SEED, 1);
    for number in 0..1_000 {
        let exponent = 0x300 + random.below(0x200) as u64;
        let value = f64::from_bits(exponent << 52 | random.bits() >> 12);
        writer.double(format!("f{number}").as_bytes(), value);
    }
}

/// With up to 19 digits and exponents of either sign.
fn decimals(writer: &mut Writer) {
    let mut random = Random::new(SEED, 2);
    for number in 0..1_000_i64 {
        writer.value(
            format!("f{number}").as_bytes(),
            kind::DECIMAL128,
            &decimal(random.bits(), number % 80 - 60),
        );
    }
}

/// From 1970 to 2026.
fn dates(writer: &mut Writer) {
    let mut random = Random::new(SEED, 3);
    for number in 0..1_000 {
        let time = i64::try_from(random.bits() % WALL_TIME.cast_unsigned()).expect("below an i64");
        writer.value(format!("f{number}").as_bytes(), kind::DATE_TIME, &time.to_le_bytes());
    }
}

/// Code whose scope has code with a scope, and so on; a string in the innermost. Each is two levels of text, of which
/// `serde_json` reads 127.
fn scopes(writer: &mut Writer) {
    let text = PROSE.repeat(TEXT_BYTES / PROSE.len());
    let mut innermost = made(|scope| scope.string(b"text", text.as_bytes()));
    for _ in 1..LEVELS / 2 {
        let inner = scope(&innermost);
        innermost = made(|scope| scope.value(b"a", kind::CODE_WITH_SCOPE, &inner));
    }
    writer.value(b"a", kind::CODE_WITH_SCOPE, &scope(&innermost));
}

fn scope(scope: &[u8]) -> Vec<u8> {
    let body = [&string("x"), scope].concat();
    [&length(body.len() + 4)[..], &body].concat()
}

fn string(text: &str) -> Vec<u8> {
    [&length(text.len() + 1)[..], text.as_bytes(), &[0]].concat()
}

fn binary(subtype: u8, bytes: usize) -> Vec<u8> {
    let mut random = Random::new(SEED, 4);
    let content: Vec<u8> =
        std::iter::repeat_with(|| random.bits().to_le_bytes()).flatten().take(bytes).collect();
    [&length(bytes)[..], &[subtype], &content].concat()
}

pub(crate) fn decimal(digits: u64, exponent: i64) -> Vec<u8> {
    const BIAS: u64 = 6_176;
    let high = BIAS.wrapping_add_signed(exponent) << 49;
    [digits.to_le_bytes(), high.to_le_bytes()].concat()
}

fn length(bytes: usize) -> [u8; 4] {
    i32::try_from(bytes).expect("small").to_le_bytes()
}
