//! Metadata in one redb file, `meta.redb`.
//!
//! Invariants: a transaction is on stable storage when [`Meta::transact`] returns; revisions
//! rise by one with every transaction that was applied, across restarts. A file that is damaged,
//! from a newer version or open elsewhere is refused with one line that names it.
//!
//! Commits are two-phase (two syncs; metadata changes are rare): redb would else repair a damaged
//! page of the newest commit by going back to the commit before it, and a topic would be gone.
//! redb panics on some damaged pages, so all of the file is checked once, at open, with panics
//! caught; later reads meet checked pages only.
//!
//! redb takes nothing more after a failed write. A full disk must pass, though, so the file is
//! opened anew at the next call; what the failed transaction left is undone as after a crash. Any
//! other failure stays.
//!
//! The page cache is kept at 256 KiB because metadata is read in whole at start and then served
//! from the catalog's snapshot; redb's default of 1 GiB would count as idle memory.
//!
//! Version 1 of the file: table `klamm` (name -> u64) holds `format` = 1 and `revision`; table
//! `pairs` (key -> revision, value) holds everything else.

use std::fmt::Display;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use parking_lot::Mutex;
use redb::{
    Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, TableDefinition,
    WriteTransaction,
};

use super::super::{Meta, MetaExpect, MetaWrite, Transacted, Versioned};

const HEAD: TableDefinition<'_, &str, u64> = TableDefinition::new("klamm");
const PAIRS: TableDefinition<'_, &str, (u64, &[u8])> = TableDefinition::new("pairs");
const FORMAT: &str = "format";
const FORMAT_VERSION: u64 = 1;
const REVISION: &str = "revision";
const CACHE_BYTES: usize = 256 << 10;

/// Opens the database over its file or, in tests, over something that fails.
type Opener = Box<dyn Fn() -> Result<Database, DatabaseError> + Send + Sync>;

/// A [`Meta`] in one file.
pub struct RedbMeta {
    opener: Opener,
    /// `None` from a full disk until the next call.
    database: Mutex<Option<Database>>,
}

impl RedbMeta {
    /// Opens the file, creating it if missing.
    ///
    /// # Errors
    /// `ResourceBusy` if another process has it open, `InvalidData` if it is damaged or not ours,
    /// `Unsupported` if a newer version wrote it, or the disk's own. The message is one line for
    /// people and names the file.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = path.to_owned();
        let opener: Opener =
            Box::new(move || Database::builder().set_cache_size(CACHE_BYTES).create(&file));
        Self::open_with(opener)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
    }

    pub(super) fn open_with(opener: Opener) -> io::Result<Self> {
        let database = open_whole(&opener)?;
        Ok(Self { opener, database: Mutex::new(Some(database)) })
    }

    fn with<T>(&self, work: impl FnOnce(&Database) -> io::Result<T>) -> io::Result<T> {
        let mut slot = self.database.lock();
        let database = match slot.take() {
            Some(database) => database,
            None => open_whole(&self.opener)?,
        };
        let done = work(&database);
        let full = |error: &io::Error| error.kind() == io::ErrorKind::StorageFull;
        if !done.as_ref().is_err_and(full) {
            *slot = Some(database);
        }
        done
    }
}

/// Opens a database and checks all of it.
fn open_whole(opener: &Opener) -> io::Result<Database> {
    let open = || {
        let mut database = opener().map_err(open_failed)?;
        database.check_integrity().map_err(open_failed)?;
        claim(&database)?;
        Ok(database)
    };
    catch_unwind(AssertUnwindSafe(open)).unwrap_or_else(|_| Err(damaged("its pages make no sense")))
}

fn begin_write(database: &Database) -> io::Result<WriteTransaction> {
    let mut transaction = database.begin_write().map_err(failed)?;
    transaction.set_two_phase_commit(true);
    Ok(transaction)
}

