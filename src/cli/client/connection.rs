//! One connection to one broker: negotiated versions, one request at a time.
//!
//! Blocking sockets under one deadline for the whole command: a command asks, waits and prints,
//! and a runtime would buy nothing. A frame is bounded before it is read, so that an address of
//! something else (an HTTP server answers "HTTP", which is 1.2 GB as a size) is a clear line.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{ApiVersionsRequest, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};

use super::error::ClientError;
use super::spoken::Spoken;
use crate::base::env::Env;

/// Largest answer that is read: metadata of a few million partitions.
const MAX_FRAME_BYTES: usize = 256 << 20;

/// When a command gives up.
#[derive(Clone)]
pub struct Deadline {
    env: Env,
    at: Duration,
}

impl Deadline {
    pub fn after(env: Env, time: Duration) -> Self {
        Self { at: env.monotonic() + time, env }
    }

    /// Zero once it has passed.
    pub fn left(&self) -> Duration {
        self.at.saturating_sub(self.env.monotonic())
    }
}

/// A connection to a broker.
pub struct Connection {
    address: String,
    socket: TcpStream,
    deadline: Deadline,
    /// Versions that the broker serves, by API key.
    served: BTreeMap<i16, (i16, i16)>,
    last_correlation_id: i32,
}

impl Connection {
    /// Connects and asks for the versions that the broker serves.
    pub fn open(address: &str, deadline: &Deadline) -> Result<Self, ClientError> {
        let socket = connect(address, deadline)
            .map_err(|error| ClientError::Unreachable { address: address.to_owned(), error })?;
        let mut connection = Self {
            address: address.to_owned(),
            socket,
            deadline: deadline.clone(),
            served: BTreeMap::from([(<ApiVersionsRequest as Request>::KEY, (0, 0))]),
            last_correlation_id: 0,
        };
        let answer = connection.ask(&ApiVersionsRequest::default())?;
        let served =
            answer.api_keys.iter().map(|api| (api.api_key, api.min_version, api.max_version));
        connection.served = served.map(|(key, min, max)| (key, (min, max))).collect();
        Ok(connection)
    }

    /// Sends a request in the highest version that both sides speak, and waits for the answer.
    pub fn ask<R: Spoken>(&mut self, request: &R) -> Result<R::Response, ClientError> {
        let version = self.version::<R>()?;
        self.last_correlation_id += 1;
        let frame = self.encode(version, request)?;
        let lost = |error: io::Error| match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                ClientError::TimedOut { address: self.address.clone(), api: R::NAME }
            }
            io::ErrorKind::InvalidData => {
                ClientError::NotKafka { address: self.address.clone(), why: error.to_string() }
            }
            _ => ClientError::Dropped { address: self.address.clone(), api: R::NAME, error },
        };
        let answer = exchange(&mut self.socket, &self.deadline, &frame).map_err(lost)?;
        self.decode::<R>(version, answer)
    }

    fn version<R: Spoken>(&self) -> Result<i16, ClientError> {
        let spoken = R::SPOKEN;
        let unserved = |why| {
            let address = self.address.clone();
            Err(ClientError::Unserved { address, api: R::NAME, why })
        };
        let Some(&(min, max)) = self.served.get(&R::KEY) else {
            return unserved("it has no such API".to_owned());
        };
        let version = max.min(*spoken.end());
        if version < min.max(*spoken.start()) {
            let (from, to) = spoken.into_inner();
            return unserved(format!("it serves {min} to {max}, klamm speaks {from} to {to}"));
        }
        Ok(version)
    }

    fn encode<R: Spoken>(&self, version: i16, request: &R) -> Result<Bytes, ClientError> {
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.last_correlation_id)
            .with_client_id(Some(StrBytes::from_static_str("klamm")));
        let mut frame = BytesMut::zeroed(4);
        let encoded = header.encode(&mut frame, R::header_version(version));
        encoded
            .and_then(|()| request.encode(&mut frame, version))
            .map_err(|error| ClientError::Usage(format!("{} v{version}: {error}", R::NAME)))?;
        let size = u32::try_from(frame.len() - 4).expect("what was typed is below 4 GiB");
        frame[..4].copy_from_slice(&size.to_be_bytes());
        Ok(frame.freeze())
    }

    fn decode<R: Spoken>(
        &self,
        version: i16,
        mut frame: Bytes,
    ) -> Result<R::Response, ClientError> {
        let not_kafka = |why: String| ClientError::NotKafka { address: self.address.clone(), why };
        let header = ResponseHeader::decode(&mut frame, R::Response::header_version(version))
            .map_err(|error| not_kafka(error.to_string()))?;
        if header.correlation_id != self.last_correlation_id {
            return Err(not_kafka("it answers what was not asked".to_owned()));
        }
        R::Response::decode(&mut frame, version).map_err(|error| not_kafka(error.to_string()))
    }
}

fn connect(address: &str, deadline: &Deadline) -> io::Result<TcpStream> {
    let mut failure = io::Error::other("the name has no address");
    for resolved in address.to_socket_addrs()? {
        let left = left(deadline)?;
        match TcpStream::connect_timeout(&resolved, left) {
            Ok(socket) => {
                socket.set_nodelay(true)?;
                return Ok(socket);
            }
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// The time that is left, as sockets want it: zero would mean for ever.
fn left(deadline: &Deadline) -> io::Result<Duration> {
    let left = deadline.left();
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// Writes a frame and reads the next one, without its size.
fn exchange(socket: &mut TcpStream, deadline: &Deadline, frame: &[u8]) -> io::Result<Bytes> {
    socket.set_write_timeout(Some(left(deadline)?))?;
    socket.write_all(frame)?;
    let mut size = [0; 4];
    fill(socket, deadline, &mut size)?;
    let size = usize::try_from(i32::from_be_bytes(size)).unwrap_or(usize::MAX);
    if size > MAX_FRAME_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "its answer has no sensible size"));
    }
    let mut answer = Vec::new();
    // Grows with what arrives: a size alone reserves nothing.
    while answer.len() < size {
        let have = answer.len();
        answer.resize(size.min(have + (1 << 20)), 0);
        fill(socket, deadline, &mut answer[have..])?;
    }
    Ok(answer.into())
}

/// `read_exact` under a deadline for all of it, not for each read.
fn fill(socket: &mut TcpStream, deadline: &Deadline, mut buffer: &mut [u8]) -> io::Result<()> {
    while !buffer.is_empty() {
        socket.set_read_timeout(Some(left(deadline)?))?;
        match socket.read(buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => buffer = &mut buffer[read..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
