//! Calls that make: files, directories, symlinks; and the end of writing.

use super::info::Infos;
use super::{mode_bits, path_of};
use crate::journal::Op;
use crate::master::Master;
use crate::mounts::Freshness;
use crate::service::vendor_op;
use crate::writing::{Written, through};
use goosefs_core::id::{BlockId, ContentId, InodeId};
use goosefs_core::path::NsPath;
use goosefs_core::proto::internal::{Attr, Caller, NodeKind, WriteType};
use goosefs_core::proto::journal::{CommitBlock, CreateFile, MakeDirectory, MakeSymlink, entry::Command};
use goosefs_core::proto::public::file::{
    CommitLocationPRequest, CommitLocationPResponse, CompleteFilePRequest, CompleteFilePResponse,
    CreateDirectoryPRequest, CreateDirectoryPResponse, CreateFilePRequest, CreateFilePResponse,
    CreateSymlinkPRequest, CreateSymlinkPResponse, WritePType,
};
use goosefs_core::proto::public::shared::shared::FileLocation;
use goosefs_core::{Code, Error, Result};
use std::sync::Arc;

const DEFAULT_FILE_MODE: u32 = 0o644;
const DEFAULT_DIRECTORY_MODE: u32 = 0o755;

/// The extended attribute of a directory that says how files in it are written, as clients read it too.
pub(super) const WRITE_TYPE_XATTR: &str = "innerWriteType";

pub(super) async fn create_file(
    master: Arc<Master>,
    caller: Caller,
    request: CreateFilePRequest,
) -> Result<CreateFilePResponse> {
    let path = path_of(request.path.as_ref())?;
    let options = request.options.unwrap_or_default();
    let found = master.finder.resolve(&path, loading(&master), false).await?;
    let (parent, missing, name) = found.place()?;
    refuse_missing(&missing, options.recursive.unwrap_or_default(), &path)?;
    let who = master.authority.of_caller(&caller).await;
    who.fill(&*master.journal.read()?, parent)?;
    let write_type = write_type(&master, parent, options.write_type, options.default_write_type)?;
    let block_size = match options.block_size_bytes.unwrap_or_default() {
        0 => master.config.block_size,
        given => u64::try_from(given)
            .map_err(|_| Error::new(Code::InvalidArgument, format!("blockSizeBytes {given} is negative")))?,
    };
    let command = Command::CreateFile(CreateFile {
        parent: parent.0,
        missing,
        name,
        mode: options.mode.as_ref().map_or(DEFAULT_FILE_MODE, mode_bits),
        block_size,
        write_type: write_type as i32,
    });
    let op = vendor_op(options.common_options.as_ref());
    let attr = made(master.journal.propose(command, &caller, op).await?.attr)?;
    let namespace = master.journal.state().read();
    let file_info = Infos::new(&master, &namespace).info(&attr, &found.path)?;
    Ok(CreateFilePResponse { file_info: Some(file_info) })
}

pub(super) async fn create_directory(
    master: Arc<Master>,
    caller: Caller,
    request: CreateDirectoryPRequest,
) -> Result<CreateDirectoryPResponse> {
    let path = path_of(request.path.as_ref())?;
    let options = request.options.unwrap_or_default();
    let allow_exists = options.allow_exists.unwrap_or_default();
    let found = master.finder.resolve(&path, loading(&master), false).await?;
    if path.is_root() && allow_exists {
        return Ok(CreateDirectoryPResponse {});
    }
    let (parent, missing, name) = found.place()?;
    refuse_missing(&missing, options.recursive.unwrap_or_default(), &path)?;
    let who = master.authority.of_caller(&caller).await;
    if !found.resolved.exists() {
        who.fill(&*master.journal.read()?, parent)?;
    }
    let write_type = write_type(&master, parent, options.write_type, options.default_write_type)?;
    let command = Command::MakeDirectory(MakeDirectory {
        parent: parent.0,
        missing,
        name,
        mode: options.mode.as_ref().map_or(DEFAULT_DIRECTORY_MODE, mode_bits),
        allow_exists,
        through: through(write_type),
    });
    let op = vendor_op(options.common_options.as_ref());
    master.journal.propose(command, &caller, op).await?;
    Ok(CreateDirectoryPResponse {})
}

pub(super) async fn create_symlink(
    master: Arc<Master>,
    caller: Caller,
    request: CreateSymlinkPRequest,
) -> Result<CreateSymlinkPResponse> {
    let path = path_of(request.link.as_ref())?;
    let options = request.options.unwrap_or_default();
    let target = options.target.filter(|target| !target.is_empty());
    let target =
        target.ok_or_else(|| Error::new(Code::InvalidArgument, "the request names no link target"))?;
    let op = vendor_op(options.common_options.as_ref());
    let found = master.finder.resolve(&path, loading(&master), false).await?;
    let (mut parent, missing, name) = found.place()?;
    refuse_missing(&missing, options.create_parent.unwrap_or_default(), &path)?;
    let who = master.authority.of_caller(&caller).await;
    who.fill(&*master.journal.read()?, parent)?;
    for directory in missing {
        let command = Command::MakeDirectory(MakeDirectory {
            parent: parent.0,
            missing: Vec::new(),
            name: directory,
            mode: DEFAULT_DIRECTORY_MODE,
            allow_exists: true,
            through: false,
        });
        let attr = made(master.journal.propose(command, &caller, Op::Unnumbered).await?.attr)?;
        parent = InodeId(attr.inode);
    }
    let command = Command::MakeSymlink(MakeSymlink { parent: parent.0, name, target });
    master.journal.propose(command, &caller, op).await?;
    Ok(CreateSymlinkPResponse {})
}

