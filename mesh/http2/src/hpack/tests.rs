use proptest::prelude::*;

use super::*;
use crate::{HeaderBlock, Name};

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .bytes()
        .filter_map(|byte| char::from(byte).to_digit(16))
        .map(|digit| digit as u8)
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

fn list(block: &HeaderBlock) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    block
        .iter()
        .map(|field| (text(field.name_bytes), text(field.value)))
        .collect()
}

fn decode(decoder: &mut Decoder, input: &[u8]) -> Result<Vec<(String, String)>, Error> {
    let mut block = HeaderBlock::new();
    assert_eq!(decoder.decode(input, &mut block)?, Outcome::Complete);
    Ok(list(&block))
}

#[track_caller]
fn expect(decoder: &mut Decoder, input: &str, fields: &[(&str, &str)]) {
    let fields: Vec<_> = fields
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    assert_eq!(decode(decoder, &hex(input)), Ok(fields));
}

#[test]
fn examples_c2_of_single_fields_are_decoded() {
    let decoder = || Decoder::new(1_000);
    expect(
        &mut decoder(),
        "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
        &[("custom-key", "custom-header")],
    );
    expect(
        &mut decoder(),
        "040c 2f73 616d 706c 652f 7061 7468",
        &[(":path", "/sample/path")],
    );
    let secret = hex("1008 7061 7373 776f 7264 0673 6563 7265 74");
    let mut block = HeaderBlock::new();
    assert_eq!(decoder().decode(&secret, &mut block), Ok(Outcome::Complete));
    assert!(
        block
            .iter()
            .all(|field| field.sensitive && field.value == b"secret")
    );
    expect(&mut decoder(), "82", &[(":method", "GET")]);
}

const FIRST: &[(&str, &str)] = &[
    (":method", "GET"),
    (":scheme", "http"),
    (":path", "/"),
    (":authority", "www.example.com"),
];
const SECOND: &[(&str, &str)] = &[
    (":method", "GET"),
    (":scheme", "http"),
    (":path", "/"),
    (":authority", "www.example.com"),
    ("cache-control", "no-cache"),
];
const THIRD: &[(&str, &str)] = &[
    (":method", "GET"),
    (":scheme", "https"),
    (":path", "/index.html"),
    (":authority", "www.example.com"),
    ("custom-key", "custom-value"),
];

#[test]
fn examples_c3_and_c4_of_requests_are_decoded() {
    let mut plain = Decoder::new(1_000);
    expect(
        &mut plain,
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        FIRST,
    );
    expect(&mut plain, "8286 84be 5808 6e6f 2d63 6163 6865", SECOND);
    expect(
        &mut plain,
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
        THIRD,
    );
    let mut coded = Decoder::new(1_000);
    expect(
        &mut coded,
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        FIRST,
    );
    expect(&mut coded, "8286 84be 5886 a8eb 1064 9cbf", SECOND);
    expect(
        &mut coded,
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
        THIRD,
    );
}

#[test]
fn examples_c5_and_c6_of_responses_evict_from_a_table_of_256_bytes() {
    let fields = |status: &'static str, date: &'static str| {
        vec![
            (":status", status),
            ("cache-control", "private"),
            ("date", date),
            ("location", "https://www.example.com"),
        ]
    };
    let first = fields("302", "Mon, 21 Oct 2013 20:13:21 GMT");
    let second = fields("307", "Mon, 21 Oct 2013 20:13:21 GMT");
    let mut third = fields("200", "Mon, 21 Oct 2013 20:13:22 GMT");
    third.push(("content-encoding", "gzip"));
    third.push((
        "set-cookie",
        "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
    ));

    // The size update before the first block stands for the setting of the examples.
    let mut plain = Decoder::new(1_000);
    expect(
        &mut plain,
        "3fe101 4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 \
         303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        &first,
    );
    expect(&mut plain, "4803 3330 37c1 c0bf", &second);
    expect(
        &mut plain,
        "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a \
         6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d \
         6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
        &third,
    );
    let mut coded = Decoder::new(1_000);
    expect(
        &mut coded,
        "3fe101 4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e \
         919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
        &first,
    );
    expect(&mut coded, "4883 640e ffc1 c0bf", &second);
    expect(
        &mut coded,
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d \
         d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 \
         3d50 07",
        &third,
    );
}

