//! What others may ask of a worker: our own framed service, and the `BlockWorker` of the GooseFS protocol.

mod frames;
mod grpc;
mod take_over;
mod upload;

pub(crate) use frames::{Frames, hello};
pub(crate) use grpc::Blocks;
