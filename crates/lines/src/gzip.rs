//! What is in a gzip file: any number of members, as `zcat` reads them. Zeros behind the last one are padding, and other
//! bytes are garbage, which ends the stream and is reported.

use std::io::{self, BufRead, BufReader, Chain, Read};

use flate2::bufread::GzDecoder;

/// The first byte of a member, which is looked at before the member is read.
const FIRST: &[u8] = b"\x1f";
const SECOND: u8 = 0x8b;

/// Reads the members of a gzip file, one behind the other.
///
/// A file that ends inside a member is [`io::ErrorKind::UnexpectedEof`], a damaged one [`io::ErrorKind::InvalidData`];
/// what stands before was read.
#[derive(Debug)]
pub struct GzipMembers<R: Read> {
    state: State<R>,
    /// How many were read to their end.
    count: u64,
}

#[derive(Debug)]
enum State<R: Read> {
    Between(BufReader<R>),
    /// The first byte of a member was read.
    Begun(BufReader<R>),
    Inside(GzDecoder<Chain<&'static [u8], BufReader<R>>>),
    /// Something else follows.
    Garbage(BufReader<R>),
    /// While it changes.
    Changing,
}

// === impl GzipMembers ===

impl<R: Read> GzipMembers<R> {
    /// The content of `file`, which need not begin with a member.
    pub fn new(file: R) -> Self {
        Self { state: State::Between(BufReader::with_capacity(64 << 10, file)), count: 0 }
    }

    /// Whether something that is no gzip follows the last member. It is not read.
    pub fn has_garbage(&self) -> bool {
        matches!(self.state, State::Garbage(_))
    }

    /// The file.
    pub fn get_ref(&self) -> &R {
        match &self.state {
            State::Between(input) | State::Begun(input) | State::Garbage(input) => input.get_ref(),
            State::Inside(decoder) => decoder.get_ref().get_ref().1.get_ref(),
            State::Changing => unreachable!("a change is over when its call returns"),
        }
    }

    /// The file, at some place behind what was read.
    pub fn into_inner(self) -> R {
        match self.state {
            State::Between(input) | State::Begun(input) | State::Garbage(input) => input.into_inner(),
            State::Inside(decoder) => decoder.into_inner().into_inner().1.into_inner(),
            State::Changing => unreachable!("a change is over when its call returns"),
        }
    }

    /// Goes on between two members. `false` at the end.
    fn go_on(&mut self) -> io::Result<bool> {
        let (byte, is_end) = match &mut self.state {
            State::Between(input) | State::Begun(input) => {
                let buffer = input.fill_buf()?;
                (buffer.first().copied(), buffer.is_empty())
            }
            State::Inside(_) => return Ok(true),
            State::Garbage(_) | State::Changing => return Ok(false),
        };
        match std::mem::replace(&mut self.state, State::Changing) {
            State::Between(mut input) if byte == FIRST.first().copied() => {
                input.consume(1);
                self.state = State::Begun(input);
            }
            State::Between(mut input) if byte == Some(0) && self.count > 0 => {
                let zeros = input.buffer().iter().take_while(|byte| **byte == 0).count();
                input.consume(zeros);
                self.state = State::Between(input);
            }
            State::Between(input) if is_end => {
                self.state = State::Between(input);
                return Ok(false);
            }
            State::Begun(input) if byte == Some(SECOND) => {
                self.state = State::Inside(GzDecoder::new(FIRST.chain(input)));
            }
            State::Begun(input) if is_end => {
                self.state = State::Begun(input);
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            State::Between(input) | State::Begun(input) => self.state = State::Garbage(input),
            other => self.state = other,
        }
        Ok(true)
    }
}

impl<R: Read> Read for GzipMembers<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            if let State::Inside(decoder) = &mut self.state {
                let count = decoder.read(out).map_err(|error| match error.kind() {
                    // That is what the decoder calls damage.
                    io::ErrorKind::InvalidInput => io::Error::new(io::ErrorKind::InvalidData, error),
                    _ => error,
                })?;
                if count > 0 || out.is_empty() {
                    return Ok(count);
                }
                self.count += 1;
                if let State::Inside(decoder) = std::mem::replace(&mut self.state, State::Changing) {
                    self.state = State::Between(decoder.into_inner().into_inner().1);
                }
            } else if !self.go_on()? {
                return Ok(0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    /// Gives a byte at a time.
    struct Trickle<'a>(&'a [u8]);

    impl Read for Trickle<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let count = self.0.len().min(out.len()).min(1);
            self.0.read(&mut out[..count])
        }
    }

    #[test]
    fn what_follows_the_last_member_costs_nothing_of_what_stands_before_it() {
        let (one, two) = (gzip(b"one\n"), gzip(b"two\n"));
        let zeros = [0; 512];
        for (file, expect, garbage) in [
            (vec![&one[..]], "one\n", false),
            (vec![&one, &two], "one\ntwo\n", false),
            (vec![&one, &zeros], "one\n", false),
            (vec![&one, &zeros, &two, &zeros], "one\ntwo\n", false),
            (vec![&one, b"garbage"], "one\n", true),
            (vec![&one, &zeros, b"garbage"], "one\n", true),
            (vec![&one, b"\x1f\x00"], "one\n", true),
            (vec![&one, &two, b"x", &one], "one\ntwo\n", true),
        ] {
            let file = file.concat();
            for trickle in [false, true] {
                let input: Box<dyn Read> =
                    if trickle { Box::new(Trickle(&file)) } else { Box::new(&file[..]) };
                let mut members = GzipMembers::new(input);
                let mut content = String::new();
                members.read_to_string(&mut content).unwrap();
                assert_eq!((content.as_str(), members.has_garbage()), (expect, garbage));
            }
        }
    }

    #[test]
    fn a_file_that_was_cut_gives_what_is_there_and_an_error_wherever_it_was_cut() {
        let whole = [gzip(b"one\n"), gzip(b"two\n")].concat();
        for cut in 1..whole.len() {
            let mut content = Vec::new();
            let outcome = GzipMembers::new(&whole[..cut]).read_to_end(&mut content);
            assert_eq!(outcome.is_ok(), cut == whole.len() / 2, "{cut}");
            assert!(b"one\ntwo\n".starts_with(&content[..]));
            if let Err(error) = outcome {
                assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{cut}");
            }
        }
        let mut damaged = gzip(b"one\n");
        let crc = damaged.len() - 6;
        damaged[crc] ^= 1;
        let mut content = Vec::new();
        let error = GzipMembers::new(&damaged[..]).read_to_end(&mut content).unwrap_err();
        assert_eq!((&content[..], error.kind()), (&b"one\n"[..], io::ErrorKind::InvalidData));
    }
}
