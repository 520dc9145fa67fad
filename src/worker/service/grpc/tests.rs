//! The public protocol, spoken as clients of GooseFS speak it.

use crate::Running;
use crate::testing::{BLOCK, Cluster, bytes, eventually, read, write};
use goosefs_core::id::BlockId;
use goosefs_core::proto::public::block as wire;
use goosefs_core::proto::public::block::block_worker_client::BlockWorkerClient;
use goosefs_core::proto::public::shared::dataserver::CreateUfsFileOptions;
use goosefs_core::rpc::sasl::AuthType;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status};
use wire::write_request::Value;

const GRACE: Duration = Duration::from_secs(10);

async fn start(cluster: &Cluster) -> (Running, BlockWorkerClient<Channel>) {
    let mut config = cluster.config("w", 64 << 20);
    config.auth = AuthType::NoSasl;
    let worker = cluster.worker_with(config).await;
    let uri = format!("http://{}", worker.addresses().rpc);
    let client = BlockWorkerClient::connect(uri).await.unwrap();
    (worker, client.max_decoding_message_size(64 << 20))
}

/// Reads as the vendor's client does: each chunk is acknowledged, the stream stays open.
async fn read_block(
    client: &BlockWorkerClient<Channel>,
    block: BlockId,
    offset: i64,
    length: i64,
) -> Result<(Vec<u8>, usize), Status> {
    let (requests, waiting) = mpsc::channel(32);
    let first = wire::ReadRequest {
        block_id: Some(block.0 as i64),
        offset: Some(offset),
        length: Some(length),
        chunk_size: Some(1 << 20),
        ..wire::ReadRequest::default()
    };
    requests.send(first).await.unwrap();
    let mut answers = client.clone().read_block(ReceiverStream::new(waiting)).await?.into_inner();
    let (mut all, mut chunks) = (Vec::new(), 0);
    while let Some(answer) = answers.message().await? {
        let data = answer.chunk.unwrap().data.unwrap();
        assert!(!data.is_empty() && data.len() <= 1 << 20);
        all.extend_from_slice(&data);
        chunks += 1;
        let received = offset + all.len() as i64;
        let acknowledge =
            wire::ReadRequest { offset_received: Some(received), ..wire::ReadRequest::default() };
        // The server ends the stream after the last chunk.
        let _ended = requests.send(acknowledge).await;
    }
    Ok((all, chunks))
}

struct Write {
    requests: mpsc::Sender<wire::WriteRequest>,
    answers: tonic::Streaming<wire::WriteResponse>,
}

async fn open_write(client: &BlockWorkerClient<Channel>, command: wire::WriteRequestCommand) -> Write {
    let (requests, waiting) = mpsc::channel(32);
    requests.send(wire::WriteRequest { value: Some(Value::Command(command)) }).await.unwrap();
    let answers = client.clone().write_block(ReceiverStream::new(waiting)).await.unwrap().into_inner();
    Write { requests, answers }
}

impl Write {
    async fn chunks(&self, all: &[u8]) {
        for chunk in all.chunks(1 << 20) {
            let chunk = wire::Chunk { data: Some(chunk.to_vec().into()) };
            self.requests.send(wire::WriteRequest { value: Some(Value::Chunk(chunk)) }).await.unwrap();
        }
    }

    async fn flush(&mut self) -> i64 {
        let flush = wire::WriteRequestCommand { flush: Some(true), ..wire::WriteRequestCommand::default() };
        self.requests.send(wire::WriteRequest { value: Some(Value::Command(flush)) }).await.unwrap();
        self.answers.message().await.unwrap().unwrap().offset.unwrap()
    }

    async fn close(mut self) -> Result<(), Status> {
        drop(self.requests);
        while self.answers.message().await?.is_some() {}
        Ok(())
    }
}

/// A client that dies before it ends its stream: the connection breaks.
fn killed_while_writing(worker: &Running, command: wire::WriteRequestCommand, all: Vec<u8>) {
    let uri = format!("http://{}", worker.addresses().rpc);
    let life = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let client = BlockWorkerClient::connect(uri).await.unwrap();
            let write = open_write(&client, command).await;
            write.chunks(&all).await;
            std::mem::forget(write.requests);
        });
    });
    life.join().unwrap();
}

