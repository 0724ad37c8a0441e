//! Requests and answers of the measurement: Produce v7, Fetch v11, CreateTopics v4.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use kafka_protocol::messages::create_topics_response::CreateTopicsResponse;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    ApiKey, GroupId, OffsetCommitRequest, OffsetCommitResponse, RequestHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable};
use klamm::wire::builder::BatchBuilder;
use klamm::wire::compression::Codec;
use klamm::wire::records::Header;

pub fn connect(target: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(target)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn sized(mut out: BytesMut) -> Bytes {
    let size = u32::try_from(out.len() - 4).expect("requests are below 2 GiB");
    out[..4].copy_from_slice(&size.to_be_bytes());
    out.freeze()
}

fn head(key: ApiKey, version: i16) -> BytesMut {
    let mut out = BytesMut::new();
    out.put_u32(0);
    out.put_i16(key as i16);
    out.put_i16(version);
    out.put_i32(1);
    put_string(&mut out, "delay");
    out
}

fn put_string(out: &mut BytesMut, text: &str) {
    out.put_i16(i16::try_from(text.len()).expect("short names"));
    out.put_slice(text.as_bytes());
}

/// One batch for one partition, acks=all.
pub fn produce(topic: &str, partition: i32, batch: &[u8]) -> Bytes {
    let mut out = head(ApiKey::Produce, 7);
    out.put_i16(-1);
    out.put_i16(-1);
    out.put_i32(60_000);
    out.put_i32(1);
    put_string(&mut out, topic);
    out.put_i32(1);
    out.put_i32(partition);
    out.put_i32(i32::try_from(batch.len()).expect("batches are below 2 GiB"));
    out.put_slice(batch);
    sized(out)
}

/// A long poll on all partitions, without a session.
pub fn fetch(topic: &str, offsets: &[i64]) -> Bytes {
    let mut out = head(ApiKey::Fetch, 11);
    for number in [-1, 500, 1, 50 << 20] {
        out.put_i32(number);
    }
    out.put_i8(0);
    out.put_i32(0);
    out.put_i32(-1);
    out.put_i32(1);
    put_string(&mut out, topic);
    out.put_i32(i32::try_from(offsets.len()).expect("few partitions"));
    for (partition, offset) in (0_i32..).zip(offsets) {
        out.put_i32(partition);
        out.put_i32(-1);
        out.put_i64(*offset);
        out.put_i64(-1);
        out.put_i32(4 << 20);
    }
    out.put_i32(0);
    put_string(&mut out, "");
    sized(out)
}

/// Partition and records of every partition in an answer to [`fetch`].
pub fn fetched(mut answer: Bytes) -> io::Result<Vec<(usize, Bytes)>> {
    answer.advance(4 + 4 + 2 + 4);
    let mut found = Vec::new();
    for _ in 0..answer.get_i32() {
        let name = usize::from(answer.get_u16());
        answer.advance(name);
        for _ in 0..answer.get_i32() {
            let partition = answer.get_i32();
            let code = answer.get_i16();
            if code != 0 {
                return Err(io::Error::other(format!("fetch: error code {code}")));
            }
            answer.advance(8 * 3);
            let aborted = answer.get_i32().max(0).unsigned_abs() as usize;
            answer.advance(aborted * 16 + 4);
            let bytes = answer.get_i32().max(0).unsigned_abs() as usize;
            found.push((partition.unsigned_abs() as usize, answer.split_to(bytes)));
        }
    }
    Ok(found)
}

/// The error code in an answer to [`produce`].
pub fn produced(answer: &[u8]) -> i16 {
    let name = usize::from(u16::from_be_bytes([answer[8], answer[9]]));
    let at = 10 + name + 4 + 4;
    i16::from_be_bytes([answer[at], answer[at + 1]])
}

/// One answer, without its length.
pub fn answer(stream: &mut TcpStream) -> io::Result<Bytes> {
    let mut size = [0; 4];
    stream.read_exact(&mut size)?;
    let mut answer = vec![0; u32::from_be_bytes(size) as usize];
    stream.read_exact(&mut answer)?;
    Ok(Bytes::from(answer))
}

/// What the records of a batch are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Live,
    /// To be delivered at their due times.
    Delayed,
    /// As [`Kind::Delayed`]; their numbers are their ids.
    WithId,
    /// Cancels of the records with these numbers.
    Cancel,
    /// As [`Kind::Cancel`], to be refused if there is none.
    StrictCancel,
}

