//! Lines on a console, without `core::fmt`: its machinery would be half of the image.

/// Something that takes bytes and never waits for ever.
pub trait Console {
    /// Puts one byte, or drops it if the device does not take it in time.
    fn put_byte(&mut self, byte: u8);

    /// Puts text as it is.
    fn put_str(&mut self, text: &str) {
        text.bytes().for_each(|byte| self.put_byte(byte));
    }

    /// Puts `0x` and `value` in hexadecimal, without leading zeroes.
    fn put_hex(&mut self, value: u64) {
        self.put_str("0x");
        self.put_digits::<16>(value);
    }

    /// Puts `value` in decimal.
    fn put_decimal(&mut self, value: u64) {
        self.put_digits::<10>(value);
    }

    /// Puts `value` in base `BASE`, at most 16, without leading zeroes.
    fn put_digits<const BASE: u64>(&mut self, value: u64) {
        let mut place = 1;
        while value / place >= BASE {
            place *= BASE;
        }
        while place > 0 {
            // A remainder of a base up to 16: its lowest byte is all of it.
            let [digit, ..] = (value / place % BASE).to_le_bytes();
            self.put_byte(if digit < 10 { b'0' + digit } else { b'a' - 10 + digit });
            place /= BASE;
        }
    }

    /// Puts a name padded with NUL, as it stands in a [`Region`](crate::params::Region). Bytes
    /// that do not print become `?`.
    fn put_name(&mut self, name: &[u8]) {
        for &byte in name.iter().take_while(|&&byte| byte != 0) {
            self.put_byte(if byte.is_ascii_graphic() || byte == b' ' { byte } else { b'?' });
        }
    }

    /// Ends the line.
    fn end_line(&mut self) {
        self.put_str("\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::Console;

    struct Text(Vec<u8>);

    impl Console for Text {
        fn put_byte(&mut self, byte: u8) {
            self.0.push(byte);
        }
    }

    fn text(put: impl Fn(&mut Text)) -> String {
        let mut text = Text(Vec::new());
        put(&mut text);
        String::from_utf8(text.0).unwrap()
    }

    #[test]
    fn numbers_read_as_rust_formats_them() {
        for value in [0, 1, 9, 10, 15, 16, 99, 100, 0x1234_abcd, u64::MAX / 16, u64::MAX] {
            assert_eq!(text(|console| console.put_hex(value)), format!("{value:#x}"));
            assert_eq!(text(|console| console.put_decimal(value)), format!("{value}"));
        }
    }

    #[test]
    fn a_name_ends_at_its_padding_and_cannot_hurt_a_terminal() {
        assert_eq!(text(|console| console.put_name(b"initrd\0\0x")), "initrd");
        assert_eq!(text(|console| console.put_name(b"a b\x1b\xff")), "a b??");
    }
}