fn block_command(block: BlockId) -> wire::WriteRequestCommand {
    wire::WriteRequestCommand {
        r#type: Some(wire::RequestType::GoosefsBlock as i32),
        id: Some(block.0 as i64),
        offset: Some(0),
        space_to_reserve: Some(1),
        ..wire::WriteRequestCommand::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocks_are_read_whole_and_in_part_by_the_masters_version() {
    let cluster = Cluster::start().await;
    let (worker, client) = start(&cluster).await;
    let all = bytes(31, 6_500_000);
    let content = cluster.persisted("a", &all);
    let (first, chunks) = read_block(&client, content.block(0), 0, BLOCK as i64).await.unwrap();
    assert!(first == all[..BLOCK as usize]);
    assert!(chunks >= 4);
    let (rest, _) = read_block(&client, content.block(1), 0, BLOCK as i64).await.unwrap();
    assert!(rest == all[BLOCK as usize..]);
    let (part, _) = read_block(&client, content.block(1), 1000, 500).await.unwrap();
    assert!(part == all[BLOCK as usize + 1000..][..500]);
    let unknown = read_block(&client, goosefs_core::id::ContainerId(999).block(0), 0, 1).await.unwrap_err();
    assert_eq!(unknown.code(), Code::FailedPrecondition, "{unknown}");
    worker.shutdown(GRACE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_written_block_counts_after_flush_and_close_and_the_death_of_a_writer_voids_the_rest() {
    let cluster = Cluster::start().await;
    let (worker, client) = start(&cluster).await;
    let content = cluster.created();
    let all = bytes(32, 3_000_000);
    let mut first = open_write(&client, block_command(content.block(0))).await;
    first.chunks(&all).await;
    assert_eq!(first.flush().await, 3_000_000);
    first.close().await.unwrap();
    assert_eq!(cluster.master.facts.lock().commits.last().unwrap().length, 3_000_000);
    let (back, _) = read_block(&client, content.block(0), 0, BLOCK as i64).await.unwrap();
    assert!(back == all);

    let other = cluster.created();
    killed_while_writing(&worker, block_command(other.block(0)), all[..1 << 20].to_vec());
    eventually("nothing of it is kept", || {
        let beat = cluster.beat(worker.worker());
        beat.tiers.first().is_some_and(|tier| tier.used == 3_002_368)
    })
    .await;
    assert!(cluster.master.facts.lock().commits.iter().all(|commit| commit.block != other.block(0).0));

    let too_long = open_write(&client, block_command(cluster.created().block(0))).await;
    too_long.chunks(&bytes(33, BLOCK as usize + 1)).await;
    assert_eq!(too_long.close().await.unwrap_err().code(), Code::InvalidArgument);
    worker.shutdown(GRACE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ufs_file_appears_whole_at_close_or_not_at_all() {
    let cluster = Cluster::start().await;
    let (worker, client) = start(&cluster).await;
    let command = |name: &str| wire::WriteRequestCommand {
        r#type: Some(wire::RequestType::UfsFile as i32),
        id: Some(-1),
        space_to_reserve: Some(i64::MAX),
        create_ufs_file_options: Some(CreateUfsFileOptions {
            ufs_path: Some(cluster.path(name).display().to_string()),
            mount_id: Some(1),
            mode: Some(0o640),
            ..CreateUfsFileOptions::default()
        }),
        ..wire::WriteRequestCommand::default()
    };
    let all = bytes(34, 2_500_000);
    let mut file = open_write(&client, command("new")).await;
    file.chunks(&all).await;
    assert_eq!(file.flush().await, 2_500_000);
    assert!(!cluster.path("new").exists(), "not before it is whole");
    file.close().await.unwrap();
    assert!(std::fs::read(cluster.path("new")).unwrap() == all);

    killed_while_writing(&worker, command("half"), all);
    let outside = open_write(&client, command("../../outside")).await;
    assert_eq!(outside.close().await.unwrap_err().code(), Code::InvalidArgument);
    let left = || -> Vec<_> {
        std::fs::read_dir(cluster.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    };
    let deadline = tokio::time::Instant::now() + GRACE;
    while left() != ["new"] {
        assert!(tokio::time::Instant::now() < deadline, "left behind: {:?}", left());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    worker.shutdown(GRACE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocks_are_cached_on_demand_checked_and_removed() {
    let cluster = Cluster::start().await;
    let (worker, mut client) = start(&cluster).await;
    let content = cluster.persisted("a", &bytes(35, 5_000_000));
    let id = |index: u64| content.block(index).0 as i64;
    let held = cluster.created();
    write(&cluster.client(&worker).await, held, 1, 0, b"an only copy").await.unwrap();
    let request = wire::SyncCacheRequest { block_id: Some(id(0)), ..wire::SyncCacheRequest::default() };
    assert_eq!(client.sync_cache(request).await.unwrap().into_inner().result, Some(true));
    let request = wire::AsyncCacheRequest { block_id: Some(id(1)), ..wire::AsyncCacheRequest::default() };
    client.async_cache(request).await.unwrap();
    let check = async |client: &mut BlockWorkerClient<Channel>, id: i64| {
        let request = wire::CheckBlocksRequest { block_ids: vec![id, 1] };
        client.check_blocks(request).await.unwrap().into_inner().block_cached_bytes
    };
    assert_eq!(check(&mut client, id(0)).await, [(id(0), BLOCK as i64), (1, 0)].into());
    let deadline = tokio::time::Instant::now() + GRACE;
    while check(&mut client, id(1)).await[&id(1)] != 5_000_000 - BLOCK as i64 {
        assert!(tokio::time::Instant::now() < deadline, "the block is never cached");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    client.remove_block(wire::RemoveBlockRequest { block_id: Some(id(0)) }).await.unwrap();
    assert_eq!(check(&mut client, id(0)).await[&id(0)], 0);
    let only = wire::RemoveBlockRequest { block_id: Some(held.block(0).0 as i64) };
    assert!(client.remove_block(only).await.is_err());
    assert_eq!(read(&cluster.client(&worker).await, held, 0, 100).await.unwrap(), b"an only copy");
    let refused = client.move_block(wire::MoveBlockRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    assert!(refused.message().contains("MoveBlock"), "{refused}");
    worker.shutdown(GRACE).await;
}
