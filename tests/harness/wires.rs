//! A network for three masters that can be cut: each lives in a network namespace of its own, with one wire to a bridge
//! that clients reach and one to a bridge for peers alone.
//!
//! A wire is cut by taking its end on the bridge down: packets vanish, nobody gets a reset, as when a switch dies.
//! Everything is named after the test's process and removed when it is dropped; what a killed test left is removed by
//! the next one.

use anyhow::{Context, bail, ensure};
use std::io::Write;
use std::process::{Command, Stdio};

/// Which wires of a master are cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cut {
    /// To its peers; clients still reach it.
    Peers,
    /// To peers and clients.
    All,
}

/// Namespaces, bridges and wires. Removed when it is dropped.
#[derive(Debug)]
pub struct Wires {
    tag: String,
    /// First two bytes of all addresses, and the third of the clients' network; the peers' is the next.
    subnet: (u8, u8),
    masters: usize,
}

impl Wires {
    /// Lays the wires of `masters` masters.
    ///
    /// # Errors
    /// When this process may not make namespaces (it takes root), or `ip` is missing.
    pub fn lay(masters: usize) -> anyhow::Result<Wires> {
        ensure!(nix::unistd::geteuid().is_root(), "network namespaces take root");
        sweep();
        let tag = format!("gf{}", base36(std::process::id()));
        let wires = Wires { tag, subnet: free_subnet()?, masters };
        wires.make()?;
        Ok(wires)
    }

    fn make(&self) -> anyhow::Result<()> {
        let (tag, (high, low)) = (&self.tag, self.subnet);
        let mut lines = vec![
            format!("link add {tag}bc type bridge"),
            format!("link add {tag}bp type bridge"),
            format!("addr add 10.{high}.{low}.1/24 dev {tag}bc"),
            format!("link set {tag}bc up"),
            format!("link set {tag}bp up"),
        ];
        for id in 0..self.masters {
            let namespace = self.namespace(id);
            lines.push(format!("netns add {namespace}"));
            for (kind, third) in [('c', low), ('p', low + 1)] {
                let (outer, inner) = (format!("{tag}{kind}{id}"), format!("{tag}i{kind}{id}"));
                lines.push(format!("link add {outer} type veth peer name {inner}"));
                lines.push(format!("link set {outer} master {tag}b{kind}"));
                lines.push(format!("link set {inner} netns {namespace}"));
                lines.push(format!("link set {outer} up"));
                lines.push(format!("-n {namespace} addr add 10.{high}.{third}.{}/24 dev {inner}", id + 10));
                lines.push(format!("-n {namespace} link set {inner} up"));
            }
            lines.push(format!("-n {namespace} link set lo up"));
        }
        for line in lines {
            ip(&line.split(' ').collect::<Vec<_>>())?;
        }
        Ok(())
    }

    /// The namespace of a master.
    #[must_use]
    pub fn namespace(&self, id: usize) -> String {
        format!("{}-{id}", self.tag)
    }

    /// Where clients reach a master.
    #[must_use]
    pub fn client_host(&self, id: usize) -> String {
        format!("10.{}.{}.{}", self.subnet.0, self.subnet.1, id + 10)
    }

    /// Where its peers reach it.
    #[must_use]
    pub fn peer_host(&self, id: usize) -> String {
        format!("10.{}.{}.{}", self.subnet.0, self.subnet.1 + 1, id + 10)
    }

    /// Cuts wires of a master.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn cut(&self, id: usize, cut: Cut) -> anyhow::Result<()> {
        let kinds: &[char] = if cut == Cut::All { &['p', 'c'] } else { &['p'] };
        self.set(id, kinds, "down")
    }

    /// Mends all wires of a master.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn mend(&self, id: usize) -> anyhow::Result<()> {
        self.set(id, &['p', 'c'], "up")
    }

    fn set(&self, id: usize, kinds: &[char], state: &str) -> anyhow::Result<()> {
        let lines: String =
            kinds.iter().map(|kind| format!("link set {}{kind}{id} {state}\n", self.tag)).collect();
        let mut batch = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn()?;
        batch.stdin.take().context("no input of ip")?.write_all(lines.as_bytes())?;
        ensure!(batch.wait()?.success(), "ip could not set wires of master {id} {state}");
        Ok(())
    }
}

impl Drop for Wires {
    fn drop(&mut self) {
        remove(&self.tag, self.masters);
    }
}

/// Takes away what is named by `tag`; what is not there is no error.
fn remove(tag: &str, masters: usize) {
    let wires = (0..masters).flat_map(|id| [format!("{tag}c{id}"), format!("{tag}p{id}")]);
    for link in wires.chain([format!("{tag}bc"), format!("{tag}bp")]) {
        let _ = ip(&["link", "del", &link]);
    }
    for id in 0..masters {
        let _ = ip(&["netns", "del", &format!("{tag}-{id}")]);
    }
}

/// Removes the namespaces of tests that were killed.
fn sweep() {
    let Ok(listed) = Command::new("ip").args(["netns", "list"]).output() else { return };
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    for name in listed.lines().filter_map(|line| line.split_whitespace().next()) {
        let Some((tag, "0")) = name.rsplit_once('-') else { continue };
        let Some(pid) = tag.strip_prefix("gf").and_then(|text| u32::from_str_radix(text, 36).ok()) else {
            continue;
        };
        if !std::path::Path::new(&format!("/proc/{pid}")).exists() {
            remove(tag, 3);
        }
    }
}

fn ip(args: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("ip").args(args).stdin(Stdio::null()).output().context("run ip")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip {}: {}", args.join(" "), said.trim());
    Ok(())
}

/// Two networks in a row that no route of this machine leads to.
fn free_subnet() -> anyhow::Result<(u8, u8)> {
    let routes = Command::new("ip").args(["-4", "route"]).output().context("run ip")?;
    let routes = String::from_utf8_lossy(&routes.stdout).into_owned();
    for _ in 0..100 {
        let (high, low): (u8, u8) = (rand::random_range(200..250), rand::random_range(0..127) * 2);
        let taken = [low, low + 1].map(|third| routes.contains(&format!("10.{high}.{third}.")));
        if taken == [false, false] {
            return Ok((high, low));
        }
    }
    bail!("no network in 10.200.0.0/8 is free")
}

fn base36(mut number: u32) -> String {
    let mut digits = Vec::new();
    while number > 0 || digits.is_empty() {
        digits.push(char::from_digit(number % 36, 36).unwrap_or('0'));
        number /= 36;
    }
    digits.iter().rev().collect()
}
