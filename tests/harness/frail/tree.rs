//! Folders and files of a frail disk, each as it is now and as a power cut would leave it.
//!
//! Strict about names: a name that was made, moved or removed is durable when its *folder* was fsynced, and not before,
//! whatever was done to the file.

use super::content::Content;
use nix::errno::Errno;
use rand::rngs::StdRng;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};

/// The node of the root folder.
pub(super) const ROOT: u64 = 1;

type Names = BTreeMap<OsString, u64>;

#[derive(Debug)]
pub(super) enum Node {
    File { content: Content, opens: u32 },
    Folder { now: Names, durable: Names },
}

/// What a power cut took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Pages of 4 KiB that were written and not fsynced.
    pub pages: usize,
    /// Folders whose names were not as when they were fsynced.
    pub folders: usize,
}

/// All of a disk.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: BTreeMap<u64, Node>,
    next: u64,
    /// Bytes that the sizes of all files together may reach.
    pub(super) room: u64,
}

impl Tree {
    pub(super) fn new(room: u64) -> Tree {
        let root = Node::Folder { now: Names::new(), durable: Names::new() };
        Tree { nodes: BTreeMap::from([(ROOT, root)]), next: ROOT + 1, room }
    }

    pub(super) fn node(&self, node: u64) -> Result<&Node, Errno> {
        self.nodes.get(&node).ok_or(Errno::ENOENT)
    }

    pub(super) fn names(&self, folder: u64) -> Result<&Names, Errno> {
        match self.node(folder)? {
            Node::Folder { now, .. } => Ok(now),
            Node::File { .. } => Err(Errno::ENOTDIR),
        }
    }

    pub(super) fn content(&self, file: u64) -> Result<&Content, Errno> {
        match self.node(file)? {
            Node::File { content, .. } => Ok(content),
            Node::Folder { .. } => Err(Errno::EISDIR),
        }
    }

    pub(super) fn lookup(&self, folder: u64, name: &OsStr) -> Result<u64, Errno> {
        self.names(folder)?.get(name).copied().ok_or(Errno::ENOENT)
    }

    pub(super) fn make(&mut self, folder: u64, name: &OsStr, is_folder: bool) -> Result<u64, Errno> {
        let node = self.next;
        let names = self.names_mut(folder)?;
        if names.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        names.insert(name.to_owned(), node);
        self.next += 1;
        let made = match is_folder {
            true => Node::Folder { now: Names::new(), durable: Names::new() },
            false => Node::File { content: Content::default(), opens: 0 },
        };
        self.nodes.insert(node, made);
        Ok(node)
    }

    pub(super) fn remove(&mut self, folder: u64, name: &OsStr, is_folder: bool) -> Result<(), Errno> {
        let node = self.lookup(folder, name)?;
        match (self.node(node)?, is_folder) {
            (Node::File { .. }, true) => return Err(Errno::ENOTDIR),
            (Node::Folder { .. }, false) => return Err(Errno::EISDIR),
            (Node::Folder { now, .. }, true) if !now.is_empty() => return Err(Errno::ENOTEMPTY),
            _ => {}
        }
        self.names_mut(folder)?.remove(name);
        self.sweep();
        Ok(())
    }

