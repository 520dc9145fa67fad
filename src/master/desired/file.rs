//! A file that is replaced by others while we run.
//!
//! It is read once a second, whole: it is small, and it is replaced through links (kubelet swaps a folder's `..data`), so
//! that neither its inode nor its time says reliably that it changed.

use goosefs_core::Result;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Between two looks.
pub(super) const LOOK: Duration = Duration::from_secs(1);

/// The file and what it said last.
pub(super) struct Followed {
    path: PathBuf,
    text: Option<String>,
    /// What was said of it last, so that it is said once.
    told: Option<String>,
}

impl Followed {
    pub(super) fn new(path: &Path) -> Followed {
        Followed { path: path.to_owned(), text: None, told: None }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What the file says if that is another than at the last look, and `parse` understands it.
    pub(super) async fn look<T>(&mut self, parse: impl FnOnce(&str) -> Result<T>) -> Option<T> {
        let read = tokio::fs::read_to_string(&self.path).await;
        let text = match read {
            Ok(text) => text,
            Err(error) => {
                self.tell(format!("cannot be read: {error}"));
                return None;
            }
        };
        if self.text.as_ref() == Some(&text) {
            self.told = None;
            return None;
        }
        let parsed = parse(&text);
        self.text = Some(text);
        match parsed {
            Ok(parsed) => {
                self.told = None;
                Some(parsed)
            }
            Err(error) => {
                self.tell(error.to_string());
                None
            }
        }
    }

    /// Says, once, why we wait or go on with what was known before.
    pub(super) fn tell(&mut self, problem: String) {
        if self.told.as_ref() != Some(&problem) {
            tracing::warn!(file = %self.path.display(), problem, "waiting for a file");
            self.told = Some(problem);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn same(text: &str) -> Result<String> {
        Ok(text.to_owned())
    }

    #[tokio::test]
    async fn a_file_is_followed_through_swapped_links_and_absence() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let mut file = Followed::new(&at("x.json"));
        assert_eq!(file.look(same).await, None);
        for version in ["one", "two"] {
            std::fs::create_dir(at(version)).unwrap();
            std::fs::write(at(version).join("x.json"), version).unwrap();
            symlink(version, at("..data_tmp")).unwrap();
            std::fs::rename(at("..data_tmp"), at("..data")).unwrap();
            if version == "one" {
                symlink("..data/x.json", at("x.json")).unwrap();
            }
            assert_eq!(file.look(same).await.as_deref(), Some(version));
            assert_eq!(file.look(same).await, None, "it is no news");
        }
        std::fs::remove_file(at("..data")).unwrap();
        assert_eq!(file.look(same).await, None);
        symlink("two", at("..data")).unwrap();
        assert_eq!(file.look(same).await, None, "it says what it said");
    }
}