#[test]
fn malformed_blocks_are_refused() {
    for (input, error) in [
        ("80", Error::InvalidIndex),
        ("be", Error::InvalidIndex),
        ("7e 01 61", Error::InvalidIndex),
        ("ff", Error::Truncated),
        ("04", Error::Truncated),
        ("04 05 61", Error::Truncated),
        ("ff ff ff ff ff ff 01", Error::IntegerOverflow),
        ("04 81 00", Error::InvalidHuffman),
        ("82 20", Error::InvalidSizeUpdate),
        // 4,097
        ("3f e2 1f", Error::InvalidSizeUpdate),
    ] {
        let found = Decoder::new(1_000).decode(&hex(input), &mut HeaderBlock::new());
        assert_eq!(found, Err(error), "{input}");
    }
}

#[test]
fn size_updates_may_come_twice_before_the_fields() {
    let mut decoder = Decoder::new(1_000);
    expect(
        &mut decoder,
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        FIRST,
    );
    // To 0, which evicts, and back to 4,096.
    let found = decoder.decode(&hex("20 3f e1 1f be"), &mut HeaderBlock::new());
    assert_eq!(found, Err(Error::InvalidIndex));
}

/// A literal that is inserted.
fn inserted(name: &str, value: &[u8]) -> Vec<u8> {
    let mut input = vec![0x40, name.len() as u8];
    input.extend_from_slice(name.as_bytes());
    input.push(0x7f);
    // All lengths here are from 127 on.
    let mut rest = value.len() - 127;
    while rest >= 128 {
        input.push(rest as u8 | 128);
        rest >>= 7;
    }
    input.push(rest as u8);
    input.extend_from_slice(value);
    input
}

#[test]
fn a_list_a_little_too_large_leaves_the_table_right() {
    let mut decoder = Decoder::new(1_000);
    let mut block = HeaderBlock::new();
    let mut input = inserted("big", &[b'x'; 1_500]);
    input.extend(inserted("later", &[b'y'; 200]));
    assert_eq!(decoder.decode(&input, &mut block), Ok(Outcome::TooLarge));
    assert!(block.is_empty(), "nothing behind the overrun is kept");
    expect(&mut decoder, "be", &[("later", &"y".repeat(200))]);
}

#[test]
fn a_bomb_of_references_stops_at_four_times_the_limit() {
    let limit = 32 * 1024;
    let mut decoder = Decoder::new(limit);
    let mut block = HeaderBlock::new();
    let mut input = inserted("a", &[b'x'; 4_000]);
    input.extend(std::iter::repeat_n(0xbe, 15_000));
    assert_eq!(decoder.decode(&input, &mut block), Err(Error::WayTooLarge));
    assert!(
        block.bytes.capacity() <= 3 * limit,
        "{}",
        block.bytes.capacity()
    );
}

#[test]
fn what_cannot_be_kept_is_not_huffman_decoded() {
    let mut decoder = Decoder::new(100);
    let mut block = HeaderBlock::new();
    // Not valid code, which nobody notices: the field is too large by its length alone.
    let mut input = vec![0x04, 0xff, 0x80 | 73, 0x02];
    input.extend([0xff; 456]);
    assert_eq!(decoder.decode(&input, &mut block), Ok(Outcome::TooLarge));
    assert_eq!(block.bytes.len(), 0);
}

fn block(fields: &[(&str, &str)]) -> HeaderBlock {
    let mut block = HeaderBlock::new();
    for (name, value) in fields {
        block.push_by_name(name.as_bytes(), value.as_bytes());
    }
    block
}

#[test]
fn a_field_is_inserted_when_it_comes_again_and_is_one_byte_then() {
    let mut encoder = Encoder::default();
    let call = |id: &str| {
        block(&[
            (":method", "POST"),
            (":path", "/shop.v1.Orders/PlaceOrder"),
            ("te", "trailers"),
            ("x-unknown", "same"),
            ("traceparent", id),
            ("x-fresh", id),
        ])
    };
    let mut sizes = Vec::new();
    for id in ["00-1", "00-2", "00-3", "00-4"] {
        let mut output = Vec::new();
        encoder.encode(&call(id), &mut output);
        sizes.push(output.len());
    }
    // What repeats takes one byte; what is fresh is written out.
    let fresh = 1 + 12 + 5 + 1 + 8 + 5;
    assert_eq!(sizes[2..], [4 + fresh, 4 + fresh]);
    assert_eq!(encoder.table.len(), 3);
}

