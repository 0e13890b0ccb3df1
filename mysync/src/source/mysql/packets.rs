//! Packets of MySQL's protocol over a byte stream, each handed out where it lies in memory.
//!
//! A packet is sent in chunks of at most [`CHUNK_BYTES_MAX`], each behind its length (3 bytes) and its number (1 byte); the
//! first chunk that is shorter than that ends the packet. What fits into the buffer is never copied; what does not is put
//! together once, straight from the stream, or handed out in pieces as they come.

use std::io::{Error, ErrorKind, Result};
use std::ops::Range;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

const HEADER_BYTES: usize = 4;
const CHUNK_BYTES_MAX: usize = 0xff_ffff;

/// Bytes that are read ahead.
const BUFFER_BYTES: usize = 256 << 10;

/// The first piece of a packet has at least so many.
const FIRST_PIECE_BYTES_MIN: usize = 512;

/// Memory for large packets that is kept from one to the next, bytes.
const KEPT_BYTES_MAX: usize = 1 << 20;

pub(super) struct Packets<T> {
    stream: T,
    buffer: Box<[u8]>,
    /// What has been read and not been taken.
    unread: Range<usize>,
    /// The packet at hand, or its piece, if it lies in the buffer.
    in_buffer: Option<Range<usize>>,
    /// The packet at hand otherwise, or as much of it as has come.
    assembled: Vec<u8>,
    /// Bytes of the chunk at hand that have not come; `None` between chunks.
    chunk_left: Option<usize>,
    is_last_chunk: bool,
    is_complete: bool,
    /// How many pieces of the packet have been handed out, if it comes in pieces.
    pieces: Option<u64>,
    number: u8,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Packets<T> {
    pub(super) fn new(stream: T) -> Self {
        Self {
            stream,
            buffer: vec![0; BUFFER_BYTES].into(),
            unread: 0..0,
            in_buffer: None,
            assembled: Vec::new(),
            chunk_left: None,
            is_last_chunk: true,
            is_complete: true,
            pieces: None,
            number: 0,
        }
    }

    /// The same conversation over another stream, made of this one. What was read ahead would be lost, and cannot be trusted
    /// where the other is encrypted: it is refused.
    pub(super) async fn over<U, E>(
        self,
        other: impl AsyncFnOnce(T) -> std::result::Result<U, E>,
    ) -> std::result::Result<Packets<U>, E>
    where
        U: AsyncRead + AsyncWrite + Unpin,
        E: From<Error>,
    {
        if !self.unread.is_empty() {
            return Err(Error::new(ErrorKind::InvalidData, "bytes that came too early").into());
        }
        let mut packets = Packets::new(other(self.stream).await?);
        packets.number = self.number;
        Ok(packets)
    }

    /// The packet that [`Packets::fill`] brought.
    pub(super) fn packet(&self) -> &[u8] {
        match &self.in_buffer {
            Some(range) => &self.buffer[range.clone()],
            None => &self.assembled,
        }
    }

    /// Whether what is at hand goes on with the packet of which the last piece was one.
    pub(super) fn is_continued(&self) -> bool {
        self.pieces.is_some_and(|pieces| pieces > 1)
    }

    /// Waits for the next packet or, if it is larger than the buffer and allows it by its first bytes, for its next piece.
    /// Dropping the future while it waits loses nothing.
    pub(super) async fn fill(&mut self, allows_pieces: impl Fn(&[u8]) -> bool) -> Result<()> {
        loop {
            if self.is_complete {
                self.is_complete = false;
                self.in_buffer = None;
                self.pieces = None;
                self.assembled.clear();
                self.assembled.shrink_to(KEPT_BYTES_MAX);
            }
            match (self.chunk_left, self.pieces) {
                (None, _) => self.begin_chunk().await?,
                // The empty chunk behind full ones.
                (Some(0), Some(_)) => self.end_chunk(),
                (Some(left), Some(pieces)) => return self.take_piece(left, pieces).await,
                (Some(left), None) if self.is_large(left) && self.begins_with(&allows_pieces).await? => {
                    self.pieces = Some(0);
                }
                (Some(left), None) => self.take_chunk(left).await?,
            }
            if self.is_complete && self.pieces.is_none() {
                return Ok(());
            }
        }
    }

    async fn begin_chunk(&mut self) -> Result<()> {
        self.read_ahead(HEADER_BYTES).await?;
        let header = &self.buffer[self.unread.start..self.unread.start + HEADER_BYTES];
        let length = usize::from(header[0]) | usize::from(header[1]) << 8 | usize::from(header[2]) << 16;
        if header[3] != self.number {
            let what = format!("packet number {} instead of {}", header[3], self.number);
            return Err(Error::new(ErrorKind::InvalidData, what));
        }
        self.number = self.number.wrapping_add(1);
        self.unread.start += HEADER_BYTES;
        self.chunk_left = Some(length);
        self.is_last_chunk = length < CHUNK_BYTES_MAX;
        Ok(())
    }

    fn end_chunk(&mut self) {
        self.chunk_left = None;
        self.is_complete = self.is_last_chunk;
    }

    /// Whether a packet of which nothing has been taken, and so much is left in its first chunk, is larger than the buffer.
    fn is_large(&self, left: usize) -> bool {
        self.assembled.is_empty() && (!self.is_last_chunk || left > BUFFER_BYTES)
    }

    async fn begins_with(&mut self, allows_pieces: impl Fn(&[u8]) -> bool) -> Result<bool> {
        self.read_ahead(FIRST_PIECE_BYTES_MIN).await?;
        Ok(allows_pieces(&self.buffer[self.unread.clone()]))
    }

    /// Takes what has come of the chunk, and waits if that is nothing.
    async fn take_piece(&mut self, left: usize, pieces: u64) -> Result<()> {
        self.read_ahead(1).await?;
        let begin = self.unread.start;
        let end = begin + left.min(self.unread.len());
        self.in_buffer = Some(begin..end);
        self.unread.start = end;
        self.pieces = Some(pieces + 1);
        self.chunk_left = Some(left - (end - begin));
        if end - begin == left {
            self.end_chunk();
        }
        Ok(())
    }

    async fn take_chunk(&mut self, left: usize) -> Result<()> {
        if self.is_last_chunk && self.assembled.is_empty() && left <= BUFFER_BYTES {
            self.read_ahead(left).await?;
            self.in_buffer = Some(self.unread.start..self.unread.start + left);
            self.unread.start += left;
            self.end_chunk();
            return Ok(());
        }
        let at_hand = left.min(self.unread.len());
        let begin = self.unread.start;
        self.assembled.extend_from_slice(&self.buffer[begin..begin + at_hand]);
        self.unread.start += at_hand;
        let mut left = left - at_hand;
        self.chunk_left = Some(left);
        while left > 0 {
            let mut chunk = (&mut self.stream).take(left as u64);
            let read = chunk.read_buf(&mut self.assembled).await?;
            require_some(read)?;
            left -= read;
            self.chunk_left = Some(left);
        }
        self.end_chunk();
        Ok(())
    }

    /// Waits until so many bytes, at most the buffer's size, are unread.
    async fn read_ahead(&mut self, bytes: usize) -> Result<()> {
        while self.unread.len() < bytes {
            if self.unread.is_empty() || self.unread.start + bytes > BUFFER_BYTES {
                self.buffer.copy_within(self.unread.clone(), 0);
                self.unread = 0..self.unread.len();
            }
            let read = self.stream.read(&mut self.buffer[self.unread.end..]).await?;
            require_some(read)?;
            self.unread.end += read;
        }
        Ok(())
    }

    /// Sends the first packet of a command.
    pub(super) async fn command(&mut self, packet: &[u8]) -> Result<()> {
        self.number = 0;
        self.send(packet).await
    }

    /// Sends a packet smaller than a chunk; what we send is.
    pub(super) async fn send(&mut self, packet: &[u8]) -> Result<()> {
        let length = u32::try_from(packet.len())
            .ok()
            .filter(|length| (*length as usize) < CHUNK_BYTES_MAX);
        let Some(length) = length else {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "a packet of more than 16 MiB is to be sent",
            ));
        };
        let mut bytes = length.to_le_bytes().to_vec();
        bytes[3] = self.number;
        self.number = self.number.wrapping_add(1);
        bytes.extend_from_slice(packet);
        self.stream.write_all(&bytes).await?;
        self.stream.flush().await
    }
}

