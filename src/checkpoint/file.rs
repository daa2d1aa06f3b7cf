//! A checkpoint in a file, replaced atomically.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use super::{Checkpoint, taken};
use crate::retry::Failure;

/// The checkpoint of one source in a file.
pub struct FileStore {
    path: PathBuf,
    /// The text that the file holds if nobody else has written it.
    last: Option<String>,
}

impl FileStore {
    /// The file `name` in `directory`, which is made if need be.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn new(directory: &Path, name: &str) -> Result<Self, Failure> {
        fs::create_dir_all(directory).map_err(|error| {
            Failure::stop(format!("cannot make directory {}: {error}", directory.display()))
        })?;
        Ok(Self { path: directory.join(name), last: None })
    }

    /// Where the checkpoint is, for messages.
    pub fn place(&self) -> String {
        format!("file {}", self.path.display())
    }

    pub(super) fn load(&mut self) -> Result<Option<Checkpoint>, Failure> {
        self.last = self.read()?;
        self.last.as_ref().map(|text| Checkpoint::from_json(&self.place(), text.as_bytes())).transpose()
    }

    pub(super) fn store(&mut self, checkpoint: &Checkpoint) -> Result<(), Failure> {
        let found = self.read()?;
        if found != self.last {
            let owner = match found {
                Some(text) => Checkpoint::from_json(&self.place(), text.as_bytes())?.owner,
                None => "which has removed it".to_owned(),
            };
            return Err(taken(&self.place(), &owner));
        }
        let text = checkpoint.to_json();
        self.replace(&text).map_err(|error| {
            Failure::retry(format!("cannot write the checkpoint to {}: {error}", self.place()))
        })?;
        self.last = Some(text);
        Ok(())
    }

    fn read(&self) -> Result<Option<String>, Failure> {
        match fs::read_to_string(&self.path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => {
                Err(Failure::retry(format!("cannot read the checkpoint in {}: {error}", self.place())))
            }
        }
    }

    /// Writes aside, makes that durable, moves it over the old file, makes the move durable.
    fn replace(&self, text: &str) -> io::Result<()> {
        let mut aside = self.path.clone().into_os_string();
        aside.push(".new");
        let mut file = File::create(&aside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&aside, &self.path)?;
        match self.path.parent() {
            Some(directory) if !directory.as_os_str().is_empty() => File::open(directory)?.sync_all(),
            _ => File::open(".")?.sync_all(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::ClusterTime, position::Position};

    fn checkpoint(seconds: u32, owner: &str) -> Checkpoint {
        let position = Position::at_time(0, ClusterTime { seconds, increment: 1 });
        Checkpoint { position, deployment: None, owner: owner.into(), epoch: 0 }
    }

    #[test]
    fn a_stored_checkpoint_is_found_again_and_a_second_writer_is_noticed() {
        let directory = std::env::temp_dir().join(format!("millrace-file-store-{}", std::process::id()));
        let open = || FileStore::new(&directory, "c").expect("a directory");
        let mut first = open();
        assert!(first.load().expect("readable").is_none());
        first.store(&checkpoint(1, "first")).expect("stored");

        let mut second = open();
        assert_eq!(second.load().expect("readable"), Some(checkpoint(1, "first")));
        second.store(&checkpoint(2, "second")).expect("stored");
        let failure = first.store(&checkpoint(3, "first")).expect_err("the second has it");
        assert!(failure.message.contains("second"), "{failure}");
        fs::remove_dir_all(&directory).expect("removed");
    }
}
