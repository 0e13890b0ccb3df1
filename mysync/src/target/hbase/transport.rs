//! The bytes below Thrift's messages, with a bound on every wait and every length.
//!
//! The runtime's own buffered transport writes in part, which the compact protocol does not look at, and its framed one trusts
//! any length that it reads; so both are done here.

use super::errors::FRAME_TOO_LARGE;
use crate::config::{HbaseProtocol, HbaseTransport};
use hbase_thrift2::THBaseServiceSyncClient;
use hbase_thrift2::thrift::protocol::{
    TBinaryInputProtocol, TBinaryOutputProtocol, TCompactInputProtocol, TCompactOutputProtocol, TInputProtocol,
    TOutputProtocol,
};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const BUFFER_BYTES: usize = 64 * 1024;

/// Longer answers come from something else than a gateway: a writer asks for nothing large.
const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;

/// The generated client over any protocol.
pub(super) type Client = THBaseServiceSyncClient<Box<dyn TInputProtocol + Send>, Box<dyn TOutputProtocol + Send>>;

/// How a gateway is reached.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    pub(super) address: String,
    pub(super) transport: HbaseTransport,
    pub(super) protocol: HbaseProtocol,
    pub(super) answer_timeout: Duration,
    pub(super) frame_bytes_max: usize,
}

impl Endpoint {
    /// A new connection.
    pub(super) fn open(&self) -> io::Result<Client> {
        let stream = self.connect()?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(self.answer_timeout))?;
        stream.set_write_timeout(Some(self.answer_timeout))?;
        let (reader, writer) = (BufReader::with_capacity(BUFFER_BYTES, stream.try_clone()?), stream);
        let (reader, writer): (Box<dyn Read + Send>, Box<dyn Write + Send>) = match self.transport {
            HbaseTransport::Buffered => (
                Box::new(reader),
                Box::new(BufWriter::with_capacity(BUFFER_BYTES, writer)),
            ),
            HbaseTransport::Framed => (
                Box::new(FramedReader::new(reader)),
                Box::new(FramedWriter::new(writer, self.frame_bytes_max)),
            ),
        };
        Ok(match self.protocol {
            HbaseProtocol::Binary => Client::new(
                Box::new(TBinaryInputProtocol::new(reader, true)),
                Box::new(TBinaryOutputProtocol::new(writer, true)),
            ),
            HbaseProtocol::Compact => Client::new(
                Box::new(TCompactInputProtocol::new(reader)),
                Box::new(TCompactOutputProtocol::new(writer)),
            ),
        })
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let mut failed = None;
        for address in self.address.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
                Ok(stream) => return Ok(stream),
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address")))
    }
}

/// Messages behind their lengths.
struct FramedReader<R> {
    inner: R,
    /// What is left of the frame.
    left: usize,
}

impl<R: Read> FramedReader<R> {
    fn new(inner: R) -> Self {
        Self { inner, left: 0 }
    }
}

impl<R: Read> Read for FramedReader<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.left == 0 {
            let mut length = [0; 4];
            self.inner.read_exact(&mut length)?;
            self.left = usize::try_from(i32::from_be_bytes(length))
                .ok()
                .filter(|length| *length <= ANSWER_BYTES_MAX)
                .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("a frame of length {length:?}")))?;
        }
        let bytes = into.len().min(self.left);
        let read = self.inner.read(&mut into[..bytes])?;
        self.left -= read;
        Ok(read)
    }
}

/// Gathers a message until it is flushed.
struct FramedWriter<W> {
    inner: W,
    /// The length, filled in at the end, and the message.
    frame: Vec<u8>,
    bytes_max: usize,
}

const LENGTH_BYTES: usize = 4;

impl<W: Write> FramedWriter<W> {
    fn new(inner: W, bytes_max: usize) -> Self {
        Self {
            inner,
            frame: vec![0; LENGTH_BYTES],
            bytes_max,
        }
    }
}

impl<W: Write> Write for FramedWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.frame.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let length = self.frame.len() - LENGTH_BYTES;
        let sent = match i32::try_from(length) {
            Ok(header) if length <= self.bytes_max => {
                self.frame[..LENGTH_BYTES].copy_from_slice(&header.to_be_bytes());
                self.inner.write_all(&self.frame)
            }
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{FRAME_TOO_LARGE}: {length} bytes"),
            )),
        };
        self.frame.truncate(LENGTH_BYTES);
        sent?;
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_a_length_and_a_message() {
        let mut bytes = Vec::new();
        let mut writer = FramedWriter::new(&mut bytes, 5);
        writer.write_all(b"ab").unwrap();
        writer.write_all(b"cde").unwrap();
        writer.flush().unwrap();
        writer.write_all(b"abcdef").unwrap();
        let error = writer.flush().unwrap_err();
        assert_eq!(error.to_string(), format!("{FRAME_TOO_LARGE}: 6 bytes"));
        writer.write_all(b"f").unwrap();
        writer.flush().unwrap();
        assert_eq!(bytes, b"\0\0\0\x05abcde\0\0\0\x01f");

        let mut reader = FramedReader::new(bytes.as_slice());
        let mut read = String::new();
        reader.by_ref().take(6).read_to_string(&mut read).unwrap();
        assert_eq!(read, "abcdef");
    }

    #[test]
    fn a_length_that_no_answer_has_is_refused() {
        for length in [b"\x80\x01\0\x02", b"\x7f\xff\xff\xff"] {
            let mut reader = FramedReader::new(length.as_slice());
            let error = reader.read(&mut [0; 8]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
    }
}
