//! The bytes of a frame: little-endian numbers, and byte strings with their length before them.
//!
//! `src/frame.ts` is the other side of this file.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use norikv_core::{Error, Result, Version};

/// Reads a frame from its front. Byte strings are slices of the frame, not copies.
#[derive(Debug)]
pub struct Reader(Bytes);

impl Reader {
    /// A reader of a whole frame.
    #[must_use]
    pub fn new(frame: Bytes) -> Self {
        Self(frame)
    }

    /// Whether everything was read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One byte.
    ///
    /// # Errors
    /// `Internal` if the frame ends before.
    pub fn u8(&mut self) -> Result<u8> {
        self.0.try_get_u8().map_err(|_| truncated())
    }

    /// A 16-bit number.
    ///
    /// # Errors
    /// `Internal` if the frame ends before.
    pub fn u16(&mut self) -> Result<u16> {
        self.0.try_get_u16_le().map_err(|_| truncated())
    }

    /// A 32-bit number.
    ///
    /// # Errors
    /// `Internal` if the frame ends before.
    pub fn u32(&mut self) -> Result<u32> {
        self.0.try_get_u32_le().map_err(|_| truncated())
    }

    /// A 64-bit number.
    ///
    /// # Errors
    /// `Internal` if the frame ends before.
    pub fn u64(&mut self) -> Result<u64> {
        self.0.try_get_u64_le().map_err(|_| truncated())
    }

    /// A JavaScript number.
    ///
    /// # Errors
    /// `Internal` if the frame ends before.
    pub fn f64(&mut self) -> Result<f64> {
        self.0.try_get_f64_le().map_err(|_| truncated())
    }

    /// Bytes of a known length.
    ///
    /// # Errors
    /// `Internal` if the frame ends before.
    pub fn take(&mut self, length: usize) -> Result<Bytes> {
        if length > self.0.len() {
            return Err(truncated());
        }
        Ok(self.0.split_to(length))
    }

    /// A byte string with a 32-bit length before it.
    ///
    /// # Errors
    /// `Internal` if the frame ends before.
    pub fn bytes(&mut self) -> Result<Bytes> {
        let length = self.u32()? as usize;
        self.take(length)
    }

    /// Text with a 32-bit length before it.
    ///
    /// # Errors
    /// `Internal` if the frame ends before, or the text is not UTF-8.
    pub fn text(&mut self) -> Result<String> {
        String::from_utf8(self.bytes()?.into()).map_err(|_| Error::internal("a text of a frame is not UTF-8"))
    }

    /// A version.
    ///
    /// # Errors
    /// `Internal` if the frame ends before.
    pub fn version(&mut self) -> Result<Version> {
        Ok(Version::new(self.u64()?, self.u64()?))
    }
}

fn truncated() -> Error {
    Error::internal("a frame ends before its last call does; the two sides of the binding differ")
}

/// Writes a frame, into a buffer that grows or into a page that does not.
#[derive(Debug, Default)]
pub struct Writer<B = BytesMut>(pub B);

impl<B: BufMut> Writer<B> {
    /// One byte.
    pub fn u8(&mut self, number: u8) {
        self.0.put_u8(number);
    }

    /// A 32-bit number.
    pub fn u32(&mut self, number: u32) {
        self.0.put_u32_le(number);
    }

    /// A 64-bit number.
    pub fn u64(&mut self, number: u64) {
        self.0.put_u64_le(number);
    }

    /// A JavaScript number.
    pub fn f64(&mut self, number: f64) {
        self.0.put_f64_le(number);
    }

    /// Text with a 32-bit length before it.
    pub fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// A byte string with a 32-bit length before it. No store holds, and no page has, 4 GiB of them.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        self.0.put_slice(bytes);
    }

    /// A version.
    pub fn version(&mut self, version: Version) {
        self.u64(version.term);
        self.u64(version.index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut writer = Writer::<BytesMut>::default();
        writer.u8(7);
        writer.u32(u32::MAX);
        writer.u64(u64::MAX);
        writer.bytes(b"\0\xff");
        writer.version(Version::new(1, 2));
        let mut reader = Reader::new(writer.0.freeze());
        assert_eq!(reader.u8().unwrap(), 7);
        assert_eq!(reader.u32().unwrap(), u32::MAX);
        assert_eq!(reader.u64().unwrap(), u64::MAX);
        assert_eq!(reader.bytes().unwrap().as_ref(), b"\0\xff");
        assert_eq!(reader.version().unwrap(), Version::new(1, 2));
        assert!(reader.is_empty());
    }

    #[test]
    fn a_frame_that_ends_early_is_an_error_wherever_it_ends() {
        let mut writer = Writer::<BytesMut>::default();
        writer.bytes(b"abc");
        writer.u64(1);
        let whole = writer.0.freeze();
        for end in 0..whole.len() {
            let mut reader = Reader::new(whole.slice(..end));
            assert!(reader.bytes().and_then(|_| reader.u64()).is_err());
        }
    }
}
