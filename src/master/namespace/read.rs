//! Reads. All of them are bounded by their answer, not by the size of the namespace.

use super::Namespace;
use super::inode::{Body, Inode, UfsObject};
use super::step::not_found;
use super::view::{
    Counts, Details, DirectoryState, MountPoint, RegisteredWorker, Resolved, SessionState, Unpersisted,
};
use goosefs_core::error::Result;
use goosefs_core::id::{ContentId, InodeId, IntentId, MountId, WorkerId};
use goosefs_core::path::NsPath;
use goosefs_core::proto::internal::{
    self, Attr, BlockHolders, DirEntry, NodeKind, Persistence, SessionOp, VendorOp,
};
use goosefs_core::proto::journal::{self, Applied};
use goosefs_core::raft::ClusterMark;

/// Nodes.
impl Namespace {
    /// Attributes of an inode or content id (`node`).
    ///
    /// # Errors
    /// `NotFound`; `Stale` for a content that was replaced or removed.
    pub fn attr(&self, node: u64) -> Result<Attr> {
        self.attr_of(self.inode_of(node)?)
    }

    /// The inode behind an inode or content id.
    ///
    /// # Errors
    /// As [`Namespace::attr`].
    pub fn inode_of(&self, node: u64) -> Result<InodeId> {
        match ContentId::from_raw(node) {
            Some(content) => self.inode_of_content(content),
            None => self.node(InodeId(node)).map(|_| InodeId(node)),
        }
    }

    /// Attributes of the entry `name` of a directory.
    ///
    /// # Errors
    /// `NotFound` for either, `NotDirectory`.
    pub fn lookup(&self, parent: InodeId, name: &str) -> Result<Attr> {
        match self.child(parent, name)? {
            Some(id) => self.attr_of(id),
            None => Err(not_found(self.describe_entry(parent, name))),
        }
    }

    /// Follows `path` from the root as far as it exists. Symlinks are not followed.
    #[must_use]
    pub fn resolve(&self, path: &NsPath) -> Resolved {
        let mut node = InodeId::ROOT;
        let mut directories = vec![node];
        let mut names = path.components();
        let mut missing = Vec::new();
        for name in names.by_ref() {
            match self.child(node, name) {
                Ok(Some(child)) => node = child,
                Ok(None) | Err(_) => {
                    missing.push(name.to_owned());
                    break;
                }
            }
            if self.inodes.get(node).is_some_and(|inode| inode.directory().is_some()) {
                directories.push(node);
            }
        }
        missing.extend(names.map(str::to_owned));
        Resolved { node, attr: self.attr_of(node).unwrap_or_default(), missing, directories }
    }

