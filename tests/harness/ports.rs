//! Ports for the processes of tests.

use anyhow::bail;
use std::net::TcpListener;

/// The first of `count` ports in a row that nobody uses on any of `hosts` now, below those that the system gives to
/// clients.
pub(crate) fn in_a_row(count: u16, hosts: &[&str]) -> anyhow::Result<u16> {
    for _ in 0..200 {
        let base: u16 = rand::random_range(10_000..30_000);
        let free = |port| hosts.iter().all(|host| TcpListener::bind((*host, port)).is_ok());
        if (base..base + count).all(free) {
            return Ok(base);
        }
    }
    bail!("no {count} ports in a row are free")
}
