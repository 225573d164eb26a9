//! Random messages and random text: the plan against `prost-reflect`.

use proptest::prelude::*;
use prost::Message;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value,
};

use crate::FIXTURE;

/// Choices from bytes that proptest makes and shrinks; zero when they run out.
struct Source<'a>(&'a [u8]);

impl Source<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    fn bits(&mut self) -> u64 {
        match self.byte() % 4 {
            0 => u64::from(self.byte()),
            1 => (self.byte() as i8) as i64 as u64,
            2 => {
                [u64::MAX, i64::MAX as u64, i64::MIN as u64, 1 << 53][usize::from(self.byte() % 4)]
            }
            _ => (0..8).fold(0, |bits, _| bits << 8 | u64::from(self.byte())),
        }
    }

    fn text(&mut self) -> String {
        let pieces = [
            "", "a", "é", "😀", "\"", "\\", "\n", "\u{1}", "/", "<b>", "\u{2028}", "x y",
        ];
        (0..self.byte() % 5)
            .map(|_| pieces[usize::from(self.byte()) % pieces.len()])
            .collect()
    }

    fn double(&mut self) -> f64 {
        // NaN differs from itself, -0.0 is a zero to prost-reflect but not to protobuf, infinity in a
        // wrapper is null to prost-reflect, and serde_json is off by one digit when it reads back
        // doubles of many digits: the vectors in json.rs hold those.
        f64::from(self.bits() as i32) * 0.125 + 0.0625
    }
}

fn message(
    descriptor: &MessageDescriptor,
    source: &mut Source<'_>,
    depth: usize,
) -> DynamicMessage {
    let mut out = DynamicMessage::new(descriptor.clone());
    match descriptor.full_name() {
        "google.protobuf.Timestamp" => {
            let seconds = (source.bits() as i64).rem_euclid(315_537_897_600) - 62_135_596_800;
            out.set_field_by_name("seconds", Value::I64(seconds));
            out.set_field_by_name("nanos", Value::I32((source.bits() % 1_000_000_000) as i32));
        }
        "google.protobuf.Duration" => {
            let seconds = source.bits() as i64 % 315_576_000_000;
            let nanos = (source.bits() % 1_000_000_000) as i32 * if seconds < 0 { -1 } else { 1 };
            out.set_field_by_name("seconds", Value::I64(seconds));
            out.set_field_by_name("nanos", Value::I32(nanos));
        }
        "google.protobuf.FieldMask" => {
            let paths = (0..source.byte() % 3)
                .map(|_| Value::String("a_b.c".to_owned()))
                .collect();
            out.set_field_by_name("paths", Value::List(paths));
        }
        "google.protobuf.Any" => {
            let pool: &DescriptorPool = &FIXTURE.pool;
            let name = [
                "vectors.Everything",
                "google.protobuf.Duration",
                "google.protobuf.Empty",
            ][usize::from(source.byte() % 3)];
            let inner = message(&pool.get_message_by_name(name).unwrap(), source, depth + 1);
            out.set_field_by_name(
                "type_url",
                Value::String(format!("type.googleapis.com/{name}")),
            );
            out.set_field_by_name("value", Value::Bytes(inner.encode_to_vec().into()));
        }
        "google.protobuf.Value" => {
            let fields: Vec<_> = descriptor.fields().collect();
            let field = &fields[usize::from(source.byte()) % if depth > 4 { 4 } else { 6 }];
            let value = match field.name() {
                "null_value" => Value::EnumNumber(0),
                "number_value" => Value::F64(f64::from(source.byte()) + 0.5),
                _ => single(&field.kind(), source, depth),
            };
            out.set_field(field, value);
        }
        _ => {
            for field in descriptor.fields() {
                // Most fields stay unset, or messages would be endless.
                if source.byte() % 8 == 1 && depth < 5 {
                    out.set_field(&field, field_value(&field, source, depth));
                }
            }
        }
    }
    out
}

