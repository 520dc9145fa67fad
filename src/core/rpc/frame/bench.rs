//! Figures of the framed transport. Run in release, alone:
//! `cargo test --release -p goosefs-core rpc::frame::bench -- --ignored --nocapture --test-threads 1`

use super::*;
use crate::error::Result;
use crate::proto::internal::{
    HelloRequest, HelloResponse, ReadContentRequest, VersionRequest, VersionResponse,
};
use crate::proto::method;
use crate::rpc::server;
use crate::task::Tasks;
use async_trait::async_trait;
use bytes::Bytes;
use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

struct Bench {
    brief: bool,
    file: Arc<File>,
    block: Bytes,
}

#[async_trait]
impl FrameService for Bench {
    fn hello(&self, _: &Peer, _: &HelloRequest) -> Result<HelloResponse> {
        Ok(HelloResponse { version: 1, ..Default::default() })
    }

    async fn call(&self, mut call: Call) {
        if call.method == method::READ_CONTENT {
            let request: ReadContentRequest = call.request().unwrap();
            let mut outcome = Ok(());
            let mut left = request.length;
            while left > 0 && outcome.is_ok() {
                let part = left.min(self.block.len() as u64);
                outcome = if request.sequential {
                    call.send_file(Arc::clone(&self.file), 0, part).await
                } else {
                    call.send(self.block.slice(..part as usize)).await
                };
                left -= part;
            }
            return call.finish(outcome).await;
        }
        let answer = call.request().map(version);
        call.answer(answer).await;
    }

    fn call_at_once(&self, call: &mut BriefCall<'_>) {
        if self.brief && call.method == method::VERSION {
            call.answer(call.request().map(version));
        }
    }
}

fn version(request: VersionRequest) -> VersionResponse {
    VersionResponse { content: request.content, length: 1, ..Default::default() }
}

/// `(name, channel)` over TCP and over a Unix socket.
async fn channels(brief: bool, tasks: &Tasks, folder: &std::path::Path) -> Vec<(&'static str, Channel)> {
    const MIB: usize = 1 << 20;
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&vec![7; 16 * MIB]).unwrap();
    let service: Arc<dyn FrameService> =
        Arc::new(Bench { brief, file: Arc::new(file), block: vec![7; 16 * MIB].into() });
    let listener = server::bind("bench", "127.0.0.1:0").await.unwrap();
    let routes = tonic::service::Routes::default();
    let tcp = server::serve("bench", listener, routes, Some(Arc::clone(&service)), tasks).unwrap();
    let path = folder.join(format!("{brief}.sock"));
    server::serve_unix("bench", &path, service, tasks).unwrap();
    let mut channels = Vec::new();
    for (name, target) in [("TCP", Target::Tcp(tcp.to_string())), ("Unix", Target::Unix(path))] {
        let hello = HelloRequest { version: 1, ..Default::default() };
        let channel = Channel::connect(&target, hello, tasks, Duration::from_secs(5)).await.unwrap();
        channels.push((name, channel));
    }
    channels
}

async fn calls(channel: &Channel, callers: u64, span: Duration) -> (f64, Duration) {
    let until = Instant::now() + span;
    let running: Vec<_> = (0..callers)
        .map(|caller| {
            let channel = channel.clone();
            tokio::spawn(async move {
                let mut times = Vec::new();
                let mut last = Instant::now();
                while last < until {
                    let request = VersionRequest { content: caller, suspect: None };
                    let _: VersionResponse = channel.call(method::VERSION, &request).await.unwrap();
                    let now = Instant::now();
                    times.push(now - last);
                    last = now;
                }
                times
            })
        })
        .collect();
    let mut times = Vec::new();
    for caller in running {
        times.extend(caller.await.unwrap());
    }
    times.sort_unstable();
    (times.len() as f64 / span.as_secs_f64(), times[times.len() / 2])
}

async fn stream(channel: &Channel, by_file: bool, length: u64) -> f64 {
    let started = Instant::now();
    let request = ReadContentRequest { length, sequential: by_file, ..Default::default() };
    let mut payloads = channel.read(method::READ_CONTENT, &request).await.unwrap();
    let mut received = 0;
    while let Some(bytes) = payloads.next().await.unwrap() {
        received += bytes.len() as u64;
    }
    assert_eq!(received, length);
    length as f64 / f64::from(1 << 30) / started.elapsed().as_secs_f64()
}

/// Median of five.
fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a benchmark: run it alone, in release"]
async fn small_calls_and_streams() {
    let folder = tempfile::tempdir().unwrap();
    let tasks = Tasks::new("bench");
    for brief in [false, true] {
        for (name, channel) in channels(brief, &tasks, folder.path()).await {
            for callers in [1, 16, 64] {
                let (mut rates, mut middle) = (Vec::new(), Duration::ZERO);
                for _ in 0..5 {
                    let (rate, p50) = calls(&channel, callers, Duration::from_millis(500)).await;
                    rates.push(rate);
                    middle = p50;
                }
                let rate = median(rates);
                println!("{name:5} brief={brief:5} {callers:2} callers: {rate:9.0} calls/s, p50 {middle:?}");
            }
            if brief {
                continue;
            }
            for by_file in [false, true] {
                let mut rates = Vec::new();
                for _ in 0..5 {
                    rates.push(stream(&channel, by_file, 2 << 30).await);
                }
                let how = if by_file { "sendfile" } else { "memory" };
                println!("{name:5} stream of 1 MiB payloads from {how:8}: {:.2} GiB/s", median(rates));
            }
        }
    }
}