/// A batch of records whose values begin with a due time in milliseconds and a number.
pub fn batch(due_ms: &[i64], first: u64, record_bytes: usize, kind: Kind) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None, None);
    let mut value = vec![0x5a; record_bytes.max(16)];
    let now_ms = crate::now_us() / 1_000;
    for (number, due_ms) in (first..).zip(due_ms) {
        value[..8].copy_from_slice(&due_ms.to_be_bytes());
        value[8..16].copy_from_slice(&number.to_be_bytes());
        let (due, id) = (due_ms.to_string(), number.to_string());
        let header = |key: &'static str, value| Header { key: key.as_bytes(), value: Some(value) };
        let at = header("klamm.deliver.at", due.as_bytes());
        let cancel = header("klamm.delay.cancel", id.as_bytes());
        let headers = match kind {
            Kind::Live => vec![],
            Kind::Delayed => vec![at],
            Kind::WithId => vec![at, header("klamm.delay.id", id.as_bytes())],
            Kind::Cancel => vec![cancel],
            Kind::StrictCancel => vec![cancel, header("klamm.delay.cancel.strict", b"true")],
        };
        let commands = matches!(kind, Kind::Cancel | Kind::StrictCancel);
        builder.push(now_ms, None, (!commands).then_some(&value[..]), headers.into_iter());
    }
    builder.build().expect("batches are below 2 GiB")
}

/// What becomes of a record that a group failed on.
#[derive(Clone, Copy, Debug)]
pub enum Nacked {
    /// It comes back after this long.
    Delayed(&'static str),
    Dead,
}

/// A batch that says that a group failed on `count` records from offset `first` on.
pub fn nacks(group: &str, first: i64, count: usize, nacked: Nacked) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None, None);
    let now_ms = crate::now_us() / 1_000;
    let (name, value) = match nacked {
        Nacked::Delayed(back_off) => ("klamm.nack.delay", back_off),
        Nacked::Dead => ("klamm.nack.dead", "true"),
    };
    for offset in (first..).take(count) {
        let offset = offset.to_string();
        let headers = [("klamm.nack.group", group), ("klamm.nack.offset", &offset), (name, value)];
        let headers = headers
            .map(|(key, value)| Header { key: key.as_bytes(), value: Some(value.as_bytes()) });
        builder.push(now_ms, None, None, headers.into_iter());
    }
    builder.build().expect("batches are below 2 GiB")
}

/// Commits offset 0 of partition 0, so that the group is known.
pub fn commit(target: &str, group: &str, topic: &str) -> io::Result<()> {
    const VERSION: i16 = 2;
    /// COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR
    const NOT_YET: [i16; 3] = [14, 15, 16];
    let partition = OffsetCommitRequestPartition::default().with_committed_offset(0);
    let named = OffsetCommitRequestTopic::default()
        .with_name(TopicName(topic.to_owned().into()))
        .with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default()
        .with_group_id(GroupId(group.to_owned().into()))
        .with_topics(vec![named]);
    let broken = |error| io::Error::other(format!("OffsetCommit: {error}"));
    let mut out = head(ApiKey::OffsetCommit, VERSION);
    request.encode(&mut out, VERSION).map_err(broken)?;
    let request = sized(out);
    let mut stream = connect(target)?;
    // Whoever asks for the coordinator makes its topic.
    let mut find = head(ApiKey::FindCoordinator, 0);
    put_string(&mut find, group);
    let find = sized(find);
    loop {
        stream.write_all(&find)?;
        answer(&mut stream)?;
        stream.write_all(&request)?;
        let mut reply = answer(&mut stream)?;
        reply.advance(4);
        let response = OffsetCommitResponse::decode(&mut reply, VERSION).map_err(broken)?;
        match response.topics[0].partitions[0].error_code {
            0 => return Ok(()),
            code if NOT_YET.contains(&code) => {}
            code => return Err(io::Error::other(format!("OffsetCommit: error code {code}"))),
        }
    }
}

/// Creates a topic; fine if it exists.
pub fn create_topic(target: &str, topic: &str, partitions: i32) -> io::Result<()> {
    let topic = CreatableTopic::default()
        .with_name(TopicName(topic.to_owned().into()))
        .with_num_partitions(partitions)
        .with_replication_factor(1);
    let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000);
    let broken = |error| io::Error::other(format!("CreateTopics: {error}"));
    let mut out = BytesMut::new();
    out.put_u32(0);
    let header = RequestHeader::default()
        .with_request_api_key(ApiKey::CreateTopics as i16)
        .with_request_api_version(4);
    header.encode(&mut out, 1).map_err(broken)?;
    request.encode(&mut out, 4).map_err(broken)?;
    let mut stream = connect(target)?;
    stream.write_all(&sized(out))?;
    let mut reply = answer(&mut stream)?;
    reply.advance(4);
    let response = CreateTopicsResponse::decode(&mut reply, 4).map_err(broken)?;
    const EXISTS: i16 = 36;
    match response.topics.iter().find(|t| t.error_code != 0 && t.error_code != EXISTS) {
        None => Ok(()),
        Some(topic) => Err(io::Error::other(format!("create: error {}", topic.error_code))),
    }
}