#[test]
fn secrets_never_enter_a_table() {
    let mut encoder = Encoder::default();
    let mut secrets = block(&[("authorization", "Bearer x"), ("cookie", "a=b")]);
    secrets.push_sensitive(b"x-key", b"1");
    for _ in 0..4 {
        let mut output = Vec::new();
        encoder.encode(&secrets, &mut output);
        let mut received = HeaderBlock::new();
        Decoder::new(1_000).decode(&output, &mut received).unwrap();
        assert!(received.iter().all(|field| field.sensitive));
        assert_eq!(list(&received), list(&secrets));
    }
    assert_eq!(encoder.table.len(), 0);
}

#[test]
fn a_smaller_table_is_told_before_the_next_block() {
    let mut encoder = Encoder::default();
    let mut output = Vec::new();
    encoder.set_table_size(4_096);
    encoder.encode(&block(&[(":method", "GET")]), &mut output);
    assert_eq!(output, [0x82], "nothing changed");
    output.clear();
    encoder.set_table_size(0);
    encoder.set_table_size(100);
    encoder.encode(&block(&[(":method", "GET")]), &mut output);
    assert_eq!(output, [0x20, 0x3f, 69, 0x82]);
}

fn any_field() -> impl Strategy<Value = (String, String)> {
    let name = prop_oneof![
        Just("content-type".to_owned()),
        Just("grpc-status".to_owned()),
        Just("traceparent".to_owned()),
        "x-[a-c]",
        "[a-z-]{1,9}"
    ];
    let value = prop_oneof![
        "[a-c]",
        "[!-~]{0,9}",
        (900usize..1_100).prop_map(|n| "v".repeat(n))
    ];
    (name, value)
}

proptest! {
    #[test]
    fn what_one_side_encodes_the_other_decodes(
        blocks in prop::collection::vec(
            (prop::collection::vec(any_field(), 0..12), prop::option::weighted(0.1, 0usize..6_000)),
            1..40,
        ),
    ) {
        let mut encoder = Encoder::default();
        let mut decoder = Decoder::new(100_000);
        let (mut sent, mut received, mut output) =
            (HeaderBlock::new(), HeaderBlock::new(), Vec::new());
        for (fields, size) in blocks {
            if let Some(size) = size {
                encoder.set_table_size(size);
            }
            sent.clear();
            received.clear();
            output.clear();
            for (name, value) in &fields {
                sent.push_by_name(name.as_bytes(), value.as_bytes());
            }
            encoder.encode(&sent, &mut output);
            prop_assert_eq!(decoder.decode(&output, &mut received), Ok(Outcome::Complete));
            prop_assert_eq!(list(&received), fields);
        }
    }

    #[test]
    fn any_input_ends_in_bounded_memory(inputs in prop::collection::vec(any::<Vec<u8>>(), 1..10)) {
        let mut decoder = Decoder::new(500);
        let mut block = HeaderBlock::new();
        for input in inputs {
            block.clear();
            if decoder.decode(&input, &mut block).is_ok() {
                prop_assert!(block.list_size() <= 500);
            }
        }
    }
}

#[test]
fn names_and_values_with_forbidden_bytes_are_marked() {
    for (name, value) in [
        ("a", "b\r"),
        ("a", "b\nc"),
        ("a", "\0"),
        ("a", " b"),
        ("a", "b\t"),
        ("A", "b"),
        ("a b", "c"),
        (":unknown", "c"),
    ] {
        let mut input = vec![0x40, name.len() as u8];
        input.extend_from_slice(name.as_bytes());
        input.push(value.len() as u8);
        input.extend_from_slice(value.as_bytes());
        // Also as an entry, and as the name of one.
        input.push(0xbe);
        for input in [&input[..input.len() - 1], &input] {
            let mut block = HeaderBlock::new();
            Decoder::new(1_000).decode(input, &mut block).unwrap();
            assert!(block.has_invalid_bytes(), "{name}: {value}");
        }
    }
    let mut fine = HeaderBlock::new();
    Decoder::new(1_000)
        .decode(&hex("40 01 61 03 62 20 63"), &mut fine)
        .unwrap();
    assert!(!fine.has_invalid_bytes());
    assert_eq!(fine.get(Name::Te), None);
}
