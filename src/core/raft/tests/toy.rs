//! A state machine to look into: the list of commands it was given.

use crate::error::{Error, Result};
use crate::raft::{Frozen, Machine};
use bytes::Bytes;
use parking_lot::Mutex;
use std::io::{self, Read, Write};
use std::sync::Arc;

/// Remembers every command; answers how many there are.
#[derive(Default)]
pub(super) struct Toy {
    commands: Mutex<Arc<Vec<Bytes>>>,
}

impl Toy {
    pub(super) fn commands(&self) -> Arc<Vec<Bytes>> {
        self.commands.lock().clone()
    }
}

impl Machine for Toy {
    fn apply(&self, entries: &[(u64, Bytes)]) -> Vec<Bytes> {
        let mut commands = self.commands.lock();
        let commands = Arc::make_mut(&mut commands);
        entries
            .iter()
            .map(|(_, command)| {
                commands.push(command.clone());
                Bytes::from(commands.len().to_string())
            })
            .collect()
    }

    fn freeze(&self) -> Box<dyn Frozen> {
        Box::new(Image(self.commands()))
    }

    fn restore(&self, image: &mut dyn Read) -> Result<()> {
        let mut text = String::new();
        image.read_to_string(&mut text).map_err(|e| Error::io("read image", e))?;
        *self.commands.lock() =
            Arc::new(text.lines().map(|line| Bytes::copy_from_slice(line.as_bytes())).collect());
        Ok(())
    }
}

struct Image(Arc<Vec<Bytes>>);

impl Frozen for Image {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        for command in self.0.iter() {
            out.write_all(command)?;
            out.write_all(b"\n")?;
        }
        Ok(())
    }

    fn records(&self) -> u64 {
        self.0.len() as u64
    }
}
