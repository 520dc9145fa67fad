//! Master to master, over tonic: what openraft sends ([`client`]) and what comes in ([`server`]).

mod client;
mod server;

pub(super) use client::{Network, connection, identify_at};
pub(super) use server::{Service, line, serve};
