//! A Kafka client of raw blocking sockets: it sends exactly what a test says, also nonsense.
//!
//! It panics where a test would fail anyway. Reads end after [`PATIENCE`], which bounds a hanging
//! test and decides nothing else.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};

/// How long a read may take before the test has failed.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct Client {
    socket: TcpStream,
    last_correlation_id: i32,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).expect("the broker accepts");
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        socket.set_nodelay(true).unwrap();
        Self { socket, last_correlation_id: 0 }
    }

    /// Sends a request and waits for its response.
    pub fn call<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        let sent = self.send(version, request);
        let (received, response) = self.receive::<R>(version);
        assert_eq!(received, sent, "the response belongs to the request");
        response
    }

    /// Sends a request and returns its correlation id.
    pub fn send<R: Request>(&mut self, version: i16, request: &R) -> i32 {
        self.last_correlation_id += 1;
        let frame = encode(version, self.last_correlation_id, request);
        self.send_frame(&frame);
        self.last_correlation_id
    }

    /// The next response, which must be one to an `R`.
    pub fn receive<R: Request>(&mut self, version: i16) -> (i32, R::Response) {
        let mut frame = self.receive_frame().expect("a response, not the connection's end");
        let header = ResponseHeader::decode(&mut frame, R::Response::header_version(version))
            .expect("a response header");
        let response = R::Response::decode(&mut frame, version).expect("a response");
        assert!(frame.is_empty(), "{} bytes behind the response", frame.len());
        (header.correlation_id, response)
    }

    /// Sends a frame: its size and these bytes.
    pub fn send_frame(&mut self, frame: &[u8]) {
        self.send_bytes(&on_wire(frame));
    }

    /// Sends bytes as they are.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.try_send_bytes(bytes).expect("the connection is open");
    }

    /// # Errors
    /// If the broker has closed the connection.
    pub fn try_send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes)
    }

    /// The next frame without its size; `None` when the broker has closed the connection.
    pub fn receive_frame(&mut self) -> Option<Bytes> {
        let mut size = [0; 4];
        if !self.fill(&mut size) {
            return None;
        }
        let mut frame = vec![0; usize::try_from(i32::from_be_bytes(size)).expect("a size")];
        assert!(self.fill(&mut frame) || frame.is_empty(), "a frame was cut off");
        Some(frame.into())
    }

    /// Says that no more will be sent; responses still arrive.
    pub fn finish_sending(&mut self) {
        self.socket.shutdown(std::net::Shutdown::Write).unwrap();
    }

    pub fn local_address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    /// False if the connection was closed before the first byte.
    fn fill(&mut self, buffer: &mut [u8]) -> bool {
        match self.socket.read_exact(buffer) {
            Ok(()) => true,
            Err(error) => match error.kind() {
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => false,
                _ => panic!("reading failed: {error}"),
            },
        }
    }
}

/// A frame with its size in front.
pub fn on_wire(frame: &[u8]) -> Vec<u8> {
    let size = i32::try_from(frame.len()).expect("a frame below 2 GiB");
    [&size.to_be_bytes(), frame].concat()
}

/// A request's frame, header first, without the size.
pub fn encode<R: Request>(version: i16, correlation_id: i32, request: &R) -> Bytes {
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation_id)
        .with_client_id(Some(StrBytes::from_static_str("test")));
    let mut frame = BytesMut::new();
    header.encode(&mut frame, R::header_version(version)).expect("a header");
    request.encode(&mut frame, version).expect("a request of this version");
    frame.freeze()
}
