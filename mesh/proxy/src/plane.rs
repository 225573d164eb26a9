//! The data plane of the sidecar: HTTP/2 frames go from connection to connection, on one thread.
//!
//! Start reading at [`turn`], the event loop. It feeds bytes of a [`link`] (socket, TLS, HTTP/2) to the
//! [`core`], which pairs streams: a caller's stream and the stream of each attempt make an [`exchange`].
//! [`request`] and [`response`] carry headers and payload across, [`attempt`] carries out what the
//! engine (`weft-policy`) decides and [`outcome`] tells it what came of that, [`pool`] finds a connection among
//! the [`pools`], [`finish`] ends calls. [`window`] says how memory stays bounded, [`life`] how connections
//! begin, [`ending`] how they age and end. Others talk to the thread by [`command`].

mod abandon;
mod accept;
mod answer;
mod arena;
mod attempt;
mod command;
mod copy;
mod core;
mod ended;
mod ending;
mod exchange;
mod finish;
mod head;
mod histogram;
mod kind;
mod life;
mod link;
mod links;
mod log;
mod outcome;
mod outgoing;
mod pace;
mod pool;
mod pools;
mod probe;
mod request;
mod response;
mod stall;
mod stats;
mod steer;
mod tls;
mod turn;
mod wheel;
mod window;
mod wire;

pub(crate) use self::{
    command::{Command, Plane},
    core::Core,
    histogram::{BYTES, Histogram, NANOSECONDS, Scale},
    kind::Side,
    stats::{Counts, EndedAlike},
};