fn field_value(field: &FieldDescriptor, source: &mut Source<'_>, depth: usize) -> Value {
    let count = usize::from(source.byte() % 4);
    if field.is_map() {
        let Kind::Message(entry) = field.kind() else {
            unreachable!()
        };
        let (key, value) = (
            entry.map_entry_key_field().kind(),
            entry.map_entry_value_field().kind(),
        );
        let entries = (0..count).map(|_| {
            let key = match single(&key, source, depth) {
                Value::Bool(key) => MapKey::Bool(key),
                Value::I32(key) => MapKey::I32(key),
                Value::U64(key) => MapKey::U64(key),
                Value::String(key) => MapKey::String(key),
                other => unreachable!("{other:?}"),
            };
            (key, single(&value, source, depth))
        });
        return Value::Map(entries.collect());
    }
    if field.is_list() {
        return Value::List(
            (0..count)
                .map(|_| single(&field.kind(), source, depth))
                .collect(),
        );
    }
    single(&field.kind(), source, depth)
}

fn single(kind: &Kind, source: &mut Source<'_>, depth: usize) -> Value {
    match kind {
        Kind::Double => Value::F64(source.double()),
        Kind::Float => Value::F32(f32::from(source.bits() as i16) * 0.125 + 0.0625),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(source.bits() as i32),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(source.bits() as i64),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(source.bits() as u32),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(source.bits()),
        Kind::Bool => Value::Bool(source.byte() % 2 == 1),
        Kind::String => Value::String(source.text()),
        Kind::Bytes => Value::Bytes(source.text().into_bytes().into()),
        Kind::Enum(kind) if kind.full_name() == "google.protobuf.NullValue" => Value::EnumNumber(0),
        Kind::Enum(_) => Value::EnumNumber([0, 1, 2, 77, -1][usize::from(source.byte() % 5)]),
        Kind::Message(kind) => Value::Message(message(kind, source, depth + 1)),
    }
}

fn everything() -> MessageDescriptor {
    FIXTURE
        .pool
        .get_message_by_name("vectors.Everything")
        .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Both write the same JSON, and ours reads its own back to the same message.
    #[test]
    fn messages_go_both_ways_as_prost_reflect_has_them(
        bytes in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        let original = message(&everything(), &mut Source(&bytes), 0);
        let wire = original.encode_to_vec();
        let ours = FIXTURE.plans.to_json("vectors.Everything", &wire).unwrap();
        let theirs = serde_json::to_value(&original).unwrap();
        prop_assert_eq!(&serde_json::from_slice::<serde_json::Value>(&ours).unwrap(), &theirs);

        let back = FIXTURE.plans.from_json("vectors.Everything", &ours).unwrap();
        let back = DynamicMessage::decode(everything(), back.as_slice()).unwrap();
        prop_assert_eq!(serde_json::to_value(&back).unwrap(), theirs);
    }

    /// Text made by breaking valid JSON never panics; what we accept, prost-reflect reads the same.
    #[test]
    fn broken_text_is_refused_or_means_the_same(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        edits in prop::collection::vec((any::<prop::sample::Index>(), "[\\[\\]{}:,\"0-9a-f.\\-\\\\ ]"), 0..4),
    ) {
        let original = message(&everything(), &mut Source(&bytes), 0);
        let mut text = serde_json::to_vec(&original).unwrap();
        for (place, letter) in &edits {
            let place = place.index(text.len());
            text[place] = letter.as_bytes()[0];
        }
        let Ok(ours) = FIXTURE.plans.from_json("vectors.Everything", &text) else {
            return Ok(());
        };
        let ours = DynamicMessage::decode(everything(), ours.as_slice()).unwrap();
        let mut reader = serde_json::Deserializer::from_slice(&text);
        if let Ok(theirs) = DynamicMessage::deserialize(everything(), &mut reader) {
            prop_assert_eq!(serde_json::to_value(&ours).unwrap(), serde_json::to_value(&theirs).unwrap());
        }
    }

    /// Any bytes as a message: an error or JSON that can be read back, never a panic.
    #[test]
    fn random_bytes_never_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut wire = message(&everything(), &mut Source(&bytes), 0).encode_to_vec();
        wire.extend_from_slice(&bytes[..bytes.len() / 4]);
        if wire.is_empty() {
            return Ok(());
        }
        for (place, byte) in &flips {
            let place = place.index(wire.len());
            wire[place] = *byte;
        }
        if let Ok(json) = FIXTURE.plans.to_json("vectors.Everything", &wire) {
            let value: Result<serde_json::Value, _> = serde_json::from_slice(&json);
            prop_assert!(value.is_ok(), "{}", String::from_utf8_lossy(&json));
        }
    }
}
