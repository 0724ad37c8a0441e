//! The outside consumer: long polls on all partitions, lateness of each record at its receipt.

use std::io::{self, Write};

use hdrhistogram::Histogram;
use klamm::wire::batch::{BatchHeader, HEADER_BYTES};
use klamm::wire::records::Records;

use crate::{Options, TOPICS, histogram, now_us, wire};

/// What was seen of the delayed records.
pub struct Delivered {
    pub late_us: Histogram<u64>,
    pub early: u64,
    pub doubled: u64,
    seen: Vec<bool>,
    count: u64,
}

/// Reads until every record was delivered.
pub fn all(options: &Options) -> io::Result<Delivered> {
    let records = usize::try_from(options.records()).expect("they fit memory");
    let mut delivered = Delivered {
        late_us: histogram(),
        early: 0,
        doubled: 0,
        seen: vec![false; records],
        count: 0,
    };
    let mut offsets = vec![0; usize::try_from(options.partitions).expect("some")];
    let mut stream = wire::connect(&options.target)?;
    while delivered.count < options.records() {
        stream.write_all(&wire::fetch(TOPICS[0], &offsets))?;
        let answer = wire::answer(&mut stream)?;
        let received_us = now_us();
        for (partition, mut batches) in wire::fetched(answer)? {
            while let Ok(header) = BatchHeader::parse(&batches) {
                if header.total_bytes() > batches.len() {
                    break;
                }
                let batch = batches.split_to(header.total_bytes());
                if header.base_offset >= offsets[partition] {
                    delivered.take(&batch[HEADER_BYTES..], header.record_count, received_us)?;
                    offsets[partition] = header.last_offset() + 1;
                }
            }
        }
    }
    Ok(delivered)
}

impl Delivered {
    fn take(&mut self, body: &[u8], count: i32, received_us: i64) -> io::Result<()> {
        for record in Records::new(body, count) {
            let record = record.map_err(io::Error::other)?;
            let value = record.value.unwrap_or_default();
            let (Some(due), Some(number)) = (value.first_chunk::<8>(), value.get(8..16)) else {
                return Err(io::Error::other("a record that nobody sent"));
            };
            let due_us = i64::from_be_bytes(*due) * 1_000;
            let number = u64::from_be_bytes(number.try_into().expect("eight bytes"));
            let number = usize::try_from(number).map_err(io::Error::other)?;
            match self.seen.get_mut(number) {
                Some(seen @ false) => *seen = true,
                Some(_) => {
                    self.doubled += 1;
                    continue;
                }
                // Left over from an earlier run on the same directory.
                None => continue,
            }
            self.count += 1;
            self.early += u64::from(received_us < due_us);
            let late_us = (received_us - due_us).max(1).unsigned_abs();
            self.late_us.saturating_record(late_us);
        }
        Ok(())
    }
}
