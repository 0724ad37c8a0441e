//! Whose data directory this is: `meta.properties`, in Kafka's own format, so that Kafka's tools
//! read it and a directory never serves under two names.
//!
//! Version 1, lines of `key=value`, order free, `#` starts a comment: `version=1`, `cluster.id`
//! (22 characters of base64), `node.id`, `directory.id` (22 characters). Written once, atomically.
//! Unknown keys are passed over; a file of another version is refused, not guessed at.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::Path;

use crate::base::env::Env;
use crate::base::ids::{Uuid, base64_id, parse_base64_id};
use crate::catalog::codec::CLUSTER;
use crate::store::{Files, Meta, OpenMode, Resize, Transacted};

const FILE: &str = "meta.properties";
const TEMPORARY: &str = "meta.properties.tmp";
/// Far above what four keys need; more is not this file.
const MAX_FILE_BYTES: u64 = 64 << 10;

/// Who the broker is, as its data directory says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub node_id: i32,
    /// 22 characters of URL-safe base64.
    pub cluster_id: String,
    pub directory_id: Uuid,
}

/// Why a data directory is not served. One line for people, with the remedy.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error(
        "{directory} belongs to node {stored}, but node.id is {configured}: set node.id={stored}, \
         or log.dirs to another directory"
    )]
    OtherNode { directory: String, stored: i32, configured: i32 },
    #[error(
        "{directory} belongs to cluster {stored}, but its metadata to cluster {metadata}: put back \
         the meta.properties and meta.redb that belong together, or set log.dirs to another \
         directory"
    )]
    OtherCluster { directory: String, stored: String, metadata: String },
    #[error("{directory}/{FILE}: {why}; restore it, or set log.dirs to another directory")]
    Unreadable { directory: String, why: String },
    #[error("{directory}: {error}")]
    Io { directory: String, error: io::Error },
}

/// Checks that the directory belongs to this node and cluster, or claims a new one.
///
/// # Errors
/// See [`IdentityError`].
pub fn claim(
    files: &dyn Files,
    meta: &dyn Meta,
    directory: &Path,
    node_id: i32,
    env: &Env,
) -> Result<Identity, IdentityError> {
    let shown = directory.display().to_string();
    let failed = |error| IdentityError::Io { directory: shown.clone(), error };
    let unreadable = |why| IdentityError::Unreadable { directory: shown.clone(), why };

    let stored = read(files, directory).map_err(failed)?;
    let stored = stored.map(|text| parse(&text)).transpose().map_err(unreadable)?;
    if let Some(stored) = stored.as_ref().filter(|stored| stored.node_id != node_id) {
        let stored = stored.node_id;
        return Err(IdentityError::OtherNode { directory: shown, stored, configured: node_id });
    }
    let known = meta.get(CLUSTER.key).map_err(failed)?;
    let known = known.map(|known| CLUSTER.read(&known.value)).transpose();
    let known = known.map_err(|error| failed(error.into()))?;
    let cluster_id = match (&stored, known) {
        (Some(stored), Some(metadata)) if stored.cluster_id != metadata => {
            let stored = stored.cluster_id.clone();
            return Err(IdentityError::OtherCluster { directory: shown, stored, metadata });
        }
        (_, Some(metadata)) => metadata,
        (stored, None) => {
            let stored = stored.as_ref().map(|stored| stored.cluster_id.clone());
            let id = stored.unwrap_or_else(|| printable(env));
            name_cluster(meta, &id).map_err(failed)?;
            id
        }
    };
    if let Some(stored) = stored {
        return Ok(stored);
    }
    let identity = Identity { node_id, cluster_id, directory_id: env.random_uuid() };
    write(files, directory, &identity).map_err(failed)?;
    Ok(identity)
}

/// A random id that does not begin with `-`, which tools would take for an option.
fn printable(env: &Env) -> String {
    let mut ids = std::iter::repeat_with(|| base64_id(env.random_uuid()));
    ids.find(|id| !id.starts_with('-')).expect("the iterator has no end")
}

fn name_cluster(meta: &dyn Meta, id: &str) -> io::Result<()> {
    match meta.transact(&[(CLUSTER.key.to_owned(), None)], &[CLUSTER.write(id.to_owned())])? {
        Transacted::Done(_) => Ok(()),
        Transacted::Conflict => Err(io::Error::other("another process is starting on it")),
    }
}

fn read(files: &dyn Files, directory: &Path) -> io::Result<Option<String>> {
    let file = match files.open(&directory.join(FILE), OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let length = file.len_bytes()?.min(MAX_FILE_BYTES);
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

fn parse(text: &str) -> Result<Identity, String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let pairs: BTreeMap<&str, &str> = lines
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.trim(), value.trim()))
        .collect();
    let get = |key| pairs.get(key).copied().ok_or_else(|| format!("has no {key}"));
    let version = get("version")?;
    if version != "1" {
        return Err(format!("has version {version}, known is 1"));
    }
    let number = get("node.id")?;
    let id = get("directory.id")?;
    Ok(Identity {
        node_id: number.parse().map_err(|_| format!("has node.id '{number}', not a number"))?,
        cluster_id: get("cluster.id")?.to_owned(),
        directory_id: parse_base64_id(id).ok_or_else(|| format!("has directory.id '{id}'"))?,
    })
}

