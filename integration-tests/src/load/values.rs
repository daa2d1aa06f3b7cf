//! Values at the edges of every BSON type: kind and bytes.

use millrace::raw::{Writer, kind};

/// An element's type and the bytes of its value.
pub(super) type Value = (u8, Vec<u8>);

/// Values that strict JSON carries without loss.
pub(super) fn strict() -> Vec<Value> {
    let mut values = vec![
        (kind::NULL, vec![]),
        (kind::UNDEFINED, vec![]),
        (kind::MIN_KEY, vec![]),
        (kind::MAX_KEY, vec![]),
        (kind::BOOLEAN, vec![0]),
        (kind::BOOLEAN, vec![1]),
        (kind::OBJECT_ID, (1..13).collect()),
        (kind::REGEX, b"^a/\\.\"b$\0im\0".to_vec()),
        (kind::REGEX, b"\0\0".to_vec()),
        (kind::CODE_WITH_SCOPE, code_with_scope()),
    ];
    values.extend(numbers());
    values.extend(TEXTS.iter().flat_map(|text| {
        [kind::STRING, kind::CODE, kind::SYMBOL].map(|kind| (kind, string_bytes(text.as_bytes())))
    }));
    // 2 is the old generic form with a second length inside, which JSON readers disagree about.
    let binaries =
        [(0, 0), (0, 1), (0, 300), (1, 5), (3, 16), (4, 16), (5, 16), (6, 7), (0x80, 9), (0xff, 2)];
    values.extend(binaries.map(|(subtype, length)| (kind::BINARY, binary(subtype, length))));
    values.extend([document(|_| {}), document(nested), array(|_| {}), array(mixed)]);
    values
}

/// Values that only raw BSON carries.
pub(super) fn exotic() -> Vec<Value> {
    let wrappers = ["$oid", "$numberLong", "$date", "$binary", "$symbol", "$numberDecimal", "$uuid"];
    let mut values: Vec<Value> = wrappers
        .map(|name| document(move |writer| writer.string(name.as_bytes(), b"5f0f1e2d3c4b5a6978879605")))
        .into();
    values.extend([
        (kind::DB_POINTER, [string_bytes(b"shop.orders"), (1..13).collect()].concat()),
        document(|writer| writer.boolean(b"$undefined", true)),
        document(|writer| writer.int32(b"$minKey", 1)),
        document(|writer| {
            // The same name twice.
            writer.int32(b"a", 1);
            writer.int32(b"a", 2);
        }),
        (kind::STRING, string_bytes(b"not UTF-8: \xff\xfe")),
        (kind::BINARY, binary_with_inner_length(&[1, 2, 3])),
        // Not-a-number with a payload, and decimals in forms that no text has.
        (kind::DOUBLE, 0x7ff8_0000_dead_beef_u64.to_le_bytes().to_vec()),
        (kind::DECIMAL128, [[0x11; 8], [0, 0, 0, 0, 0, 0, 0, 0x7e]].concat()),
        (kind::DECIMAL128, [[0; 8], [0, 0, 0, 0, 0, 0, 0, 0xfc]].concat()),
    ]);
    values
}

const TEXTS: [&str; 8] = [
    "",
    "plain",
    "quotes \" and \\ and / and 'single'",
    "\u{0}\u{1}\u{8}\t\n\u{c}\r\u{1f}\u{7f}\u{85}",
    "grüße, καλημέρα, 你好, שלום",
    "combining e\u{301}, modifier ʰ, line\u{2028}paragraph\u{2029}, zero\u{200b}width, \u{feff}mark",
    "beyond the plane: 😀 𝒳 🇩🇪",
    "{\"$oid\": \"not an id\"}",
];

