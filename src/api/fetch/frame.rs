//! A Fetch response framed by hand: record bytes stay in their segment files and leave by
//! sendfile, so the frame is written as pieces with file ranges between them.
//!
//! | version | change |
//! |---|---|
//! | 4 | last stable offset, aborted transactions |
//! | 5 | log start offset |
//! | 7 | error code and session id |
//! | 11 | preferred read replica |
//! | 12 | flexible; diverging epoch and current leader as tagged fields |
//! | 13 | topic ids |

use smallvec::SmallVec;

use super::session::TopicRef;
use crate::api::reply::{Chunk, Ending, Reply};
use crate::wire::encode::Frame;

/// What a response says of one partition.
pub struct PartitionAnswer {
    pub index: i32,
    pub error_code: i16,
    pub high_watermark: i64,
    pub last_stable_offset: i64,
    pub log_start_offset: i64,
    /// Whether the list of aborted transactions is there, and empty: for read-committed consumers,
    /// and of partitions that are unknown.
    pub aborted: bool,
    /// Epoch and its end offset, where the consumer's log has left ours (KIP-595).
    pub diverging: Option<(i32, i64)>,
    pub records: Option<Chunk>,
}

/// Writes one response.
pub struct Framer {
    version: i16,
    compact: bool,
    out: Frame,
    /// File ranges, each at its place in `out`.
    files: SmallVec<[(usize, Chunk); 2]>,
    file_bytes: u64,
}

impl Framer {
    /// Begins the frame; `topics` entries follow.
    #[must_use]
    pub fn begin(
        version: i16,
        correlation_id: i32,
        error_code: i16,
        session_id: i32,
        topics: usize,
    ) -> Self {
        let compact = version >= 12;
        let mut out = Frame::with_capacity(128 + topics * 64);
        out.header(correlation_id, compact);
        out.i32(0);
        if version >= 7 {
            out.i16(error_code);
            out.i32(session_id);
        }
        out.length(Some(topics), compact);
        Self { version, compact, out, files: SmallVec::new(), file_bytes: 0 }
    }

    /// Begins a topic; its `partitions` entries follow, then [`Framer::end_topic`].
    pub fn topic(&mut self, topic: &TopicRef, partitions: usize) {
        match topic {
            TopicRef::Id(id) => self.out.raw(id.as_bytes()),
            TopicRef::Name(name) => self.out.string(Some(name), self.compact),
        }
        self.out.length(Some(partitions), self.compact);
    }

    pub fn partition(&mut self, answer: PartitionAnswer) {
        self.out.i32(answer.index);
        self.out.i16(answer.error_code);
        self.out.i64(answer.high_watermark);
        self.out.i64(answer.last_stable_offset);
        if self.version >= 5 {
            self.out.i64(answer.log_start_offset);
        }
        self.out.length(answer.aborted.then_some(0), self.compact);
        if self.version >= 11 {
            self.out.i32(-1);
        }
        self.records(answer.records);
        match answer.diverging {
            Some((epoch, end_offset)) if self.compact => {
                let one_tag_number_0_of_13_bytes = [1, 0, 13];
                self.out.raw(&one_tag_number_0_of_13_bytes);
                self.out.i32(epoch);
                self.out.i64(end_offset);
                self.out.no_tags();
            }
            _ => self.end_struct(),
        }
    }

    fn records(&mut self, records: Option<Chunk>) {
        let bytes = records.as_ref().map_or(0, Chunk::len_bytes);
        self.out.length(Some(usize::try_from(bytes).unwrap_or(usize::MAX)), self.compact);
        match records {
            Some(Chunk::Bytes(bytes)) => self.out.raw(&bytes),
            Some(file) => {
                self.file_bytes += bytes;
                self.files.push((self.out.len(), file));
            }
            None => {}
        }
    }

    pub fn end_topic(&mut self) {
        self.end_struct();
    }

    fn end_struct(&mut self) {
        if self.compact {
            self.out.no_tags();
        }
    }

    /// Ends the frame and fills in its size.
    #[must_use]
    pub fn finish(mut self) -> Ending {
        self.end_struct();
        let mut rest = match self.out.finish(self.file_bytes) {
            Ok(rest) => rest,
            Err(error) => return Ending::Close(format!("fetch: {error}")),
        };
        let mut reply = Reply::default();
        let mut cut = 0;
        for (at, file) in self.files {
            reply.chunks.push(Chunk::Bytes(rest.split_to(at - cut)));
            reply.chunks.push(file);
            cut = at;
        }
        if !rest.is_empty() {
            reply.chunks.push(Chunk::Bytes(rest));
        }
        Ending::Reply(reply)
    }
}

#[cfg(test)]
mod tests {
    use bytes::{Buf, BufMut, Bytes, BytesMut};
    use kafka_protocol::messages::fetch_response::FetchResponse;
    use kafka_protocol::messages::{ResponseHeader, TopicName};
    use kafka_protocol::protocol::{Decodable, HeaderVersion};
    use uuid::Uuid;

    use super::*;

    fn answer(index: i32, records: &'static [u8]) -> PartitionAnswer {
        PartitionAnswer {
            index,
            error_code: 0,
            high_watermark: 20,
            last_stable_offset: 19,
            log_start_offset: 3,
            aborted: index == 1,
            diverging: None,
            records: (!records.is_empty()).then(|| Chunk::Bytes(Bytes::from_static(records))),
        }
    }

    fn flatten(reply: &Reply) -> Bytes {
        let mut all = BytesMut::new();
        for chunk in &reply.chunks {
            let Chunk::Bytes(bytes) = chunk else { panic!("only bytes in this test") };
            all.put_slice(bytes);
        }
        all.freeze()
    }

    #[test]
    fn every_version_reads_back_as_the_protocol_says() {
        let id = Uuid::from_u128(7);
        for version in 4..=18 {
            let topic =
                if version >= 13 { TopicRef::Id(id) } else { TopicRef::Name("orders".into()) };
            let mut framer = Framer::begin(version, 42, 0, 9, 1);
            framer.topic(&topic, 2);
            framer.partition(answer(0, b"first"));
            let mut second = answer(1, b"");
            second.diverging = (version >= 12).then_some((5, 77));
            framer.partition(second);
            framer.end_topic();
            let Ending::Reply(reply) = framer.finish() else { panic!("it fits") };
            let mut frame = flatten(&reply);

            assert_eq!(frame.get_u32() as usize, frame.len(), "v{version}");
            let header =
                ResponseHeader::decode(&mut frame, FetchResponse::header_version(version)).unwrap();
            assert_eq!(header.correlation_id, 42);
            let response = FetchResponse::decode(&mut frame, version).unwrap();
            assert!(frame.is_empty(), "v{version} leaves nothing over");
            assert_eq!(response.session_id, if version >= 7 { 9 } else { 0 });
            let topic = &response.responses[0];
            if version >= 13 {
                assert_eq!(topic.topic_id, id);
            } else {
                assert_eq!(topic.topic, TopicName("orders".to_string().into()));
            }
            let [first, second] = &topic.partitions[..] else { panic!("two partitions") };
            assert_eq!(first.records.as_deref(), Some(&b"first"[..]));
            assert_eq!(first.aborted_transactions, None);
            assert_eq!((first.high_watermark, first.last_stable_offset), (20, 19));
            assert_eq!(second.aborted_transactions, Some(vec![]));
            assert_eq!(second.records.as_deref(), Some(&b""[..]));
            if version >= 12 {
                assert_eq!(second.diverging_epoch.epoch, 5);
                assert_eq!(second.diverging_epoch.end_offset, 77);
            }
        }
    }
}
