//! Bytes on the wire: the magic number, the frame header and the limits that both sides enforce.
//!
//! A frame is a header of 16 bytes (little-endian), then `message` bytes of prost, then `payload` raw bytes:
//!
//! | bytes | field |
//! |---|---|
//! | 0..4 | length of the message |
//! | 4..8 | length of the payload |
//! | 8..12 | stream number, chosen by the caller, 0 for the connection itself |
//! | 12..14 | method number in a `Request`, else 0 |
//! | 14 | [`Kind`] |
//! | 15 | flags |

use crate::error::{Code, Error, Result};
use bytes::{BufMut, BytesMut};
use prost::Message;

/// First bytes of a connection, both ways; the last one is the version of this framing. HTTP starts with a letter.
pub(crate) const MAGIC: [u8; 8] = *b"\x89GFS\r\n\x1a\x01";

/// Bytes of a header.
pub(crate) const HEADER: usize = 16;

/// A longer message is refused, by the sender too.
pub(crate) const MAX_MESSAGE: usize = 4 << 20;

/// A longer payload is split by the sender and refused by the receiver.
pub(crate) const MAX_PAYLOAD: usize = 1 << 20;

/// Longest message before the peer is known.
pub(crate) const MAX_HELLO: usize = 64 << 10;

/// Bytes a sender may be ahead of the consumer of one stream.
pub(crate) const WINDOW: usize = 4 << 20;

/// Consumed bytes are granted back in steps of this size, so one credit frame serves several payloads.
pub(crate) const GRANT: usize = WINDOW / 4;

/// The frame has a message, perhaps an empty one.
pub(crate) const HAS_MESSAGE: u8 = 1;

/// The caller sends nothing more in this stream.
pub(crate) const LAST: u8 = 2;

/// What a frame is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Kind {
    /// Opens a stream; the message is the request.
    Request = 1,
    /// A message or payload within a stream, either way.
    Data = 2,
    /// The answering side ends the stream well; a message is the answer.
    End = 3,
    /// The answering side ends the stream with a `WireError`.
    Error = 4,
    /// The calling side gives the stream up.
    Cancel = 5,
    /// The message is a u32: so many more bytes may be sent in this stream.
    Credit = 6,
    /// Answered at once by a `Pong` with the same stream number.
    Ping = 7,
    /// Answers a `Ping`.
    Pong = 8,
    /// The answering side takes no new streams.
    GoAway = 9,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Kind> {
        Some(match byte {
            1 => Kind::Request,
            2 => Kind::Data,
            3 => Kind::End,
            4 => Kind::Error,
            5 => Kind::Cancel,
            6 => Kind::Credit,
            7 => Kind::Ping,
            8 => Kind::Pong,
            9 => Kind::GoAway,
            _ => return None,
        })
    }
}

/// A decoded header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    pub(crate) message: usize,
    pub(crate) payload: usize,
    pub(crate) stream: u32,
    pub(crate) method: u16,
    pub(crate) kind: Kind,
    pub(crate) flags: u8,
}

impl Header {
    /// A header of a frame without message and payload.
    pub(crate) fn new(kind: Kind, stream: u32) -> Header {
        Header { message: 0, payload: 0, stream, method: 0, kind, flags: 0 }
    }

    /// Whether `flag` is set.
    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Bytes after the header.
    pub(crate) fn body(&self) -> usize {
        self.message + self.payload
    }

    /// Reads a header; `max_message` bounds its message.
    ///
    /// # Errors
    /// `Corrupt`: the peer does not speak this protocol, or is hostile.
    pub(crate) fn decode(bytes: &[u8; HEADER], max_message: usize) -> Result<Header> {
        let [m0, m1, m2, m3, p0, p1, p2, p3, s0, s1, s2, s3, n0, n1, kind, flags] = *bytes;
        let header = Header {
            message: u32::from_le_bytes([m0, m1, m2, m3]) as usize,
            payload: u32::from_le_bytes([p0, p1, p2, p3]) as usize,
            stream: u32::from_le_bytes([s0, s1, s2, s3]),
            method: u16::from_le_bytes([n0, n1]),
            kind: Kind::from_byte(kind)
                .ok_or_else(|| Error::new(Code::Corrupt, format!("frame of unknown kind {kind}")))?,
            flags,
        };
        if header.message > max_message {
            return Err(too_long("message", header.message, max_message));
        }
        let max_payload = if header.kind == Kind::Data { MAX_PAYLOAD } else { 0 };
        if header.payload > max_payload {
            return Err(too_long("payload", header.payload, max_payload));
        }
        Ok(header)
    }

    /// Appends the header to `out`.
    pub(crate) fn encode(&self, out: &mut BytesMut) {
        let length = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        out.put_u32_le(length(self.message));
        out.put_u32_le(length(self.payload));
        out.put_u32_le(self.stream);
        out.put_u16_le(self.method);
        out.put_u8(self.kind as u8);
        out.put_u8(self.flags);
    }
}

fn too_long(what: &str, length: usize, limit: usize) -> Error {
    Error::new(Code::Corrupt, format!("frame with a {what} of {length} bytes, at most {limit} are allowed"))
}

/// Appends a frame that carries `message`.
///
/// # Errors
/// `InvalidArgument` when the message is longer than a frame may carry; nothing is appended then.
pub(crate) fn encode<M: Message>(mut header: Header, message: &M, out: &mut BytesMut) -> Result<()> {
    header.message = message.encoded_len();
    header.flags |= HAS_MESSAGE;
    if header.message > MAX_MESSAGE {
        let text = format!("a message of {} bytes is too long, at most {MAX_MESSAGE} fit", header.message);
        return Err(Error::new(Code::InvalidArgument, text));
    }
    out.reserve(HEADER + header.message);
    header.encode(out);
    message.encode_raw(out);
    Ok(())
}

/// Appends a frame with `amount` bytes of credit.
pub(crate) fn encode_credit(stream: u32, amount: u32, out: &mut BytesMut) {
    Header { message: 4, ..Header::new(Kind::Credit, stream) }.encode(out);
    out.put_u32_le(amount);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_header_is_decoded_or_refused_within_the_limits(bytes in any::<[u8; HEADER]>()) {
            if let Ok(header) = Header::decode(&bytes, MAX_HELLO) {
                prop_assert!(header.message <= MAX_HELLO);
                prop_assert!(header.payload <= MAX_PAYLOAD);
                let mut again = BytesMut::new();
                header.encode(&mut again);
                prop_assert_eq!(&again[..], &bytes[..]);
            }
        }
    }

    #[test]
    fn the_magic_is_told_from_http_by_its_first_byte() {
        assert!(!MAGIC[0].is_ascii());
    }

    #[test]
    fn lengths_beyond_the_limits_are_refused() {
        let mut bytes = BytesMut::new();
        Header { payload: MAX_PAYLOAD + 1, ..Header::new(Kind::Data, 1) }.encode(&mut bytes);
        let refused = Header::decode(bytes[..].try_into().unwrap(), MAX_MESSAGE).unwrap_err();
        assert_eq!(refused.code, Code::Corrupt);
        assert!(refused.message.contains("1048577"), "{refused}");
    }
}
