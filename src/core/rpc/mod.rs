//! How roles talk.
//!
//! Two transports on one port. gRPC (tonic) carries what others speak or what is rare: the public GooseFS protocol,
//! Raft, administration. [`frame`] carries what our own FUSE, clients and workers do a hundred thousand times a second:
//! length-delimited, multiplexed prost messages with a raw payload. [`server`] binds a port and tells the two apart by
//! the first bytes of a connection.
//!
//! | file | owns |
//! |---|---|
//! | [`frame`] | the framed protocol, both sides |
//! | [`server`] | one listening port for gRPC and frames, drained on shutdown |
//! | [`masters`] | finding and following the leading master, with retries |
//! | [`control`] | the control key, which who administers masters has, and its proofs |
//! | [`sasl`] | who calls: `SaslAuthenticationService` and the channel ids it hands out |
//! | [`fds`] | file descriptors over a Unix socket |
//! | [`park`] | mounts whose FUSE process is away |
//! | [`unix`] | listening on a Unix socket |
//! | [`grpc`] | tuned tonic channels to other masters and workers |

pub mod control;
pub mod fds;
pub mod frame;
pub mod grpc;
pub mod masters;
pub mod park;
pub mod sasl;
pub mod server;
pub mod unix;
