//! For tests: a storage that misbehaves as it is told.

use crate::{Attributes, Capabilities, Entry, Space, Ufs, Writer};
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use goosefs_core::proto::internal::{Fingerprint, NodeKind};
use goosefs_core::{Error, Result};
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// What a fault can be given to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Operation {
    /// [`Ufs::stat`].
    Stat,
    /// [`Ufs::list`].
    List,
    /// [`Ufs::read`].
    Read,
    /// [`Ufs::create`].
    Create,
    /// [`Writer::write`].
    Write,
    /// [`Writer::finish`].
    Finish,
    /// [`Ufs::make_directory`].
    MakeDirectory,
    /// [`Ufs::remove`] and [`Ufs::remove_all`].
    Remove,
    /// [`Ufs::rename`].
    Rename,
    /// [`Ufs::set_attributes`].
    SetAttributes,
}

/// One misbehaviour.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The call fails and does nothing.
    Fail(Error),
    /// The call is done and then fails: the caller cannot know.
    DoneButFail(Error),
    /// The call waits first.
    Delay(Duration),
    /// The call never begins, and never ends.
    Hang,
    /// The call is done but never ends: the caller cannot know.
    DoneButHang,
    /// The stream fails after so many items (entries, or chunks of a read).
    BreakAfter(usize, Error),
    /// The stream just ends after so many items, as no honest storage does.
    EndAfter(usize),
}

/// A script, shared with the storage that plays it.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<HashMap<Operation, VecDeque<Option<Fault>>>>>);

impl Faults {
    /// Nothing scripted: everything works.
    #[must_use]
    pub fn none() -> Faults {
        Faults::default()
    }

    /// Gives the next call of `operation` that has none yet `fault`.
    pub fn next(&self, operation: Operation, fault: Fault) {
        self.0.lock().entry(operation).or_default().push_back(Some(fault));
    }

    /// Lets one call of `operation` pass.
    pub fn pass(&self, operation: Operation) {
        self.0.lock().entry(operation).or_default().push_back(None);
    }

    /// Whether everything that was scripted has happened.
    #[must_use]
    pub fn done(&self) -> bool {
        self.0.lock().values().all(VecDeque::is_empty)
    }

    fn take(&self, operation: Operation) -> Option<Fault> {
        self.0.lock().get_mut(&operation)?.pop_front().flatten()
    }

    async fn play<T>(&self, operation: Operation, call: impl Future<Output = Result<T>>) -> Result<T> {
        match self.take(operation) {
            Some(Fault::Fail(error)) => Err(error),
            Some(Fault::DoneButFail(error)) => call.await.and(Err(error)),
            Some(Fault::Delay(delay)) => {
                tokio::time::sleep(delay).await;
                call.await
            }
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::DoneButHang) => {
                call.await?;
                std::future::pending().await
            }
            Some(Fault::BreakAfter(..) | Fault::EndAfter(_)) | None => call.await,
        }
    }

    async fn play_stream<T: Send + 'static>(
        &self,
        operation: Operation,
        call: impl Future<Output = Result<BoxStream<'static, Result<T>>>>,
    ) -> Result<BoxStream<'static, Result<T>>> {
        match self.take(operation) {
            Some(Fault::Fail(error) | Fault::DoneButFail(error)) => Err(error),
            Some(Fault::Delay(delay)) => {
                tokio::time::sleep(delay).await;
                call.await
            }
            Some(Fault::BreakAfter(items, error)) => {
                let end = futures::stream::once(std::future::ready(Err(error)));
                Ok(call.await?.take(items).chain(end).boxed())
            }
            Some(Fault::EndAfter(items)) => Ok(call.await?.take(items).boxed()),
            Some(Fault::Hang | Fault::DoneButHang) => std::future::pending().await,
            None => call.await,
        }
    }
}

/// `inner`, misbehaving by script.
#[derive(Debug)]
pub struct Faulty {
    inner: Arc<dyn Ufs>,
    faults: Faults,
}

impl Faulty {
    /// Plays `faults` around `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn Ufs>, faults: Faults) -> Faulty {
        Faulty { inner, faults }
    }
}

#[async_trait]
impl Ufs for Faulty {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn stat(&self, path: &str) -> Result<Entry> {
        self.faults.play(Operation::Stat, self.inner.stat(path)).await
    }

    async fn list(&self, path: &str) -> Result<BoxStream<'static, Result<Entry>>> {
        self.faults.play_stream(Operation::List, self.inner.list(path)).await
    }

    async fn read(
        &self,
        path: &str,
        range: Range<u64>,
        expected: &Fingerprint,
    ) -> Result<BoxStream<'static, Result<Bytes>>> {
        self.faults.play_stream(Operation::Read, self.inner.read(path, range, expected)).await
    }

    async fn create(&self, path: &str, attributes: &Attributes) -> Result<Box<dyn Writer>> {
        let inner = self.faults.play(Operation::Create, self.inner.create(path, attributes)).await?;
        Ok(Box::new(FaultyWriter { inner, faults: self.faults.clone() }))
    }

    async fn make_directory(&self, path: &str, attributes: &Attributes) -> Result<()> {
        self.faults.play(Operation::MakeDirectory, self.inner.make_directory(path, attributes)).await
    }

    async fn remove(&self, path: &str, kind: NodeKind) -> Result<()> {
        self.faults.play(Operation::Remove, self.inner.remove(path, kind)).await
    }

    async fn remove_all(&self, path: &str) -> Result<()> {
        self.faults.play(Operation::Remove, self.inner.remove_all(path)).await
    }

    async fn rename(&self, from: &str, to: &str, replace: bool) -> Result<()> {
        self.faults.play(Operation::Rename, self.inner.rename(from, to, replace)).await
    }

    async fn set_attributes(&self, path: &str, attributes: &Attributes) -> Result<()> {
        self.faults.play(Operation::SetAttributes, self.inner.set_attributes(path, attributes)).await
    }

    async fn space(&self) -> Result<Space> {
        self.inner.space().await
    }
}

struct FaultyWriter {
    inner: Box<dyn Writer>,
    faults: Faults,
}

#[async_trait]
impl Writer for FaultyWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.faults.play(Operation::Write, self.inner.write(bytes)).await
    }

    async fn finish(self: Box<Self>) -> Result<Fingerprint> {
        let FaultyWriter { inner, faults } = *self;
        faults.play(Operation::Finish, inner.finish()).await
    }

    async fn abort(self: Box<Self>) {
        self.inner.abort().await;
    }
}
