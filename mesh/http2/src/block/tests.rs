use super::*;
use crate::hpack::{Decoder, Encoder};

fn block(fields: &[(&str, &str)]) -> HeaderBlock {
    let mut block = HeaderBlock::new();
    for (name, value) in fields {
        block.push_by_name(name.as_bytes(), value.as_bytes());
    }
    block
}

#[track_caller]
fn expect(block: &HeaderBlock, fields: &[(&str, &str)]) {
    let found: Vec<_> = block
        .iter()
        .map(|field| {
            let text = |bytes| std::str::from_utf8(bytes).unwrap();
            (text(field.name_bytes), text(field.value))
        })
        .collect();
    assert_eq!(found, fields);
    for (name, _) in fields {
        assert!(block.get_by_name(name.as_bytes()).is_some());
    }
    let pseudo = fields
        .iter()
        .filter(|(name, _)| name.starts_with(':'))
        .count();
    assert_eq!(block.pseudo, pseudo);
}

const FIELDS: [(&str, &str); 5] = [
    (":path", "/"),
    ("te", "trailers"),
    ("x-a", "1"),
    ("te", "more"),
    ("x-a", "2"),
];

#[test]
fn values_are_found_by_number_and_by_bytes() {
    let block = block(&FIELDS);
    assert_eq!(block.get(Name::Te), Some(&b"trailers"[..]));
    assert_eq!(block.get(Name::Host), None);
    assert_eq!(block.get(Name::Other), Some(&b"1"[..]));
    assert_eq!(block.get_by_name(b"x-a"), Some(&b"1"[..]));
    assert_eq!(block.get_by_name(b"x-b"), None);
    assert_eq!(
        block.values(Name::Te).collect::<Vec<_>>(),
        [&b"trailers"[..], b"more"]
    );
    assert_eq!(
        block.values_by_name(b"x-a").collect::<Vec<_>>(),
        [b"1", b"2"]
    );
    assert_eq!(block.list_size(), 6 + 10 + 4 + 6 + 4 + 5 * 32);
}

#[test]
fn pseudo_header_fields_come_first_whenever_they_are_pushed() {
    let mut block = block(&FIELDS[1..3]);
    block.push(Name::Path, b"/");
    block.push(Name::Method, b"POST");
    expect(
        &block,
        &[
            (":path", "/"),
            (":method", "POST"),
            ("te", "trailers"),
            ("x-a", "1"),
        ],
    );
    block.set(Name::Authority, b"orders");
    assert_eq!(
        block.iter().nth(2).map(|field| field.name),
        Some(Name::Authority)
    );
}

#[test]
fn setting_a_field_leaves_one_of_its_name() {
    let mut block = block(&FIELDS);
    block.set(Name::Te, b"x");
    expect(
        &block,
        &[(":path", "/"), ("te", "x"), ("x-a", "1"), ("x-a", "2")],
    );
    block.set_by_name(b"x-a", b"3");
    block.set_by_name(b"x-b", b"4");
    block.set_by_name(b"te", b"trailers");
    expect(
        &block,
        &[
            (":path", "/"),
            ("te", "trailers"),
            ("x-a", "3"),
            ("x-b", "4"),
        ],
    );
}

#[test]
fn removed_fields_are_gone() {
    let mut block = block(&FIELDS);
    assert!(block.remove(Name::Te) && !block.remove(Name::Te));
    assert!(!block.contains(Name::Te));
    assert!(!block.remove(Name::Other), "that would be any");
    assert!(block.remove_by_name(b"x-a") && !block.remove_by_name(b"x-a"));
    expect(&block, &[(":path", "/")]);
    assert!(block.remove_by_name(b":path"));
    block.push(Name::Te, b"trailers");
    block.push(Name::Path, b"/x");
    expect(&block, &[(":path", "/x"), ("te", "trailers")]);
    block.clear();
    expect(&block, &[]);
}

#[test]
fn a_block_that_is_changed_again_and_again_stays_small() {
    let mut block = block(&FIELDS);
    for number in 0..10_000 {
        let value = format!("{number:0width$}", width = number % 60);
        block.set(Name::Te, value.as_bytes());
        block.set_by_name(b"x-a", value.as_bytes());
        assert_eq!(block.get(Name::Te), Some(value.as_bytes()));
        assert_eq!(block.get_by_name(b"x-a"), Some(value.as_bytes()));
    }
    assert!(block.bytes.capacity() < 1_000, "{}", block.bytes.capacity());
}

#[test]
fn secrets_are_marked_and_not_shown() {
    let mut block = block(&[("authorization", "Bearer x"), ("x-a", "1")]);
    block.push_sensitive(b"x-key", b"y");
    let marked: Vec<_> = block.iter().map(|field| field.sensitive).collect();
    assert_eq!(marked, [true, false, true]);
    let mut copy = HeaderBlock::new();
    copy.copy_from(&block);
    let shown = format!("{copy:?}");
    assert!(shown.contains("x-key") && !shown.contains("Bearer") && !shown.contains("\"y\""));
}

#[test]
fn fields_are_found_behind_hundreds_of_others_and_after_every_change() {
    let mut block = HeaderBlock::new();
    for number in 0..300 {
        block.push_by_name(format!("x-{number}").as_bytes(), b"y");
    }
    block.push(Name::Te, b"first");
    block.push(Name::Te, b"second");
    block.push(Name::Path, b"/in-front");
    assert_eq!(block.get(Name::Te), Some(&b"first"[..]));
    assert_eq!(block.get(Name::Path), Some(&b"/in-front"[..]));
    block.retain(|field| !field.name_bytes.starts_with(b"x-1"));
    assert_eq!(block.get(Name::Te), Some(&b"first"[..]));
    block.set(Name::Te, b"only");
    assert_eq!(block.values(Name::Te).collect::<Vec<_>>(), [b"only"]);
    assert!(block.remove(Name::Te) && block.get(Name::Te).is_none());
    block.clear();
    assert_eq!(block.get(Name::Path), None);
}

#[test]
fn what_came_from_the_static_table_is_sent_from_it_unless_it_changed() {
    let mut block = HeaderBlock::new();
    // `:method: POST`, `:scheme: http`.
    let input = [0x83, 0x86];
    Decoder::new(1_000).decode(&input, &mut block).unwrap();
    let sent = |block: &HeaderBlock| {
        let mut output = Vec::new();
        Encoder::default().encode(block, &mut output);
        output
    };
    assert_eq!(sent(&block), input);
    block.set(Name::Scheme, b"http");
    assert_eq!(sent(&block), input);
    block.set(Name::Scheme, b"https");
    assert_eq!(sent(&block), [0x83, 0x87]);
}
