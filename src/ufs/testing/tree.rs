//! A tree of files to serve, with the names that break naive code.

use crate::{Attributes, Ufs};
use bytes::Bytes;
use goosefs_core::proto::internal::NodeKind;
use goosefs_core::{Error, Result};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Names with what URLs, HTML, shells and listings treat specially, CJK, emoji, and 150 characters. None begins with a
/// dot: nginx does not list such.
#[must_use]
pub fn awkward_names() -> Vec<String> {
    let mut names: Vec<String> = [
        "plain.txt",
        "with space",
        "  two  spaces  ",
        "100%",
        "%2e%2e%2fetc",
        "a#b",
        "a&b;c",
        "a&amp;b",
        "a+b=c",
        "it's",
        "say \"hi\"",
        "<tag>.html",
        "a:b?c",
        "a\\b",
        "~tilde",
        "(round) [square] {curly}",
        "comma,at@dollar$star*bang!",
        "trailing.",
        "中文文件名.txt",
        "日本語 の ファイル",
        "emoji 😀🦆",
        "e\u{301}ncombining",
        "C=N;O=D",
        "page.html",
    ]
    .map(str::to_owned)
    .to_vec();
    names.push("x".repeat(150));
    names.push("长".repeat(80));
    names
}

/// Files of known bytes below a directory. Every file gets a time of its own, one second apart and in the past, so that
/// versions differ for storages that count seconds.
#[derive(Debug)]
pub struct Tree {
    root: PathBuf,
    /// Where the files lie when they lie in no folder of this machine.
    storage: Option<Arc<dyn Ufs>>,
    files: BTreeMap<String, Vec<u8>>,
    time: SystemTime,
}

impl Tree {
    /// An empty tree below `root`, which exists.
    #[must_use]
    pub fn at(root: &Path) -> Tree {
        let time = SystemTime::now() - Duration::from_secs(1_000_000);
        Tree { root: root.to_path_buf(), storage: None, files: BTreeMap::new(), time }
    }

    /// As [`Tree::awkward`] in a storage that is no folder. For tests with several threads.
    ///
    /// # Errors
    /// What the storage said.
    pub fn awkward_in(storage: Arc<dyn Ufs>) -> Result<Tree> {
        Tree { storage: Some(storage), ..Tree::at(Path::new("")) }.filled()
    }

    /// A tree of every awkward name as file and as folder, nested folders, an empty file and an empty folder.
    ///
    /// # Errors
    /// What the disk said.
    pub fn awkward(root: &Path) -> Result<Tree> {
        Tree::at(root).filled()
    }

    fn filled(mut self) -> Result<Tree> {
        for (index, name) in awkward_names().iter().enumerate() {
            self.put(name, &pattern(index as u64, 10 + index * 97))?;
            self.put(&format!("folders/{name}/{name}"), name.as_bytes())?;
        }
        self.put("deep/er/and/deeper/still.bin", &pattern(7, 70_000))?;
        self.put("empty file", b"")?;
        self.make_directory("empty folder")?;
        Ok(self)
    }

    /// The directory itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Every file by its path relative to the root.
    #[must_use]
    pub fn files(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.files
    }

    /// Writes a file, replacing by rename what was there, and gives it the next time.
    ///
    /// # Errors
    /// What the disk said.
    pub fn put(&mut self, path: &str, bytes: &[u8]) -> Result<()> {
        self.files.insert(path.to_owned(), bytes.to_vec());
        if let Some(storage) = &self.storage {
            return waited_for(async {
                let mut writer = storage.create(path, &Attributes::default()).await?;
                writer.write(Bytes::copy_from_slice(bytes)).await?;
                writer.finish().await.map(drop)
            });
        }
        self.time += Duration::from_secs(1);
        let (full, time) = (self.root.join(path), self.time);
        let aside = self.root.join(".goosefs-upload-of-the-tree");
        let put = || {
            if let Some(parent) = full.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::write(&aside, bytes)?;
            fs::File::options().append(true).open(&aside)?.set_modified(time)?;
            fs::rename(&aside, &full)
        };
        put().map_err(|e| Error::io(format!("put {path}"), e))
    }

    /// Makes a directory and its parents.
    ///
    /// # Errors
    /// What the disk said.
    pub fn make_directory(&mut self, path: &str) -> Result<()> {
        if let Some(storage) = &self.storage {
            return waited_for(storage.make_directory(path, &Attributes::default()));
        }
        fs::create_dir_all(self.root.join(path)).map_err(|e| Error::io(format!("make {path}"), e))
    }

    /// Removes a file.
    ///
    /// # Errors
    /// What the disk said.
    pub fn remove(&mut self, path: &str) -> Result<()> {
        self.files.remove(path);
        if let Some(storage) = &self.storage {
            return waited_for(storage.remove(path, NodeKind::File));
        }
        fs::remove_file(self.root.join(path)).map_err(|e| Error::io(format!("remove {path}"), e))
    }
}

/// Waits for `work` in a test that has another thread to do it.
fn waited_for<T>(work: impl Future<Output = T>) -> T {
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(work))
}

/// `length` bytes that differ from place to place and from seed to seed.
pub(crate) fn pattern(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