fn write(files: &dyn Files, directory: &Path, identity: &Identity) -> io::Result<()> {
    let text = format!(
        "version=1\ncluster.id={}\nnode.id={}\ndirectory.id={}\n",
        identity.cluster_id,
        identity.node_id,
        base64_id(identity.directory_id)
    );
    let temporary = directory.join(TEMPORARY);
    let file = files.open(&temporary, OpenMode::Write)?;
    file.resize(Resize::Cut(0))?;
    file.write_at(&[IoSlice::new(text.as_bytes())], 0)?;
    file.sync()?;
    files.rename(&temporary, &directory.join(FILE))?;
    files.sync_dir(directory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::env::scripted::{ScriptedClock, env};
    use crate::store::memory::MemoryFiles;
    use crate::store::meta::MemoryMeta;

    struct Disk {
        files: MemoryFiles,
        meta: MemoryMeta,
    }

    impl Disk {
        fn new() -> Self {
            let files = MemoryFiles::new();
            files.create_dir(Path::new("/data")).unwrap();
            Self { files, meta: MemoryMeta::new() }
        }

        fn claim(&self, node_id: i32, seed: u64) -> Result<Identity, IdentityError> {
            let env = env(ScriptedClock::at(0), seed);
            claim(&self.files, &self.meta, Path::new("/data"), node_id, &env)
        }

        fn put(&self, text: &str) {
            let file =
                self.files.open(Path::new("/data/meta.properties"), OpenMode::Write).unwrap();
            file.resize(Resize::Cut(0)).unwrap();
            file.write_at(&[IoSlice::new(text.as_bytes())], 0).unwrap();
        }
    }

    #[test]
    fn a_claimed_directory_keeps_its_identity() {
        let disk = Disk::new();
        let first = disk.claim(1, 1).unwrap();
        assert_eq!(
            parse_base64_id(&first.cluster_id).map(base64_id),
            Some(first.cluster_id.clone())
        );
        assert_eq!(disk.claim(1, 2).unwrap(), first);
    }

    #[test]
    fn the_file_is_kafkas() {
        let disk = Disk::new();
        let written = "#\n#Sat Nov 21 10:52:16 UTC 2026\nnode.id=3\n\
            directory.id=KtEnYOUMemjVv8J5fm9MRg\nversion=1\ncluster.id=MkU3OEVBNTcwNTJENDM2Qg\n";
        disk.put(written);
        let identity = disk.claim(3, 1).unwrap();
        assert_eq!(identity.cluster_id, "MkU3OEVBNTcwNTJENDM2Qg");
        assert_eq!(base64_id(identity.directory_id), "KtEnYOUMemjVv8J5fm9MRg");
    }

    #[test]
    fn a_directory_of_another_node_names_the_remedy() {
        let disk = Disk::new();
        disk.claim(1, 1).unwrap();
        let refusal = disk.claim(2, 1).unwrap_err().to_string();
        assert!(refusal.contains("node.id=1"), "{refusal}");
        assert!(!refusal.contains('\n'), "{refusal}");
    }

    #[test]
    fn a_directory_of_another_cluster_is_refused() {
        let (ours, other) = (Disk::new(), Disk::new());
        ours.claim(1, 1).unwrap();
        other.claim(1, 2).unwrap();
        let mixed = Disk { files: ours.files, meta: other.meta };
        assert!(matches!(mixed.claim(1, 3), Err(IdentityError::OtherCluster { .. })));
    }

    #[test]
    fn a_lost_file_is_written_again_for_the_same_cluster() {
        let disk = Disk::new();
        let first = disk.claim(1, 1).unwrap();
        disk.files.remove(Path::new("/data/meta.properties")).unwrap();
        assert_eq!(disk.claim(1, 2).unwrap().cluster_id, first.cluster_id);
    }

    #[test]
    fn a_file_that_makes_no_sense_is_refused() {
        let whole = "version=1\ncluster.id=c\nnode.id=1\ndirectory.id=KtEnYOUMemjVv8J5fm9MRg\n";
        let disk = Disk::new();
        disk.put(whole);
        disk.claim(1, 1).unwrap();
        for (from, to) in [
            ("version=1\n", ""),
            ("version=1", "version=0"),
            ("node.id=1", "node.id=one"),
            ("directory.id=K", "directory.id="),
            ("cluster.id=c\n", ""),
        ] {
            disk.put(&whole.replace(from, to));
            let refusal = disk.claim(1, 1);
            assert!(
                matches!(refusal, Err(IdentityError::Unreadable { .. })),
                "{from}: {refusal:?}"
            );
        }
    }
}