fn numbers() -> Vec<Value> {
    let doubles =
        [0.0, -0.0, 0.1, 1.0, 100.0, -1e-5, 1e7, 12345678.9, 1e21, f64::MAX, f64::MIN_POSITIVE, 5e-324];
    let not_finite = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
    let doubles = doubles.iter().chain(&not_finite).map(|n| (kind::DOUBLE, n.to_le_bytes().to_vec()));
    let small = [0, 1, -1, i32::MAX, i32::MIN].map(|n| (kind::INT32, n.to_le_bytes().to_vec()));
    let large = [0, 1, -1, 1 << 53, i64::MAX, i64::MIN].map(|n: i64| (kind::INT64, n.to_le_bytes().to_vec()));
    let dates = [0, -1, 1_795_398_199_123, 253_402_300_800_000, i64::MAX, i64::MIN];
    let dates = dates.map(|n: i64| (kind::DATE_TIME, n.to_le_bytes().to_vec()));
    let timestamps =
        [1, 1 << 32, u64::MAX, 0xffff_ffff].map(|n: u64| (kind::TIMESTAMP, n.to_le_bytes().to_vec()));
    doubles.chain(small).chain(large).chain(dates).chain(timestamps).chain(decimals()).collect()
}

/// Low and high half: 0, 1.10, -0E+3, 1E+6111, 34 nines, NaN, Infinity, -Infinity.
fn decimals() -> impl Iterator<Item = Value> {
    const BIAS: u64 = 6176;
    let exponent = |exponent: i64| BIAS.wrapping_add_signed(exponent) << 49;
    let halves = [
        (0, exponent(0)),
        (110, exponent(-2)),
        (0, exponent(3) | 1 << 63),
        (1, exponent(6111)),
        (0x378d_8e63_ffff_ffff, exponent(-10) | 0x0001_ed09_bead_87c0),
        (0, 0x7c00_0000_0000_0000),
        (0, 0x7800_0000_0000_0000),
        (0, 0xf800_0000_0000_0000),
    ];
    halves
        .into_iter()
        .map(|(low, high): (u64, u64)| (kind::DECIMAL128, [low.to_le_bytes(), high.to_le_bytes()].concat()))
}

fn nested(writer: &mut Writer) {
    // Names that look like operators but belong to a user.
    writer.string(b"$set", b"a plain field");
    writer.int32(b"with.dot", 1);
    writer.int32("ключ \"q\" \\ \u{1}".as_bytes(), 2);
    writer.begin_document(b"deep");
    writer.begin_document(b"deeper");
    writer.begin_array(b"list");
    writer.null(b"0");
    writer.end();
    writer.end();
    writer.end();
}

fn mixed(writer: &mut Writer) {
    writer.int32(b"0", 1);
    writer.string(b"1", b"two");
    writer.begin_document(b"2");
    writer.double(b"three", 3.0);
    writer.end();
    writer.begin_array(b"3");
    writer.int64(b"0", 4);
    writer.end();
}

/// A sub-document as a value.
pub(super) fn document(fill: impl FnOnce(&mut Writer)) -> Value {
    (kind::DOCUMENT, filled(fill))
}

fn array(fill: impl FnOnce(&mut Writer)) -> Value {
    (kind::ARRAY, filled(fill))
}

fn filled(fill: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.begin();
    fill(&mut writer);
    writer.end();
    writer.into_bytes()
}

fn code_with_scope() -> Vec<u8> {
    let body = [string_bytes(b"return x;"), filled(|scope| scope.int32(b"x", 1))].concat();
    [length_bytes(body.len() + 4), body].concat()
}

fn string_bytes(text: &[u8]) -> Vec<u8> {
    [&length_bytes(text.len() + 1), text, &[0]].concat()
}

fn binary(subtype: u8, length: usize) -> Vec<u8> {
    let content: Vec<u8> = (0_u8..=255).cycle().skip(usize::from(subtype)).take(length).collect();
    [length_bytes(length), vec![subtype], content].concat()
}

fn binary_with_inner_length(content: &[u8]) -> Vec<u8> {
    [&length_bytes(content.len() + 4), &[2][..], &length_bytes(content.len()), content].concat()
}

fn length_bytes(length: usize) -> Vec<u8> {
    i32::try_from(length).expect("small").to_le_bytes().to_vec()
}