    /// Moves a name, over a file that has the new one.
    pub(super) fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr)) -> Result<(), Errno> {
        let node = self.lookup(from.0, from.1)?;
        if let Ok(there) = self.lookup(to.0, to.1)
            && matches!(self.node(there)?, Node::Folder { .. })
        {
            return Err(Errno::EISDIR);
        }
        self.names_mut(to.0)?.insert(to.1.to_owned(), node);
        if from != to {
            self.names_mut(from.0)?.remove(from.1);
        }
        self.sweep();
        Ok(())
    }

    pub(super) fn opened(&mut self, file: u64) -> Result<(), Errno> {
        match self.nodes.get_mut(&file).ok_or(Errno::ENOENT)? {
            Node::File { opens, .. } => *opens += 1,
            Node::Folder { .. } => return Err(Errno::EISDIR),
        }
        Ok(())
    }

    pub(super) fn released(&mut self, file: u64) {
        if let Some(Node::File { opens, .. }) = self.nodes.get_mut(&file) {
            *opens = opens.saturating_sub(1);
        }
        self.sweep();
    }

    /// Writes what there is room for and says how many bytes that were.
    pub(super) fn write(&mut self, file: u64, offset: u64, bytes: &[u8]) -> Result<usize, Errno> {
        let size = self.content(file)?.size();
        let end = offset + bytes.len() as u64;
        let end = if end > size { end.min(size + self.free()) } else { end };
        let fits = usize::try_from(end.saturating_sub(offset)).unwrap_or(0);
        if fits == 0 && !bytes.is_empty() {
            return Err(Errno::ENOSPC);
        }
        self.content_mut(file)?.write(offset, &bytes[..fits]);
        Ok(fits)
    }

    pub(super) fn resize(&mut self, file: u64, size: u64) -> Result<(), Errno> {
        let grown = size.saturating_sub(self.content(file)?.size());
        if grown > self.free() {
            return Err(Errno::ENOSPC);
        }
        self.content_mut(file)?.resize(size);
        Ok(())
    }

    /// What was written to a file is durable.
    pub(super) fn sync(&mut self, file: u64) -> Result<(), Errno> {
        self.content_mut(file)?.sync();
        Ok(())
    }

    pub(super) fn sync_failed(&mut self, file: u64) -> Result<(), Errno> {
        self.content_mut(file)?.sync_failed();
        Ok(())
    }

    /// The names of a folder are durable.
    pub(super) fn sync_names(&mut self, folder: u64) -> Result<(), Errno> {
        match self.nodes.get_mut(&folder).ok_or(Errno::ENOENT)? {
            Node::Folder { now, durable } => durable.clone_from(now),
            Node::File { .. } => return Err(Errno::ENOTDIR),
        }
        self.sweep();
        Ok(())
    }

    /// Drops all that is not durable; with dice, each unsynced page is thrown for.
    pub(super) fn cut(&mut self, mut dice: Option<StdRng>) -> Lost {
        let mut lost = Lost::default();
        for node in self.nodes.values_mut() {
            match node {
                Node::File { content, .. } => lost.pages += content.cut(dice.as_mut()),
                Node::Folder { now, durable } => {
                    lost.folders += usize::from(now != durable);
                    now.clone_from(durable);
                }
            }
        }
        self.sweep();
        lost
    }

    /// Bytes that files may still grow by.
    pub(super) fn free(&self) -> u64 {
        let sizes = self.nodes.values().map(|node| match node {
            Node::File { content, .. } => content.size(),
            Node::Folder { .. } => 0,
        });
        self.room.saturating_sub(sizes.sum())
    }

    fn names_mut(&mut self, folder: u64) -> Result<&mut Names, Errno> {
        match self.nodes.get_mut(&folder).ok_or(Errno::ENOENT)? {
            Node::Folder { now, .. } => Ok(now),
            Node::File { .. } => Err(Errno::ENOTDIR),
        }
    }

    fn content_mut(&mut self, file: u64) -> Result<&mut Content, Errno> {
        match self.nodes.get_mut(&file).ok_or(Errno::ENOENT)? {
            Node::File { content, .. } => Ok(content),
            Node::Folder { .. } => Err(Errno::EISDIR),
        }
    }

    /// Forgets what has no name, now or after a power cut, and is not open.
    fn sweep(&mut self) {
        let (mut kept, mut open) = (BTreeSet::from([ROOT]), vec![ROOT]);
        while let Some(node) = open.pop() {
            if let Some(Node::Folder { now, durable }) = self.nodes.get(&node) {
                open.extend(now.values().chain(durable.values()).filter(|child| kept.insert(**child)));
            }
        }
        self.nodes
            .retain(|id, node| kept.contains(id) || matches!(node, Node::File { opens, .. } if *opens > 0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> &OsStr {
        OsStr::new(text)
    }

    #[test]
    fn a_name_is_durable_when_its_folder_was_synced() {
        let mut tree = Tree::new(1 << 20);
        let kept = tree.make(ROOT, name("kept"), false).unwrap();
        tree.write(kept, 0, b"bytes").unwrap();
        tree.sync(kept).unwrap();
        tree.sync_names(ROOT).unwrap();
        let gone = tree.make(ROOT, name("gone"), false).unwrap();
        tree.sync(gone).unwrap();
        tree.rename((ROOT, name("kept")), (ROOT, name("moved"))).unwrap();
        assert_eq!(tree.cut(None), Lost { pages: 0, folders: 1 });
        assert_eq!(tree.lookup(ROOT, name("kept")), Ok(kept));
        assert_eq!(tree.content(kept).unwrap().read(0, 9), b"bytes");
        assert_eq!(tree.lookup(ROOT, name("moved")), Err(Errno::ENOENT));
        assert_eq!(tree.node(gone).err(), Some(Errno::ENOENT));
    }

    #[test]
    fn a_removed_file_is_back_unless_its_folder_was_synced() {
        let mut tree = Tree::new(1 << 20);
        let folder = tree.make(ROOT, name("folder"), true).unwrap();
        let file = tree.make(folder, name("file"), false).unwrap();
        tree.sync_names(ROOT).unwrap();
        tree.sync_names(folder).unwrap();
        tree.remove(folder, name("file"), false).unwrap();
        tree.cut(None);
        assert_eq!(tree.lookup(folder, name("file")), Ok(file));
        tree.remove(folder, name("file"), false).unwrap();
        tree.sync_names(folder).unwrap();
        tree.cut(None);
        assert_eq!(tree.lookup(folder, name("file")), Err(Errno::ENOENT));
    }

    #[test]
    fn a_file_without_a_name_lives_while_it_is_open() {
        let mut tree = Tree::new(1 << 20);
        let file = tree.make(ROOT, name("file"), false).unwrap();
        tree.opened(file).unwrap();
        tree.remove(ROOT, name("file"), false).unwrap();
        tree.write(file, 0, b"bytes").unwrap();
        assert_eq!(tree.content(file).unwrap().read(0, 9), b"bytes");
        tree.released(file);
        assert_eq!(tree.node(file).err(), Some(Errno::ENOENT));
    }

    #[test]
    fn a_full_disk_takes_what_fits_and_overwrites() {
        let mut tree = Tree::new(10);
        let file = tree.make(ROOT, name("file"), false).unwrap();
        assert_eq!(tree.write(file, 0, &[1; 8]), Ok(8));
        assert_eq!(tree.write(file, 8, &[1; 8]), Ok(2));
        assert_eq!(tree.write(file, 10, &[1]), Err(Errno::ENOSPC));
        assert_eq!(tree.resize(file, 11), Err(Errno::ENOSPC));
        assert_eq!(tree.write(file, 0, &[2; 10]), Ok(10));
        tree.resize(file, 4).unwrap();
        assert_eq!(tree.free(), 6);
    }
}
