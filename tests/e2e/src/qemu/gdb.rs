//! The part of GDB's remote protocol that the harness needs to look into a machine and to damage
//! it. The protocol: GDB manual, appendix "Remote Serial Protocol"; physical memory: QEMU
//! docs/system/gdb.rst.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use object::Endianness;

const TIMEOUT: Duration = Duration::from_secs(120);
/// Bytes of memory in one request: QEMU's stub refuses more than 2048.
const CHUNK: usize = 1024;

/// The gdbstub refused something or went away.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection could not be made, or broke, or was silent for too long.
    #[error("gdbstub: {doing}: the connection broke or timed out")]
    Connection {
        /// What was being done.
        doing: String,
        /// Why.
        source: io::Error,
    },
    /// It answered something else than what the request calls for.
    #[error("gdbstub: {request}: unexpected answer {answer:?}")]
    Answer {
        /// What was asked.
        request: String,
        /// What came.
        answer: String,
    },
}

/// A connection to the gdbstub. The machine stands still while one begins; it goes on with
/// [`Gdb::run_to`] and after [`Gdb::detach`].
#[derive(Debug)]
pub struct Gdb {
    socket: UnixStream,
}

impl Gdb {
    /// Connects; the machine stops. Memory addresses are physical from here on.
    pub(super) fn connect(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Connection { doing: "connect".into(), source };
        let socket = UnixStream::connect(path).map_err(failed)?;
        socket.set_read_timeout(Some(TIMEOUT)).map_err(failed)?;
        let mut gdb = Self { socket };
        gdb.ask("Qqemu.PhyMemMode:1", "OK")?;
        Ok(gdb)
    }

    /// Reads guest memory at a physical address.
    pub fn read(&mut self, address: u64, length: usize) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            let next = CHUNK.min(length - bytes.len());
            bytes.extend(self.read_chunk(address + bytes.len() as u64, next)?);
        }
        Ok(bytes)
    }

    /// The program counter: the register of this number in QEMU's description of the CPU.
    pub fn program_counter(&mut self, number: u32, endian: Endianness) -> Result<u64, Error> {
        let request = format!("p{number:x}");
        let answer = self.request(&request)?;
        let mut bytes = [0; 8];
        let found = bytes_of(&answer).filter(|found| [4, 8].contains(&found.len()));
        let found = found.ok_or(Error::Answer { request, answer })?;
        match endian {
            Endianness::Little => {
                bytes[..found.len()].copy_from_slice(&found);
                Ok(u64::from_le_bytes(bytes))
            }
            Endianness::Big => {
                bytes[8 - found.len()..].copy_from_slice(&found);
                Ok(u64::from_be_bytes(bytes))
            }
        }
    }

    fn read_chunk(&mut self, address: u64, length: usize) -> Result<Vec<u8>, Error> {
        let request = format!("m{address:x},{length:x}");
        let answer = self.request(&request)?;
        let bytes = bytes_of(&answer).filter(|bytes| bytes.len() == length);
        bytes.ok_or(Error::Answer { request, answer })
    }

    /// Writes guest memory at a physical address.
    pub fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), Error> {
        for (address, chunk) in (address..).step_by(CHUNK).zip(bytes.chunks(CHUNK)) {
            let hex: String = chunk.iter().map(|byte| format!("{byte:02x}")).collect();
            self.ask(&format!("M{address:x},{:x}:{hex}", chunk.len()), "OK")?;
        }
        Ok(())
    }

    /// Lets the machine run until an instruction at virtual address `address` is next on any CPU.
    pub fn run_to(&mut self, address: u64) -> Result<(), Error> {
        self.ask(&format!("Z1,{address:x},1"), "OK")?;
        let answer = self.request("c")?;
        if !answer.starts_with("T05") {
            return Err(Error::Answer { request: format!("run to {address:#x}"), answer });
        }
        self.ask(&format!("z1,{address:x},1"), "OK")
    }

    /// Lets the machine run until something has read at virtual address `address`.
    pub fn run_to_read(&mut self, address: u64) -> Result<(), Error> {
        self.ask(&format!("Z3,{address:x},1"), "OK")?;
        let answer = self.request("c")?;
        if !answer.starts_with("T05") {
            return Err(Error::Answer {
                request: format!("run to a read at {address:#x}"),
                answer,
            });
        }
        self.ask(&format!("z3,{address:x},1"), "OK")
    }

    /// Ends the connection; the machine goes on.
    pub fn detach(mut self) -> Result<(), Error> {
        self.ask("D", "OK")
    }

    fn ask(&mut self, request: &str, expected: &str) -> Result<(), Error> {
        let answer = self.request(request)?;
        if answer == expected {
            return Ok(());
        }
        Err(Error::Answer { request: request.into(), answer })
    }

    fn request(&mut self, request: &str) -> Result<String, Error> {
        let failed = |source| Error::Connection { doing: request.to_owned(), source };
        let packet = format!("${request}#{:02x}", checksum(request.as_bytes()));
        self.socket.write_all(packet.as_bytes()).map_err(failed)?;
        self.answer().map_err(failed)
    }

    /// The next packet's content; acknowledgements before it are skipped.
    fn answer(&mut self) -> io::Result<String> {
        while self.byte()? != b'$' {}
        let mut content = Vec::new();
        loop {
            match self.byte()? {
                b'#' => break,
                byte => content.push(byte),
            }
        }
        // A local socket does not garble: the checksum is read, not checked, and acknowledged.
        let _checksum = [self.byte()?, self.byte()?];
        // After a detach the machine may have ended by now, and QEMU with it. Whether it is there
        // is the next request's question.
        let _ = self.socket.write_all(b"+");
        Ok(String::from_utf8_lossy(&content).into_owned())
    }

    fn byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        self.socket.read_exact(&mut byte)?;
        Ok(byte[0])
    }
}

/// The bytes that an answer has as hexadecimal digits.
fn bytes_of(answer: &str) -> Option<Vec<u8>> {
    let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
    answer.as_bytes().chunks(2).map(byte).collect()
}

fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

#[cfg(test)]
mod tests {
    #[test]
    fn checksum_is_the_sum_modulo_256() {
        assert_eq!(super::checksum(b"OK"), 0x9a);
    }
}