/// Writes the head of a new file; checks that of an old one.
fn claim(database: &Database) -> io::Result<()> {
    let transaction = begin_write(database)?;
    let fresh = {
        let mut head = transaction.open_table(HEAD).map_err(failed)?;
        transaction.open_table(PAIRS).map_err(failed)?;
        let format = head.get(FORMAT).map_err(failed)?.map(|value| value.value());
        match format {
            Some(FORMAT_VERSION) => false,
            Some(newer) => {
                let message = format!("format version {newer}, this is {FORMAT_VERSION}");
                return Err(io::Error::new(io::ErrorKind::Unsupported, message));
            }
            None => {
                head.insert(FORMAT, FORMAT_VERSION).map_err(failed)?;
                head.insert(REVISION, 0).map_err(failed)?;
                true
            }
        }
    };
    if fresh {
        return transaction.commit().map_err(failed);
    }
    transaction.abort().map_err(failed)
}

impl Meta for RedbMeta {
    fn get(&self, key: &str) -> io::Result<Option<Versioned>> {
        self.with(|database| get(database, key))
    }

    fn scan(&self, prefix: &str) -> io::Result<Vec<(String, Versioned)>> {
        self.with(|database| scan(database, prefix))
    }

    fn transact(&self, expect: &[MetaExpect], writes: &[MetaWrite]) -> io::Result<Transacted> {
        self.with(|database| transact(database, expect, writes))
    }
}

fn get(database: &Database, key: &str) -> io::Result<Option<Versioned>> {
    let transaction = database.begin_read().map_err(failed)?;
    let pairs = transaction.open_table(PAIRS).map_err(failed)?;
    let pair = pairs.get(key).map_err(failed)?;
    Ok(pair.map(|pair| versioned(pair.value())))
}

fn scan(database: &Database, prefix: &str) -> io::Result<Vec<(String, Versioned)>> {
    let transaction = database.begin_read().map_err(failed)?;
    let pairs = transaction.open_table(PAIRS).map_err(failed)?;
    let mut found = Vec::new();
    for pair in pairs.range(prefix..).map_err(failed)? {
        let (key, value) = pair.map_err(failed)?;
        if !key.value().starts_with(prefix) {
            break;
        }
        found.push((key.value().to_owned(), versioned(value.value())));
    }
    Ok(found)
}

fn transact(
    database: &Database,
    expect: &[MetaExpect],
    writes: &[MetaWrite],
) -> io::Result<Transacted> {
    let transaction = begin_write(database)?;
    let revision = {
        let mut pairs = transaction.open_table(PAIRS).map_err(failed)?;
        for (key, expected) in expect {
            let pair = pairs.get(key.as_str()).map_err(failed)?;
            if pair.map(|pair| pair.value().0) != *expected {
                return Ok(Transacted::Conflict);
            }
        }
        let mut head = transaction.open_table(HEAD).map_err(failed)?;
        let last = head.get(REVISION).map_err(failed)?.map(|value| value.value());
        let revision = last.unwrap_or(0) + 1;
        head.insert(REVISION, revision).map_err(failed)?;
        for write in writes {
            match write {
                MetaWrite::Put(key, value) => {
                    let pair = (revision, value.as_slice());
                    pairs.insert(key.as_str(), pair).map_err(failed)?;
                }
                MetaWrite::Delete(key) => {
                    pairs.remove(key.as_str()).map_err(failed)?;
                }
            }
        }
        revision
    };
    transaction.commit().map_err(failed)?;
    Ok(Transacted::Done(revision))
}

fn versioned((revision, value): (u64, &[u8])) -> Versioned {
    Versioned { value: value.to_vec(), revision }
}

fn open_failed(error: DatabaseError) -> io::Error {
    match error {
        DatabaseError::DatabaseAlreadyOpen => {
            io::Error::new(io::ErrorKind::ResourceBusy, "in use by another process")
        }
        DatabaseError::UpgradeRequired(_) => {
            io::Error::new(io::ErrorKind::Unsupported, "written by another version")
        }
        // redb reports a file with a foreign head as `InvalidData`.
        DatabaseError::Storage(StorageError::Io(error))
            if error.kind() != io::ErrorKind::InvalidData =>
        {
            error
        }
        other => damaged(other),
    }
}

fn damaged(error: impl Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("damaged metadata file ({error})"))
}

fn failed(error: impl Into<redb::Error>) -> io::Error {
    match error.into() {
        redb::Error::Io(error) => error,
        redb::Error::Corrupted(error) => damaged(error),
        other => io::Error::other(other),
    }
}
