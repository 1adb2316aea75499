//! Ports on loopback that stay a server's own while it is away.
//!
//! A system gives the ports from 32768 on (Linux, `ip_local_port_range`; others begin at 49152) to whoever connects or
//! listens on port 0. A server that was killed to come back on such a port, or was told to listen on one that was free
//! a moment ago, finds it taken by a stranger, and whoever asks the server is answered by that one.

use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::Ipv4Addr;
use std::ops::Range;

use tokio::net::TcpListener;

/// Those of the servers in this process.
const OWN: Range<u16> = 10_000..18_000;
/// Those of servers that are told their port.
const TOLD: Range<u16> = 18_000..32_000;
/// How many ports are tried before the system is asked for one.
const TRIES: usize = 50;

/// Listens on this port; on a free one for 0.
///
/// # Errors
/// The port is taken, or none can be bound.
pub(crate) async fn listen(port: u16) -> io::Result<TcpListener> {
    if port == 0 {
        for port in std::iter::repeat_with(|| one_of(OWN)).take(TRIES) {
            if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
                return Ok(listener);
            }
        }
    }
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await
}

/// A port that is free now, for a server that is told its port.
///
/// # Errors
/// None can be bound.
pub(crate) fn free() -> io::Result<u16> {
    let mut tried = std::iter::repeat_with(|| one_of(TOLD)).take(TRIES);
    match tried.find(|port| !is_taken(*port)) {
        Some(port) => Ok(port),
        None => Ok(std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port()),
    }
}

/// Whether somebody listens on this port.
pub(crate) fn is_taken(port: u16) -> bool {
    std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err()
}

/// A number that no other process draws too.
pub(crate) fn random() -> u64 {
    RandomState::new().hash_one(std::process::id())
}

fn one_of(ports: Range<u16>) -> u16 {
    // The rest of a division by a `u16` is one.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "smaller than the number of ports"
    )]
    let nth = (random() % u64::from(ports.end - ports.start)) as u16;
    ports.start + nth
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the system gives to others begins here.
    const OTHERS: u16 = 32_768;

    #[tokio::test]
    async fn no_port_is_one_that_the_system_gives_to_others() {
        let mut held = Vec::new();
        for _ in 0..40 {
            let listener = listen(0).await.unwrap();
            assert!(OWN.contains(&listener.local_addr().unwrap().port()));
            held.push(listener);
            assert!(free().unwrap() < OTHERS);
        }
    }

    #[tokio::test]
    async fn the_port_asked_for_is_the_one() {
        let port = free().unwrap();
        let listener = listen(port).await.unwrap();
        assert_eq!(listener.local_addr().unwrap().port(), port);
        assert!(is_taken(port));
        listen(port).await.unwrap_err();
    }
}