    /// The path of an inode.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn path_of(&self, inode: InodeId) -> Result<NsPath> {
        let mut names = Vec::new();
        let mut at = inode;
        while at != InodeId::ROOT {
            let node = self.inodes.get(at).ok_or_else(|| not_found(format_args!("inode {at}")))?;
            names.push(node.name.as_str());
            at = node.parent;
        }
        names.reverse();
        // Depth is not limited, so the text may be longer than a path that a user could write.
        NsPath::parse(&format!("/{}", names.join("/")))
    }

    /// The directories above an inode, nearest first.
    #[must_use]
    pub fn above(&self, inode: InodeId) -> Vec<InodeId> {
        let mut above = Vec::new();
        let mut at = inode;
        while at != InodeId::ROOT {
            let Some(node) = self.inodes.get(at) else { break };
            at = node.parent;
            above.push(at);
        }
        above
    }

    /// At most `limit` entries of a directory behind the name `after` (empty: from the start), sorted by the bytes of
    /// their names, and whether there are more.
    ///
    /// # Errors
    /// `NotFound`, `NotDirectory`.
    pub fn children(&self, directory: InodeId, after: &str, limit: usize) -> Result<(Vec<DirEntry>, bool)> {
        let (_, directory) = self.directory_node(directory)?;
        let mut entries = Vec::new();
        for (name, id) in directory.children.iter_after(after) {
            if entries.len() == limit {
                return Ok((entries, true));
            }
            entries.push(DirEntry { name: name.as_str().to_owned(), attr: Some(self.attr_of(id)?) });
        }
        Ok((entries, false))
    }

    /// What is known of a directory's listing.
    ///
    /// # Errors
    /// `NotFound`, `NotDirectory`.
    pub fn directory(&self, directory: InodeId) -> Result<DirectoryState> {
        let (inode, directory) = self.directory_node(directory)?;
        Ok(DirectoryState {
            loaded: directory.loaded,
            synced_ms: directory.synced_ms,
            in_ufs: inode.object != UfsObject::None,
            children: directory.children.len(),
        })
    }

    /// Everything about an inode that its attributes do not say.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn details(&self, inode: InodeId) -> Result<Details> {
        let node = self.node(inode)?;
        let mut details = Details::default();
        if let Some((mount, path)) = self.ufs_place(inode) {
            details.mount = Some(mount);
            details.ufs_path = path;
        }
        if let Some(file) = node.file() {
            details.fingerprint = file.fingerprint();
            details.checked_ms = file.checked_ms;
            details.generation = u64::from(file.generation);
            details.blocks = holders(node, file.content());
        }
        if let Some(rare) = node.rare() {
            details.checksum = rare.checksum;
            details.xattr = rare.xattr.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
            details.ttl_ms = rare.ttl_ms;
            details.ttl_action = rare.ttl_action;
        }
        Ok(details)
    }

    /// What a worker or client needs to serve a content. Mount and path are set wherever a storage is mounted; they
    /// count when the content is persisted.
    ///
    /// # Errors
    /// `NotFound` for what never was a content, `Stale` for one that was replaced or removed.
    pub fn version(&self, content: ContentId) -> Result<internal::VersionResponse> {
        let id = self.inode_of_content(content)?;
        let (node, file) = self.file_node(id)?;
        let (mount, ufs_path) = self.ufs_place(id).unwrap_or((MountId(0), String::new()));
        Ok(internal::VersionResponse {
            content: content.0,
            inode: id.0,
            length: file.length,
            block_size: file.block_size,
            completed: file.completed,
            persistence: file.persistence.into(),
            generation: u64::from(file.generation),
            mount: mount.0,
            ufs_path,
            fingerprint: file.fingerprint(),
            blocks: holders(node, content),
        })
    }

    /// The mount an inode lies in and its path below the mount's URI (no leading slash).
    ///
    /// # Errors
    /// `NotFound` for the inode, or when nothing is mounted there.
    pub fn ufs_location(&self, inode: InodeId) -> Result<(MountId, String)> {
        self.node(inode)?;
        self.ufs_place(inode)
            .ok_or_else(|| not_found(format_args!("an under-storage for {}", self.describe(inode))))
    }

    /// The intent that holds an inode or something above it.
    #[must_use]
    pub fn busy(&self, inode: InodeId) -> Option<IntentId> {
        self.holder(inode)
    }

    pub(super) fn attr_of(&self, id: InodeId) -> Result<Attr> {
        let inode = self.node(id)?;
        let identity = self.identities.get(inode.identity);
        let mount = self.mount_of(inode.mount);
        let mut attr = Attr {
            inode: id.0,
            mode: identity.mode,
            owner: identity.owner.clone(),
            group: identity.group.clone(),
            mtime_ms: inode.mtime_ms,
            ctime_ms: inode.ctime_ms,
            atime_ms: inode.atime_ms,
            created_ms: inode.created_ms,
            completed: true,
            pinned: inode.pinned,
            mount: mount.map_or(0, |mount| mount.id.0),
            read_only: mount.is_some_and(|mount| mount.read_only),
            links: 1,
            ..Attr::default()
        };
        match &inode.body {
            Body::File(file) => {
                attr.set_kind(NodeKind::File);
                attr.content = file.content().0;
                attr.length = file.length;
                attr.block_size = file.block_size;
                attr.completed = file.completed;
                attr.generation = u64::from(file.generation);
                attr.set_persistence(file.persistence);
                attr.set_write_type(file.write_type);
            }
            Body::Directory(directory) => {
                attr.set_kind(NodeKind::Directory);
                attr.children = directory.children.len();
                attr.links = 2;
                attr.set_persistence(directory_persistence(inode));
            }
            Body::Symlink(target) => {
                attr.set_kind(NodeKind::Symlink);
                attr.length = target.len() as u64;
                attr.target = target.to_string();
            }
        }
        Ok(attr)
    }
}

/// The cluster.
impl Namespace {
    /// What `Found` said last.
    #[must_use]
    pub fn mark(&self) -> Option<ClusterMark> {
        self.mark
    }

    /// Replicated steady time, by which sessions and answers age: the largest `steady_ms` of all entries; 0 before the
    /// first.
    #[must_use]
    pub fn steady_ms(&self) -> u64 {
        self.steady_ms
    }

    /// Replicated time: the largest `now_ms` of all entries.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// The answer to a session's operation that was applied before; an intent's number while its effect is under way.
    #[must_use]
    pub fn answer_of(&self, op: &SessionOp) -> Option<Result<Applied>> {
        self.answers.of_session(op)
    }

    /// As [`Namespace::answer_of`], for an operation of a client of the GooseFS protocol.
    #[must_use]
    pub fn vendor_answer_of(&self, op: &VendorOp) -> Option<Result<Applied>> {
        self.answers.of_vendor(op, &self.vendor_places)
    }

    /// Index of the last applied entry: goes into `LoadChildren::since`.
    #[must_use]
    pub fn last_index(&self) -> u64 {
        self.last_index
    }

    /// All mounts by id.
    #[must_use]
    pub fn mounts(&self) -> Vec<MountPoint> {
        self.mounts.values().map(|mount| (**mount).clone()).collect()
    }

