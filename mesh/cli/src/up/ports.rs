//! Free ports, and who has a port that is not free.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use anyhow::bail;

use crate::system;

/// Free loopback ports. They stay bound until it is dropped, so that no two are the same.
#[derive(Debug, Default)]
pub struct FreePorts(Vec<TcpListener>);

impl FreePorts {
    /// A free port on `ip`.
    ///
    /// # Errors
    ///
    /// If the system has none.
    pub fn take_on(&mut self, ip: IpAddr) -> anyhow::Result<SocketAddr> {
        let listener = TcpListener::bind((ip, 0))?;
        let address = listener.local_addr()?;
        self.0.push(listener);
        Ok(address)
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
                self.0.push(listener);
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
        let listener = match TcpListener::bind(wanted) {
            Ok(listener) => listener,
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => bail!(taken(wanted)),
            Err(error) => bail!(
                "the edge cannot listen on {wanted}: {error}\n  help: choose another address: \
                 weft up --listen 127.0.0.1:0"
            ),
        };
        let address = listener.local_addr()?;
        self.0.push(listener);
        Ok(address)
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
