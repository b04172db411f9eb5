use memmap2::MmapMut;
use norikv_core::{Error, ErrorKind, Result};

/// How many rows the first piece has, as a power of two. Each piece after it has twice as many.
const FIRST_SHIFT: u32 = 6;
/// Pieces from this size on are put on huge pages, where the system has them: rows are read here and there, and with small
/// pages the processor has to look up where each one is. An index has few small pieces, so that many small indexes
/// take little.
#[cfg(target_os = "linux")]
const HUGE_FROM: usize = 2 * 1024 * 1024;

/// Rows of equal length that never move, by their numbers. What was never written takes no memory.
pub(crate) struct Arena {
    stride: usize,
    pieces: Vec<MmapMut>,
}

impl Arena {
    pub(crate) fn new(stride: usize) -> Self {
        Self { stride, pieces: Vec::new() }
    }

    /// The piece of a row, and where in it the row begins.
    fn place(&self, row: u32) -> (usize, usize) {
        let nth = (row >> FIRST_SHIFT) + 1;
        let piece = nth.ilog2();
        let first = ((1u32 << piece) - 1) << FIRST_SHIFT;
        (piece as usize, (row - first) as usize * self.stride)
    }

    /// A row; nothing, if it was never written.
    pub(crate) fn row(&self, row: u32) -> &[u8] {
        let (piece, at) = self.place(row);
        self.pieces.get(piece).and_then(|piece| piece.get(at..at + self.stride)).unwrap_or_default()
    }

    /// A row to be written. It is of zeros at first.
    ///
    /// # Errors
    /// `ResourceExhausted`: there is no memory for it.
    pub(crate) fn row_mut(&mut self, row: u32) -> Result<&mut [u8]> {
        let (piece, at) = self.place(row);
        while self.pieces.len() <= piece {
            let bytes = (self.stride << FIRST_SHIFT) << self.pieces.len();
            let map = MmapMut::map_anon(bytes).map_err(|error| {
                let message = format!("no memory for {bytes} bytes of vectors");
                Error::new(ErrorKind::ResourceExhausted, message).caused_by(error)
            })?;
            #[cfg(target_os = "linux")]
            if bytes >= HUGE_FROM {
                // Without huge pages it is the same, and slower.
                let _ = map.advise(memmap2::Advice::HugePage);
            }
            self.pieces.push(map);
        }
        let stride = self.stride;
        self.pieces
            .get_mut(piece)
            .and_then(|piece| piece.get_mut(at..at + stride))
            .ok_or_else(|| Error::internal("a row of vectors is outside of its piece"))
    }

    /// How many bytes `rows` rows take.
    pub(crate) fn bytes(&self, rows: usize) -> usize {
        rows * self.stride
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_a_place_of_its_own() {
        let mut arena = Arena::new(8);
        let rows = 10_000u32;
        for row in 0..rows {
            arena.row_mut(row).unwrap().copy_from_slice(&u64::from(row).to_ne_bytes());
        }
        for row in 0..rows {
            assert_eq!(arena.row(row), u64::from(row).to_ne_bytes());
        }
        assert_eq!(arena.row(u32::MAX), b"");
    }
}