    /// One mount.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn mount(&self, id: MountId) -> Result<MountPoint> {
        self.mounts
            .get(&id)
            .map(|mount| (**mount).clone())
            .ok_or_else(|| not_found(format_args!("mount {id}")))
    }

    /// All registered workers by id.
    #[must_use]
    pub fn workers(&self) -> Vec<RegisteredWorker> {
        self.workers.values().map(|worker| (**worker).clone()).collect()
    }

    /// All running intents by id.
    #[must_use]
    pub fn intents(&self) -> Vec<journal::Intent> {
        self.intents.values().map(|running| running.intent.clone()).collect()
    }

    /// One running intent; `None` when it was finished.
    #[must_use]
    pub fn intent(&self, id: IntentId) -> Option<journal::Intent> {
        self.intents.get(&id).map(|running| running.intent.clone())
    }

    /// Open sessions by id.
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionState> {
        let all = self.answers.sessions.iter();
        all.map(|(session, state)| SessionState {
            session: *session,
            description: state.description.clone(),
            last_ms: state.last_ms,
            unacknowledged: state.answers.len(),
        })
        .collect()
    }

    /// Whether a session is open.
    #[must_use]
    pub fn has_session(&self, session: u64) -> bool {
        self.answers.sessions.contains_key(&session)
    }

    /// How much there is.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.derived.counts
    }

    /// Files with bytes that the under-storage does not have, lost ones included: at most `limit` behind `after`, by
    /// content id.
    #[must_use]
    pub fn unpersisted(&self, after: ContentId, limit: usize) -> Vec<Unpersisted> {
        let behind = self.derived.unpersisted.behind(after);
        let known = behind.filter_map(|content| {
            let inode = self.inode_of_content(content).ok()?;
            let file = self.inodes.get(inode)?.file()?;
            Some(Unpersisted { content, inode, persistence: file.persistence, completed: file.completed })
        });
        known.take(limit).collect()
    }

    /// Unpersisted contents that have a block on `worker` and nowhere else.
    #[must_use]
    pub fn only_copies(&self, worker: WorkerId) -> Vec<ContentId> {
        let only_there = |content: &ContentId| {
            let inode = self.inode_of_content(*content).ok().and_then(|id| self.inodes.get(id));
            inode.is_some_and(|inode| inode.blocks().any(|(_, block)| block.workers == [worker]))
        };
        self.derived.unpersisted.iter().filter(only_there).collect()
    }

    /// Files that nobody has completed and that were last written before `before_ms`.
    #[must_use]
    pub fn incomplete(&self, before_ms: u64) -> Vec<ContentId> {
        let old = |content: &ContentId| {
            let inode = self.inode_of_content(*content).ok().and_then(|id| self.inodes.get(id));
            inode.is_some_and(|inode| inode.mtime_ms < before_ms)
        };
        self.derived.incomplete.iter().filter(old).collect()
    }

    /// Files that nobody will complete, at most `limit`: nothing of them was written since `closed_ms` and the session of
    /// their writer has ended, or nothing since `unnamed_ms` and their writer has none. Also says which have none.
    #[must_use]
    pub fn abandoned(&self, closed_ms: u64, unnamed_ms: u64, limit: usize) -> Vec<(ContentId, bool)> {
        let left = |content: ContentId| {
            let id = self.inode_of_content(content).ok()?;
            let inode = self.inodes.get(id)?;
            let writer = inode.extra.as_ref().map_or(0, |extra| extra.writer);
            let since = if writer == 0 { unnamed_ms } else { closed_ms };
            let left = inode.ctime_ms < since && !self.has_session(writer) && self.holder(id).is_none();
            left.then_some((content, writer == 0))
        };
        self.derived.incomplete.iter().filter_map(left).take(limit).collect()
    }

    /// Inodes whose time to live has passed at `now_ms`, with their `TtlAction`: the longest overdue first.
    #[must_use]
    pub fn expired(&self, now_ms: u64, limit: usize) -> Vec<(InodeId, u32)> {
        let due = self.derived.expiring.iter().take_while(|(at, _)| *at <= now_ms).take(limit);
        due.map(|(_, id)| {
            let rare = self.inodes.get(*id).and_then(|inode| inode.rare());
            (*id, rare.map_or(0, |rare| rare.ttl_action))
        })
        .collect()
    }

    /// Pinned inodes.
    #[must_use]
    pub fn pinned(&self) -> Vec<InodeId> {
        self.derived.pinned.iter().copied().collect()
    }
}

fn directory_persistence(inode: &Inode) -> Persistence {
    match inode.object {
        UfsObject::Present => Persistence::Persisted,
        UfsObject::None | UfsObject::Maybe => Persistence::NotPersisted,
    }
}

fn holders(inode: &Inode, content: ContentId) -> Vec<BlockHolders> {
    let all = inode.blocks();
    all.map(|(index, block)| BlockHolders {
        block: content.block(index).0,
        length: block.length,
        workers: block.workers.iter().map(|worker| worker.0).collect(),
    })
    .collect()
}
