//! The lines on standard output at start: a block for people, and one line for scripts.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;

/// What a broker that starts says about itself.
pub struct Banner<'a> {
    pub version: &'a str,
    /// Name and address of each Kafka listener; the first is the one scripts are told.
    pub kafka: &'a [(String, SocketAddr)],
    pub http: Option<SocketAddr>,
    pub data_dir: &'a Path,
    pub cluster_id: &'a str,
    pub node_id: i32,
}

impl Banner<'_> {
    /// The block for people.
    ///
    /// # Errors
    /// If `out` can't be written.
    pub fn print(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "Klamm {}", self.version)?;
        for (name, address) in self.kafka {
            writeln!(out, "  kafka    {address} ({name})")?;
        }
        if let Some(address) = self.http {
            writeln!(out, "  http     {address}")?;
        }
        writeln!(out, "  data     {}", self.data_dir.display())?;
        writeln!(out, "  cluster  {} (node {})", self.cluster_id, self.node_id)?;
        out.flush()
    }

    /// The line for scripts: `klamm ready kafka=HOST:PORT http=HOST:PORT`.
    ///
    /// # Errors
    /// If `out` can't be written.
    pub fn ready(&self, out: &mut impl Write) -> io::Result<()> {
        write!(out, "klamm ready")?;
        if let Some((_, address)) = self.kafka.first() {
            write!(out, " kafka={address}")?;
        }
        if let Some(address) = self.http {
            write!(out, " http={address}")?;
        }
        writeln!(out)?;
        out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_find_the_real_ports() {
        let banner = Banner {
            version: "0.1.0",
            kafka: &[("PLAINTEXT".into(), "127.0.0.1:9092".parse().unwrap())],
            http: Some("127.0.0.1:8092".parse().unwrap()),
            data_dir: Path::new("klamm-data"),
            cluster_id: "AAAAAAAAAAAAAAAAAAAAAA",
            node_id: 1,
        };
        let mut line = Vec::new();
        banner.ready(&mut line).unwrap();
        assert_eq!(line, b"klamm ready kafka=127.0.0.1:9092 http=127.0.0.1:8092\n");
        let mut block = Vec::new();
        banner.print(&mut block).unwrap();
        let block = String::from_utf8(block).unwrap();
        for part in ["0.1.0", "127.0.0.1:9092", "klamm-data", "AAAAAAAAAAAAAAAAAAAAAA"] {
            assert!(block.contains(part), "{part}: {block}");
        }
    }
}
