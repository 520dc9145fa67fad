//! Uploading a content to its under-storage.

use crate::node::Node;
use crate::read::{Range, Reader, Sources};
use goosefs_core::id::{ContentId, MountId};
use goosefs_core::proto::internal::{Fingerprint, UploadContentRequest, UploadContentResponse};
use goosefs_core::{Code, Error, Result};
use goosefs_ufs::{Attributes, Writer, same_version};
use std::sync::Arc;

/// Bytes handed to a storage at a time.
const CHUNK: u64 = 1 << 20;

/// Uploads what this worker and the other holders have of a content. The object appears whole or not at all.
///
/// # Errors
/// `Stale` when the content was truncated meanwhile, `Lost` when an only copy is gone, else what the storage said.
pub(super) async fn upload(node: &Arc<Node>, request: UploadContentRequest) -> Result<UploadContentResponse> {
    let content =
        ContentId::from_raw(request.content).ok_or_else(|| super::frames::no_content(request.content))?;
    let mount = node.mounts.get(MountId(request.mount)).await?;
    node.versions.forget(content);
    let range = Range {
        content,
        offset: 0,
        length: request.length,
        sequential: true,
        generation: request.generation,
        sources: Sources::Workers,
        in_file: false,
    };
    let mut reader = Reader::open(node.clone(), range).await?;
    if reader.version().generation != request.generation {
        let message = format!("content {content} was truncated before its upload");
        return Err(Error::new(Code::Stale, message));
    }
    let mut writer = mount.ufs.create(&request.ufs_path, &Attributes::default()).await?;
    let copied = match copy(&mut reader, &mut *writer).await {
        Ok(copied) if copied == request.length => writer.finish().await,
        Ok(copied) => {
            writer.abort().await;
            let message = format!("content {content} has {copied} bytes here, not {}", request.length);
            Err(Error::new(Code::Lost, message))
        }
        Err(error) => {
            writer.abort().await;
            Err(error)
        }
    };
    let written = copied?;
    let found = mount.ufs.stat(&request.ufs_path).await?.fingerprint;
    verify(&request, &written, &found)?;
    node.metrics.uploaded_bytes.inc_by(request.length);
    node.uploaded.notify_one();
    Ok(UploadContentResponse { fingerprint: Some(found) })
}

async fn copy(reader: &mut Reader, writer: &mut dyn Writer) -> Result<u64> {
    let mut copied = 0;
    while let Some(mut piece) = reader.next().await? {
        while !piece.is_empty() {
            let bytes = piece.take(CHUNK).await?;
            copied += bytes.len() as u64;
            writer.write(bytes).await?;
        }
    }
    Ok(copied)
}

fn verify(request: &UploadContentRequest, written: &Fingerprint, found: &Fingerprint) -> Result<()> {
    if found.length != request.length {
        let message =
            format!("{} has {} bytes after the upload of {}", request.ufs_path, found.length, request.length);
        return Err(Error::new(Code::Ufs, message));
    }
    if !same_version(written, found) {
        let message = format!("{} was replaced by somebody else during its upload", request.ufs_path);
        return Err(Error::new(Code::Stale, message));
    }
    Ok(())
}