pub(super) async fn complete_file(
    master: Arc<Master>,
    caller: Caller,
    request: CompleteFilePRequest,
) -> Result<CompleteFilePResponse> {
    let path = path_of(request.path.as_ref())?;
    let options = request.options.unwrap_or_default();
    let op = vendor_op(options.common_options.as_ref());
    if master.journal.answered(op).await?.is_some() {
        return Ok(CompleteFilePResponse {});
    }
    let attr = file_at(&master, &caller, &path).await?;
    refuse_other_file(&attr, request.inode_id, &path)?;
    commit_locations(&master, &caller, &options.locations).await?;
    let length = match options.ufs_length {
        Some(length) => u64::try_from(length)
            .map_err(|_| Error::new(Code::InvalidArgument, format!("ufsLength {length} is negative")))?,
        None => committed_length(&master, ContentId(attr.content))?,
    };
    let checksum = match (options.crc_type, options.crc_value) {
        (Some(kind), Some(value)) if kind > 0 => Some((kind.cast_unsigned(), value)),
        _ => None,
    };
    let content = ContentId(attr.content);
    let written = Written { content, length, checksum, maybe_in_ufs: length > 0 };
    master.complete(&written, &caller, op).await?;
    if options.async_persist_options.is_some() {
        master.persist_later(content, length, &caller).await;
    }
    Ok(CompleteFilePResponse {})
}

pub(super) async fn commit_location(
    master: Arc<Master>,
    caller: Caller,
    request: CommitLocationPRequest,
) -> Result<CommitLocationPResponse> {
    let path = path_of(request.path.as_ref())?;
    let attr = file_at(&master, &caller, &path).await?;
    refuse_other_file(&attr, request.inode_id, &path)?;
    let mut locations = request.options.unwrap_or_default().locations;
    for location in &mut locations {
        location.block_id = location.block_id.or(request.block_id);
    }
    commit_locations(&master, &caller, &locations).await?;
    Ok(CommitLocationPResponse {})
}

async fn commit_locations(master: &Master, caller: &Caller, locations: &[FileLocation]) -> Result<()> {
    for location in locations {
        let block = BlockId(location.block_id.unwrap_or_default().cast_unsigned());
        for worker in &location.worker_id {
            let command = Command::CommitBlock(CommitBlock {
                block: block.0,
                worker: worker.cast_unsigned(),
                length: location.length.unwrap_or_default().cast_unsigned(),
                generation: 0,
            });
            master.journal.propose(command, caller, Op::Unnumbered).await?;
        }
    }
    Ok(())
}

/// Names in directories that nobody listed yet may be taken.
fn loading(master: &Master) -> Freshness {
    match master.freshness() {
        // To look at every storage on every change is more than the interval asks for; conflicts show when it is written.
        Freshness::Within(_) | Freshness::Loaded | Freshness::Known => Freshness::Loaded,
    }
}

/// The file that `caller` writes.
async fn file_at(master: &Master, caller: &Caller, path: &NsPath) -> Result<Attr> {
    let found = master.finder.existing(path, Freshness::Loaded, true).await?;
    let who = master.authority.of_caller(caller).await;
    who.write(&*master.journal.read()?, found.resolved.node)?;
    match found.resolved.attr.kind() {
        NodeKind::File => Ok(found.resolved.attr),
        _ => Err(Error::new(Code::IsDirectory, format!("Is a directory: \"{path}\""))),
    }
}

fn refuse_other_file(attr: &Attr, id: Option<i64>, path: &NsPath) -> Result<()> {
    match id {
        Some(id) if id > 0 && id.cast_unsigned() != attr.content && id.cast_unsigned() != attr.inode => {
            Err(Error::new(Code::NotFound, format!("\"{path}\" is another file than the one with id {id}")))
        }
        _ => Ok(()),
    }
}

fn refuse_missing(missing: &[String], recursive: bool, path: &NsPath) -> Result<()> {
    if recursive || missing.is_empty() {
        return Ok(());
    }
    let parent = path.parent().unwrap_or_else(NsPath::root);
    Err(Error::new(Code::NotFound, format!("Path \"{parent}\" does not exist.")))
}

/// How a new entry of `parent` is written: as the request says, as the directory says, as the client is configured; and
/// the cache only when nobody says.
fn write_type(
    master: &Master,
    parent: InodeId,
    asked: Option<i32>,
    client_default: Option<i32>,
) -> Result<WriteType> {
    let given = |number: Option<i32>| {
        let known = number.and_then(|number| WriteType::try_from(number).ok());
        known.filter(|given| *given != WriteType::Unspecified)
    };
    if let Some(asked) = given(asked) {
        return Ok(asked);
    }
    let of_directory = {
        let details = master.journal.read()?.details(parent)?;
        let name =
            details.xattr.get(WRITE_TYPE_XATTR).map(|value| String::from_utf8_lossy(value).into_owned());
        name.and_then(|name| WritePType::from_str_name(&name)).map(|policy| policy as i32)
    };
    Ok(given(of_directory).or_else(|| given(client_default)).unwrap_or(WriteType::MustCache))
}

/// The bytes that workers have taken of a file.
fn committed_length(master: &Master, content: ContentId) -> Result<u64> {
    let version = master.journal.read()?.version(content)?;
    Ok(version.blocks.iter().map(|block| block.length).sum())
}

fn made(attr: Option<Attr>) -> Result<Attr> {
    attr.ok_or_else(|| Error::new(Code::Internal, "what was made has no attributes"))
}
