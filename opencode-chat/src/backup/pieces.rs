//! Readers between what blocks and what does not.

use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt as _, ReadBuf};
use tokio::runtime::Handle;

/// An asynchronous reader, read by a thread that may block.
#[derive(Debug)]
pub(super) struct Waiting<R> {
    reader: R,
    runtime: Handle,
}

impl<R> Waiting<R> {
    pub(super) fn new(reader: R, runtime: Handle) -> Self {
        Self { reader, runtime }
    }
}

impl<R: AsyncRead + Unpin> Read for Waiting<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.runtime.block_on(self.reader.read(into))
    }
}

/// A reader that blocks, for what reads asynchronously on a thread that may.
#[derive(Debug)]
pub(super) struct Blocking<R>(pub(super) R);

impl<R: Read + Unpin> AsyncRead for Blocking<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = self.0.read(into.initialize_unfilled());
        Poll::Ready(read.map(|read| into.advance(read)))
    }
}

/// Exactly as many bytes as were announced: what is missing is made up for with zeros, what is too much is left.
#[derive(Debug)]
pub(super) struct Padded<R> {
    reader: R,
    left: u64,
    /// Why the reader ended early, where it failed.
    failed: Option<io::Error>,
    is_short: bool,
}

impl<R> Padded<R> {
    pub(super) fn new(reader: R, size: u64) -> Self {
        Self {
            reader,
            left: size,
            failed: None,
            is_short: false,
        }
    }

    /// Whether there were fewer bytes, and why if it is known.
    pub(super) fn ended(self) -> Result<(), Option<io::Error>> {
        match self.failed {
            Some(error) => Err(Some(error)),
            None if self.is_short => Err(None),
            None => Ok(()),
        }
    }
}

impl<R: Read> Read for Padded<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let most = into
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let into = &mut into[..most];
        if most == 0 {
            // What checks its bytes says so at its end.
            if self.left == 0 && !self.is_short && self.failed.is_none() {
                self.failed = self.reader.read(&mut [0]).err();
            }
            return Ok(0);
        }
        let mut read = 0;
        if !self.is_short {
            match self.reader.read(into) {
                Ok(0) => self.is_short = true,
                Ok(some) => read = some,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
                Err(error) => {
                    self.is_short = true;
                    self.failed = Some(error);
                }
            }
        }
        if self.is_short {
            into.fill(0);
            read = most;
        }
        self.left -= read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_short_is_filled_and_told_of() {
        let mut all = Vec::new();
        let mut whole = Padded::new(&b"abcdef"[..], 4);
        whole.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"abcd");
        assert!(whole.ended().is_ok());

        all.clear();
        let mut short = Padded::new(&b"ab"[..], 4);
        short.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"ab\0\0");
        assert!(matches!(short.ended(), Err(None)));
    }

    #[test]
    fn what_fails_at_its_end_is_told_of() {
        struct Failing(usize);
        impl Read for Failing {
            fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
                let some = self.0.min(into.len());
                self.0 -= some;
                match some {
                    0 => Err(io::Error::other("damaged")),
                    some => Ok(some),
                }
            }
        }
        for (there, size) in [(4, 4), (2, 4)] {
            let mut all = Vec::new();
            let mut padded = Padded::new(Failing(there), size);
            padded.read_to_end(&mut all).unwrap();
            assert_eq!(all.len() as u64, size);
            let told = padded.ended().unwrap_err().unwrap().to_string();
            assert_eq!(told, "damaged");
        }
    }
}
