//! A server that answers every request with a few bytes, one thread per connection: something to point
//! `h2spec` or `nghttp` at. Takes the address to listen on, and prints the one it got.

use std::{
    collections::HashMap,
    error::Error,
    io::{self, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use weft_http2::{Connection, Event, HeaderBlock, Limits, Name, Settings, StreamId};

const BODY: &[u8] = b"hello from weft\n";

/// How much of the answer each stream has still to be sent.
type Answers = HashMap<StreamId, &'static [u8]>;

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let listener = TcpListener::bind(address)?;
    println!("{}", listener.local_addr()?);
    for socket in listener.incoming() {
        let socket = socket?;
        std::thread::spawn(move || {
            if let Err(error) = serve(socket) {
                eprintln!("{error}");
            }
        });
    }
    Ok(())
}

/// Serves one connection until it ends.
pub fn serve(mut socket: TcpStream) -> Result<(), Box<dyn Error>> {
    let (settings, limits) = (Settings::default(), Limits::default());
    let mut connection = Connection::<()>::server(&settings, &limits, Instant::now());
    let mut answers = Answers::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        socket.write_all(connection.output())?;
        connection.written(connection.output().len());
        let wait = connection
            .deadline()
            .map(|deadline| deadline - Instant::now());
        socket.set_read_timeout(wait.map(|wait| wait.max(Duration::from_millis(1))))?;
        let result = match socket.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => {
                let mut handler = |connection: &mut Connection<()>, event: Event<'_, ()>| {
                    act(connection, event, &mut answers);
                };
                connection.receive(&buffer[..length], Instant::now(), &mut handler)
            }
            Err(_) => connection.on_deadline(Instant::now()),
        };
        answers.retain(|&stream, left| {
            *left = &left[connection.send_data(stream, left, true)..];
            !left.is_empty()
        });
        if let Err(error) = result {
            socket.write_all(connection.output())?;
            leave(&mut socket)?;
            return Err(error.into());
        }
    }
}

/// Ends a connection whose peer may still be talking: closed with something unread, TCP would reset it, and
/// what was said last could be lost.
fn leave(socket: &mut TcpStream) -> io::Result<()> {
    socket.shutdown(Shutdown::Write)?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut buffer = [0; 1024];
    while matches!(socket.read(&mut buffer), Ok(1..)) {}
    Ok(())
}

fn act(connection: &mut Connection<()>, event: Event<'_, ()>, answers: &mut Answers) {
    match event {
        Event::Headers {
            stream, end_stream, ..
        } if end_stream => answer(connection, stream, answers),
        Event::Data {
            stream,
            bytes,
            end_stream,
            ..
        } => {
            connection.consumed(stream, bytes.len());
            if end_stream {
                answer(connection, stream, answers);
            }
        }
        Event::Trailers { stream, .. } => answer(connection, stream, answers),
        Event::HeadersTooLarge { stream, .. } => {
            let mut block = HeaderBlock::new();
            block.push(Name::Status, b"431");
            connection.send_headers(stream, &block, true);
            connection.release(stream);
        }
        Event::Reset { stream, .. } | Event::Malformed { stream, .. } => {
            answers.remove(&stream);
            connection.release(stream);
        }
        _ => {}
    }
}

fn answer(connection: &mut Connection<()>, stream: StreamId, answers: &mut Answers) {
    let mut block = HeaderBlock::new();
    block.push(Name::Status, b"200");
    connection.send_headers(stream, &block, false);
    answers.insert(stream, BODY);
}
