//! The loads: how many connections and streams, how large the messages.

/// One load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Its column in the report.
    pub name: &'static str,
    /// Connections of the client.
    pub connections: usize,
    /// How calls are made.
    pub pace: Pace,
    /// Bytes of the request message, and of the response message.
    pub payload: usize,
}

/// How calls are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// This many calls are open on each connection; each is followed by the next at once.
    Streams(usize),
    /// This many calls begin each second, evenly, over all connections together.
    Rate(u32),
}

const fn closed(name: &'static str, connections: usize, streams: usize, payload: usize) -> Shape {
    Shape {
        name,
        connections,
        pace: Pace::Streams(streams),
        payload,
    }
}

/// Calls per second of [`FIXED`].
pub const RATE: u32 = 3_000;

/// The load whose latency counts: far below what any proxy can carry.
pub const FIXED: Shape = Shape {
    name: "3,000/s 100 B",
    connections: 8,
    pace: Pace::Rate(RATE),
    payload: 100,
};

/// All loads, in the report's order.
pub const ALL: [Shape; 7] = [
    closed("1x1 100 B", 1, 1, 100),
    closed("1x100 100 B", 1, 100, 100),
    closed("50x10 100 B", 50, 10, 100),
    closed("1x1 10 kB", 1, 1, 10_000),
    closed("1x100 10 kB", 1, 100, 10_000),
    closed("1x100 100 kB", 1, 100, 100_000),
    FIXED,
];
