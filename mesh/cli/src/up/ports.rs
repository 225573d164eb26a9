//! Free ports, and who has a port that is not free.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use anyhow::bail;

use crate::system;

/// Ports come from blocks of this size, below those the system gives to whoever asks for any port:
/// between the choice of a port and its use, also when its process is started again, nobody gets it.
const BLOCK: u16 = 128;
const FIRST: u16 = 20_000;
const END: u16 = 32_000;

/// Free ports. While it lives, no other `weft up` of this machine takes from the same block.
#[derive(Debug, Default)]
pub struct FreePorts {
    /// The first port of each block this one took from.
    blocks: Vec<TcpListener>,
    next: u16,
    /// What was promised already, so that no two are the same.
    taken: Vec<TcpListener>,
}

impl FreePorts {
    /// A free port on `ip`.
    ///
    /// # Errors
    ///
    /// If the system has none.
    pub fn take_on(&mut self, ip: IpAddr) -> anyhow::Result<SocketAddr> {
        loop {
            if self.next.is_multiple_of(BLOCK) && !self.another_block() {
                break;
            }
            let port = FIRST + self.next;
            self.next += 1;
            if let Ok(listener) = TcpListener::bind((ip, port)) {
                self.taken.push(listener);
                return Ok((ip, port).into());
            }
        }
        let listener = TcpListener::bind((ip, 0))?;
        let address = listener.local_addr()?;
        self.taken.push(listener);
        Ok(address)
    }

    /// Goes to the next block that nobody has.
    fn another_block(&mut self) -> bool {
        let begin = FIRST + self.next;
        for first in (begin..END).step_by(usize::from(BLOCK)) {
            if let Ok(held) = TcpListener::bind((Ipv4Addr::LOCALHOST, first)) {
                self.blocks.push(held);
                self.next = first - FIRST + 1;
                return true;
            }
        }
        false
    }

    /// Lets go of the ports, so that processes can listen there, but keeps the blocks.
    pub fn release(&mut self) {
        self.taken.clear();
    }

    /// A free loopback port.
    ///
    /// # Errors
    ///
    /// If the system has none.
    pub fn take(&mut self) -> anyhow::Result<SocketAddr> {
        self.take_on(IpAddr::V4(Ipv4Addr::LOCALHOST))
    }

    /// `wanted`, if it is free, or else another port on the same address.
    ///
    /// # Errors
    ///
    /// If the system has none.
    pub fn prefer(&mut self, wanted: SocketAddr) -> anyhow::Result<SocketAddr> {
        match TcpListener::bind(wanted) {
            Ok(listener) => {
                self.taken.push(listener);
                Ok(wanted)
            }
            Err(_) => self.take_on(wanted.ip()),
        }
    }

    /// `wanted`, or for port 0 a free one.
    ///
    /// # Errors
    ///
    /// If it is taken: by whom, and what to do.
    pub fn demand(&mut self, wanted: SocketAddr) -> anyhow::Result<SocketAddr> {
        if wanted.port() == 0 {
            return self.take_on(wanted.ip());
        }
        let listener = match TcpListener::bind(wanted) {
            Ok(listener) => listener,
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => bail!(taken(wanted)),
            Err(error) => bail!(
                "the edge cannot listen on {wanted}: {error}\n  help: choose another address: \
                 weft up --listen 127.0.0.1:0"
            ),
        };
        self.taken.push(listener);
        Ok(wanted)
    }
}

fn taken(address: SocketAddr) -> String {
    let holder = match system::listener_of(address) {
        Some((pid, command)) => format!("by `{command}` (pid {pid})"),
        None => "by a process of another user".to_owned(),
    };
    format!(
        "the edge's address {address} is taken {holder}\n  help: stop that process, or choose another \
         address: weft up --listen 127.0.0.1:0 takes a free port"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_copies_never_get_the_same_port() {
        let (mut one, mut two) = (FreePorts::default(), FreePorts::default());
        let first: Vec<_> = (0..200).map(|_| one.take().unwrap()).collect();
        one.release();
        for _ in 0..200 {
            let port = two.take().unwrap();
            assert!(!first.contains(&port), "{port}");
        }
        let listener = TcpListener::bind(first[0]);
        assert!(listener.is_ok(), "its own process can listen there");
    }

    #[test]
    fn a_taken_port_names_its_holder_and_a_way_out() {
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = held.local_addr().unwrap();
        let message = FreePorts::default()
            .demand(address)
            .unwrap_err()
            .to_string();
        assert!(message.starts_with(&format!("the edge's address {address} is taken by `")));
        assert!(
            message.contains(&format!("(pid {})", std::process::id())),
            "{message}"
        );
        assert!(message.contains("--listen 127.0.0.1:0"));
        assert_ne!(FreePorts::default().prefer(address).unwrap(), address);
    }
}
