//! LZO1X blocks, as kernel 6.1 Documentation/staging/lzo.rst describes them.
//!
//! An own decoder: the published ones in Rust either carry a licence that this project cannot
//! take or panic on damaged data.

/// Unpacks `input` into `output` and returns the number of bytes written.
pub(super) fn decompress(input: &[u8], output: &mut [u8]) -> Result<usize, Lzo1xError> {
    let mut decoder = Decoder { input, position: 0, output, written: 0 };
    decoder.run()?;
    Ok(decoder.written)
}

/// Why a block cannot be unpacked.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Lzo1xError {
    #[error("the LZO1X block ends without an end mark")]
    Truncated,
    #[error("the LZO1X block unpacks to more bytes than it states")]
    TooLong,
    #[error("LZO1X: a copy from {distance} bytes back, but only {written} were written")]
    Distance { distance: usize, written: usize },
}

struct Decoder<'a> {
    input: &'a [u8],
    position: usize,
    output: &'a mut [u8],
    written: usize,
}

/// "State" of lzo.rst: what the instruction before copied, which decides what 0..=15 mean.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// No literal.
    None,
    /// One to three literals, as an instruction's low bits told.
    Few,
    /// Four literals or more.
    Many,
}

impl Decoder<'_> {
    fn run(&mut self) -> Result<(), Lzo1xError> {
        let mut state = self.first()?;
        loop {
            let instruction = self.byte()?;
            let low = usize::from(instruction);
            let (length, distance, literals) = match instruction {
                0..=15 if state == State::None => {
                    let length = self.length(low, 15)? + 3;
                    self.literals(length)?;
                    state = State::Many;
                    continue;
                }
                0..=15 => {
                    let distance = (usize::from(self.byte()?) << 2) + (low >> 2);
                    match state {
                        State::Many => (3, distance + 2049, low & 3),
                        State::None | State::Few => (2, distance + 1, low & 3),
                    }
                }
                16..=31 => {
                    let length = self.length(low & 7, 7)? + 2;
                    let word = self.word()?;
                    let distance = ((low & 8) << 11) + (word >> 2);
                    if distance == 0 {
                        return Ok(()); // the end mark
                    }
                    (length, distance + 16384, word & 3)
                }
                32..=63 => {
                    let length = self.length(low & 31, 31)? + 2;
                    let word = self.word()?;
                    (length, (word >> 2) + 1, word & 3)
                }
                64..=255 => {
                    let distance = (usize::from(self.byte()?) << 3) + (low >> 2 & 7) + 1;
                    let length = if low < 128 { 3 + (low >> 5 & 1) } else { 5 + (low >> 5 & 3) };
                    (length, distance, low & 3)
                }
            };
            self.copy(length, distance)?;
            self.literals(literals)?;
            state = if literals == 0 { State::None } else { State::Few };
        }
    }

    /// A first byte above 17 is a run of literals; any other is an instruction already.
    fn first(&mut self) -> Result<State, Lzo1xError> {
        let first = *self.input.first().ok_or(Lzo1xError::Truncated)?;
        let Some(length) = first.checked_sub(17).filter(|length| *length > 0) else {
            return Ok(State::None);
        };
        self.position = 1;
        self.literals(length.into())?;
        Ok(if length < 4 { State::Few } else { State::Many })
    }

    fn byte(&mut self) -> Result<u8, Lzo1xError> {
        let byte = *self.input.get(self.position).ok_or(Lzo1xError::Truncated)?;
        self.position += 1;
        Ok(byte)
    }

    fn word(&mut self) -> Result<usize, Lzo1xError> {
        Ok(u16::from_le_bytes([self.byte()?, self.byte()?]).into())
    }

    /// A length of 0 in the instruction means `base`, 255 for each zero byte, and one more byte.
    fn length(&mut self, length: usize, base: usize) -> Result<usize, Lzo1xError> {
        if length > 0 {
            return Ok(length);
        }
        let mut length = base;
        loop {
            // The sum cannot overflow: each step takes a byte of the input.
            match self.byte()? {
                0 => length = length.saturating_add(255),
                last => return Ok(length.saturating_add(last.into())),
            }
        }
    }

    fn literals(&mut self, length: usize) -> Result<(), Lzo1xError> {
        let from = self.input[self.position..].get(..length).ok_or(Lzo1xError::Truncated)?;
        let to = self.output[self.written..].get_mut(..length).ok_or(Lzo1xError::TooLong)?;
        to.copy_from_slice(from);
        self.position += length;
        self.written += length;
        Ok(())
    }

    /// Repeats what was written `distance` bytes back; the copy may reach into itself.
    fn copy(&mut self, length: usize, distance: usize) -> Result<(), Lzo1xError> {
        let written = self.written;
        let from =
            written.checked_sub(distance).ok_or(Lzo1xError::Distance { distance, written })?;
        if length > self.output.len() - written {
            return Err(Lzo1xError::TooLong);
        }
        let mut left = length;
        while left > 0 {
            // Whole periods at a time: what was copied doubles with each round.
            let step = left.min(self.written - from);
            self.output.copy_within(from..from + step, self.written);
            self.written += step;
            left -= step;
        }
        Ok(())
    }
}
