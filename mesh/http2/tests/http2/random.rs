//! Frames without any sense: nothing panics, memory stays bounded, and how they are cut is the same.

use proptest::prelude::*;
use weft_http2::{ErrorCode, Limits, Settings};

use crate::wire::*;

fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let stream = prop_oneof![4 => 0u32..8, 1 => any::<u32>()];
    let flags = prop_oneof![
        Just(0),
        Just(END_STREAM),
        Just(END_HEADERS),
        Just(5),
        any::<u8>()
    ];
    let payload = prop_oneof![
        Just(fields(&REQUEST)),
        Just(fields(&[("grpc-status", "0")])),
        Just(vec![0; 4]),
        Just(vec![0, 0, 0, 9]),
        Just(vec![0; 8]),
        Just(vec![0, 4, 0, 0, 0, 50]),
        prop::collection::vec(any::<u8>(), 0..30),
    ];
    prop_oneof![
        4 => (0u8..11, flags, stream, payload).prop_map(|(k, f, s, p)| frame(k, f, s, &p)),
        3 => (0u32..8, any::<bool>()).prop_map(|(id, end)| request(id * 2 + 1, end)),
        3 => (0u32..8, any::<bool>()).prop_map(|(id, end)| data(id * 2 + 1, end, b"hello")),
        1 => (0u32..8).prop_map(|id| reset(id * 2 + 1, ErrorCode::CANCEL)),
        1 => (0u32..8, 1u32..99).prop_map(|(id, by)| window_update(id * 2 + 1, by)),
        1 => (0u32..8, any::<bool>()).prop_map(|(id, end)| headers(id * 2 + 1, end, &[(":status", "200")])),
    ]
}

fn side(server: bool) -> Side {
    if server {
        return Side::server_with(
            &Settings {
                max_concurrent_streams: 4,
                ..Settings::default()
            },
            &Limits::default(),
        );
    }
    let mut side = Side::client();
    for token in 0..4 {
        side.call(token, token % 2 == 0);
    }
    side
}

proptest! {
    #[test]
    fn any_frames_are_borne_or_refused_however_they_are_cut(
        frames in prop::collection::vec(any_frame(), 1..30),
        server: bool,
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let input = frames.concat();
        let mut whole = side(server);
        let expected = whole.receive(&input);
        prop_assert!(whole.connection.open_streams() <= 4);
        let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(input.len())).collect();
        ends.push(input.len());
        ends.sort_unstable();
        let mut cut = side(server);
        let (mut result, mut start) = (Ok(()), 0);
        for end in ends {
            result = result.and_then(|()| cut.receive(&input[start..end]));
            start = end;
        }
        prop_assert_eq!(result, expected);
        prop_assert_eq!(cut.take_told(), whole.take_told());
        prop_assert_eq!(cut.connection.output(), whole.connection.output());
    }

    #[test]
    fn any_bytes_are_borne_or_refused(bytes: Vec<u8>, server: bool) {
        let mut side = side(server);
        let _ = side.receive(&bytes);
        prop_assert!(side.connection.output().len() < 10_000);
    }
}