fn require_some(read: usize) -> Result<()> {
    match read {
        0 => Err(Error::new(ErrorKind::UnexpectedEof, "the server closed the connection")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use proptest::prelude::*;
    use tokio::io::DuplexStream;

    /// As a server sends them.
    fn framed(packets: &[Vec<u8>]) -> Vec<u8> {
        let (mut bytes, mut number) = (Vec::new(), 0_u8);
        for packet in packets {
            let mut rest = &packet[..];
            loop {
                let (chunk, after) = rest.split_at(rest.len().min(CHUNK_BYTES_MAX));
                bytes.extend_from_slice(&u32::try_from(chunk.len()).unwrap().to_le_bytes()[..3]);
                bytes.push(number);
                number = number.wrapping_add(1);
                bytes.extend_from_slice(chunk);
                rest = after;
                if chunk.len() < CHUNK_BYTES_MAX {
                    break;
                }
            }
        }
        bytes
    }

    /// Waits for what is sent so many bytes at a time; the future is dropped each time it has to wait.
    async fn fill(reader: &mut Packets<DuplexStream>, sender: &mut Sender<'_>, in_pieces: bool) {
        loop {
            match reader.fill(|_| in_pieces).now_or_never() {
                Some(outcome) => return outcome.unwrap(),
                None => sender.send().await,
            }
        }
    }

    struct Sender<'b> {
        stream: DuplexStream,
        bytes: &'b [u8],
        lengths: Vec<usize>,
    }

    impl Sender<'_> {
        async fn send(&mut self) {
            let (now, later) = self.bytes.split_at(self.lengths[0].min(self.bytes.len()));
            self.stream.write_all(now).await.unwrap();
            self.bytes = later;
            self.lengths.rotate_left(1);
            // Whoever never waits is not let read for ever.
            tokio::task::yield_now().await;
        }
    }

    /// Reads packets that are sent so many bytes at a time, each as a whole or in pieces.
    fn read(packets: &[Vec<u8>], lengths: &[usize], in_pieces: bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (near, stream) = tokio::io::duplex(1 << 20);
            let mut reader = Packets::new(near);
            let bytes = framed(packets);
            let lengths = lengths.to_vec();
            let mut sender = Sender {
                stream,
                bytes: &bytes,
                lengths,
            };
            for packet in packets {
                fill(&mut reader, &mut sender, in_pieces).await;
                assert!(!reader.is_continued());
                let mut got = reader.packet().to_vec();
                assert!(got.len() >= packet.len().min(FIRST_PIECE_BYTES_MIN));
                while got.len() < packet.len() {
                    assert!(in_pieces && packet.len() > BUFFER_BYTES);
                    fill(&mut reader, &mut sender, in_pieces).await;
                    assert!(reader.is_continued() && !reader.packet().is_empty());
                    got.extend_from_slice(reader.packet());
                }
                assert!(&got == packet, "a packet of {} bytes", packet.len());
            }
            drop(sender);
            let error = reader.fill(|_| in_pieces).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
        });
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn packets_come_out_as_they_went_in(
            lengths in prop::collection::vec(prop_oneof![0..300_usize, 200_000..600_000_usize], 0..8),
            sent in prop::collection::vec(1..400_000_usize, 1..6),
            in_pieces in any::<bool>(),
        ) {
            let packet = |(index, length): (usize, &usize)| (0..*length).map(|at| (at / 7 + index) as u8).collect();
            let packets: Vec<Vec<u8>> = lengths.iter().enumerate().map(packet).collect();
            read(&packets, &sent, in_pieces);
        }
    }

    #[test]
    fn packets_of_several_chunks_end_with_a_short_one() {
        for length in [
            CHUNK_BYTES_MAX - 1,
            CHUNK_BYTES_MAX,
            CHUNK_BYTES_MAX + 1,
            2 * CHUNK_BYTES_MAX,
        ] {
            for in_pieces in [false, true] {
                read(&[vec![7; length], vec![8; 3]], &[900_000], in_pieces);
            }
        }
    }

    #[test]
    fn a_packet_that_is_missing_is_noticed() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (near, mut far) = tokio::io::duplex(64);
            far.write_all(&[1, 0, 0, 0, 5, 1, 0, 0, 2, 5]).await.unwrap();
            let mut reader = Packets::new(near);
            reader.fill(|_| false).await.unwrap();
            assert_eq!(reader.packet(), [5]);
            assert_eq!(reader.fill(|_| false).await.unwrap_err().kind(), ErrorKind::InvalidData);
        });
    }
}
