use super::holder::{Holder, Lost};
use super::{Keeper, Parked};
use crate::error::Code;
use crate::task::Tasks;
use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::mpsc;

const LONG: Duration = Duration::from_secs(60);

struct Place {
    dir: TempDir,
    tasks: Tasks,
    holder: Holder,
    lost: mpsc::UnboundedReceiver<Lost>,
}

impl Place {
    fn new(patience: Duration) -> Place {
        let dir = TempDir::new().unwrap();
        let tasks = Tasks::new("test");
        let (holder, lost) = Holder::serve(&dir.path().join("holder.sock"), patience, &tasks).unwrap();
        Place { dir, tasks, holder, lost }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("holder.sock")
    }

    async fn keeper(&self) -> Keeper {
        Keeper::connect(&self.socket(), Path::new("/m")).await.unwrap()
    }

    async fn wait(&self, what: &str, condition: impl Fn(&Holder) -> bool) {
        let looked = async {
            while !condition(&self.holder) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LONG, looked).await.unwrap_or_else(|_| panic!("{what} did not come to be"));
    }
}

/// A pipe stands for `/dev/fuse` and the state: its reader sees when nobody has the writing end any more.
async fn park(keeper: &mut Keeper) -> PipeReader {
    let (reader, writer) = pipe().unwrap();
    keeper.park("0:57", Duration::ZERO, writer.as_fd(), writer.as_fd()).await.unwrap();
    reader
}

fn says(parked: Parked, mut reader: PipeReader) {
    let mut writer = PipeWriter::from(parked.fuse);
    writer.write_all(b"fuse").unwrap();
    drop((writer, parked.state));
    let mut found = [0; 4];
    reader.read_exact(&mut found).unwrap();
    assert_eq!(&found, b"fuse");
}

#[tokio::test]
async fn what_a_process_left_is_taken_by_the_next_and_by_one_only() {
    let place = Place::new(LONG);
    let mut first = place.keeper().await;
    assert!(first.take().await.unwrap().is_none(), "nothing is there yet");
    let reader = park(&mut first).await;
    let mut second = place.keeper().await;
    assert_eq!(second.take().await.unwrap_err().code, Code::Busy);
    let (_, writer) = pipe().unwrap();
    let over = second.park("0:58", Duration::ZERO, writer.as_fd(), writer.as_fd()).await;
    assert_eq!(over.unwrap_err().code, Code::Busy);
    assert_eq!((place.holder.orphans(), place.holder.devices()), (0, vec!["0:57".to_owned()]));
    drop(first);
    place.wait("the mount is parked", |holder| holder.orphans() == 1).await;
    let parked = second.take().await.unwrap().unwrap();
    assert_eq!(parked.device, "0:57");
    says(parked, reader);
    assert_eq!(place.holder.orphans(), 0);
    let mut third = place.keeper().await;
    assert_eq!(third.take().await.unwrap_err().code, Code::Busy);
}

#[tokio::test]
async fn a_mount_that_was_given_up_is_let_go_of() {
    let place = Place::new(LONG);
    let mut first = place.keeper().await;
    let mut reader = park(&mut first).await;
    first.unpark().await.unwrap();
    let ended = tokio::task::spawn_blocking(move || reader.read(&mut [0; 1]).unwrap());
    assert_eq!(tokio::time::timeout(LONG, ended).await.unwrap().unwrap(), 0);
    assert!(place.keeper().await.take().await.unwrap().is_none());
}

#[tokio::test]
async fn a_mount_that_nobody_takes_is_let_go_of_and_told() {
    let short = Duration::from_millis(50);
    for (asked, patience) in [(Duration::ZERO, short), (Duration::from_millis(70), LONG)] {
        let mut place = Place::new(patience);
        let mut first = place.keeper().await;
        let (mut reader, writer) = pipe().unwrap();
        first.park("0:57", asked, writer.as_fd(), writer.as_fd()).await.unwrap();
        drop((first, writer));
        let ended = tokio::task::spawn_blocking(move || reader.read(&mut [0; 1]).unwrap());
        assert_eq!(tokio::time::timeout(LONG, ended).await.unwrap().unwrap(), 0);
        let lost = tokio::time::timeout(LONG, place.lost.recv()).await.unwrap().unwrap();
        let kept = if asked.is_zero() { patience } else { asked };
        assert_eq!(lost, Lost { mount_point: "/m".to_owned(), patience: kept });
        assert!(place.keeper().await.take().await.unwrap().is_none());
    }
}

#[tokio::test]
async fn a_mount_is_ended_only_when_no_process_serves_it() {
    let place = Place::new(LONG);
    let mut first = place.keeper().await;
    let mut reader = park(&mut first).await;
    let mut last = place.keeper().await;
    assert_eq!(last.end().await.unwrap_err().code, Code::Busy);
    drop(first);
    place.wait("the mount is parked", |holder| holder.orphans() == 1).await;
    last.end().await.unwrap();
    let ended = tokio::task::spawn_blocking(move || reader.read(&mut [0; 1]).unwrap());
    assert_eq!(tokio::time::timeout(LONG, ended).await.unwrap().unwrap(), 0);
    last.end().await.unwrap();
}

#[tokio::test]
async fn a_process_hears_that_its_holder_is_gone() {
    let place = Place::new(LONG);
    let mut keeper = place.keeper().await;
    let _reader = park(&mut keeper).await;
    place.tasks.shutdown(LONG).await;
    tokio::time::timeout(LONG, keeper.closed()).await.unwrap();
    let gone = Keeper::connect(&place.socket(), Path::new("/m")).await;
    assert_eq!(gone.unwrap_err().code, Code::Unavailable);
}
