//! Framing of server-sent events (WHATWG HTML, "Interpreting an event stream"),
//! without I/O.
//!
//! Only what OpenCode uses is kept: the data of each event. Names, ids and
//! retry hints are skipped, as are comments. A frame that lies whole inside one
//! chunk is handed out where it lies, without a copy.

/// The largest frame that is kept, in bytes. A larger one is dropped while it arrives.
pub(crate) const MAX_FRAME: usize = 16 << 20;

/// How much of the start of a dropped frame is kept, to tell whose it was.
const DROPPED_PREFIX: usize = 4 << 10;

/// One event of the stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    /// The data, several `data:` lines joined by LF.
    Data(&'a [u8]),
    /// An event over the cap.
    Dropped {
        /// The first bytes of its data.
        prefix: &'a [u8],
        /// How long its data was, in bytes.
        length: u64,
    },
}

/// Cuts a byte stream into events. Any chunking of the same bytes gives the same events.
#[derive(Debug)]
pub(crate) struct Framer {
    cap: usize,
    /// The unfinished line that the last chunk ended in.
    line: Vec<u8>,
    /// The data of the unfinished event.
    data: Vec<u8>,
    /// Whether the unfinished event has a data line (its data may be empty).
    has_data: bool,
    /// How much of the unfinished event went over the cap: 0 while it fits.
    dropped: u64,
    /// The unfinished line is not kept: skip to its end.
    skipping: Option<Skipped>,
    /// A CR ended the last chunk: an LF that comes first belongs to it.
    after_cr: bool,
    /// How many bytes of a byte-order mark the stream has begun with; `None` once past the start.
    bom: Option<u8>,
}

/// What kind of line is being skipped.
#[derive(Clone, Copy, Debug)]
enum Skipped {
    /// Data of an event over the cap: counted.
    Data,
    /// A comment, or a field nobody asks for.
    Other,
}

const BOM: [u8; 3] = [0xEF, 0xBB, 0xBF];

impl Default for Framer {
    fn default() -> Self {
        Self::with_cap(MAX_FRAME)
    }
}

impl Framer {
    /// A framer with a cap of its own, in bytes of data per frame.
    pub(crate) fn with_cap(cap: usize) -> Self {
        Self {
            cap,
            line: Vec::new(),
            data: Vec::new(),
            has_data: false,
            dropped: 0,
            skipping: None,
            after_cr: false,
            bom: Some(0),
        }
    }

    /// Takes the next chunk and hands every event that is whole to `sink`.
    pub(crate) fn push(&mut self, chunk: &[u8], mut sink: impl FnMut(Frame<'_>)) {
        let mut rest = self.skip_start(chunk);
        // The data of the current event while all of it lies in this chunk.
        let mut here: Option<&[u8]> = None;
        while !rest.is_empty() {
            let Some(end) = memchr::memchr2(b'\n', b'\r', rest) else {
                self.settle(&mut here);
                self.keep_line(rest);
                break;
            };
            let (line, after) = (&rest[..end], &rest[end + 1..]);
            rest = if rest[end] == b'\n' {
                after
            } else if let Some((first, behind)) = after.split_first() {
                if *first == b'\n' { behind } else { after }
            } else {
                self.after_cr = true;
                after
            };
            if self.skipping.is_some() {
                self.keep_line(line);
                self.skipping = None;
            } else if !self.line.is_empty() {
                self.keep_line(line);
                if self.skipping.take().is_none() {
                    let whole = std::mem::take(&mut self.line);
                    self.settle(&mut here);
                    self.take_line(&whole, &mut sink);
                    self.line = whole;
                    self.line.clear();
                }
            } else if let (Some(value), false, None, true) =
                (data_of(line), self.has_data, here, line.len() <= self.cap)
            {
                here = Some(value);
            } else if line.is_empty() && here.is_some() {
                if let Some(data) = here.take().filter(|data| !data.is_empty()) {
                    sink(Frame::Data(data));
                }
            } else {
                if !line.is_empty() {
                    self.settle(&mut here);
                }
                self.take_line(line, &mut sink);
            }
        }
        self.settle(&mut here);
        // Do not hold on to the room a large frame took.
        for buffer in [&mut self.line, &mut self.data] {
            if buffer.is_empty() && buffer.capacity() > (64 << 10) {
                *buffer = Vec::new();
            }
        }
    }

    /// Skips a byte-order mark at the start of the stream, and the LF of a CRLF that was cut in two.
    fn skip_start<'c>(&mut self, mut chunk: &'c [u8]) -> &'c [u8] {
        while let (Some(matched), Some((first, rest))) = (self.bom, chunk.split_first()) {
            if *first == BOM[usize::from(matched)] {
                chunk = rest;
                self.bom = (matched < 2).then_some(matched + 1);
            } else {
                self.bom = None;
                self.line.extend_from_slice(&BOM[..usize::from(matched)]);
            }
        }
        if self.after_cr && !chunk.is_empty() {
            self.after_cr = false;
            if chunk[0] == b'\n' {
                chunk = &chunk[1..];
            }
        }
        chunk
    }

    /// Moves data that was only borrowed from the chunk into the event's own buffer.
    fn settle(&mut self, here: &mut Option<&[u8]>) {
        if let Some(data) = here.take() {
            self.data.extend_from_slice(data);
            self.has_data = true;
        }
    }

    /// Keeps the start of a line whose end is still to come, within the cap.
    fn keep_line(&mut self, piece: &[u8]) {
        match self.skipping {
            Some(Skipped::Data) => return self.drop_data(piece),
            Some(Skipped::Other) => return,
            None => {}
        }
        self.line.extend_from_slice(piece);
        // Which field it is shows only once the name and the space behind it are here.
        let field = "data: ".len();
        if self.line.len() < field || self.data.len() + self.line.len() <= self.cap + field {
            return;
        }
        let line = std::mem::take(&mut self.line);
        self.skipping = Some(match data_of(&line) {
            Some(value) => {
                self.drop_data(value);
                Skipped::Data
            }
            None => Skipped::Other,
        });
    }

    fn drop_data(&mut self, value: &[u8]) {
        self.has_data = true;
        if self.dropped == 0 {
            self.dropped = self.data.len() as u64;
            self.data.truncate(DROPPED_PREFIX);
        }
        let room = DROPPED_PREFIX - self.data.len();
        self.data.extend_from_slice(&value[..value.len().min(room)]);
        self.dropped += value.len() as u64;
    }

    fn take_line(&mut self, line: &[u8], sink: &mut impl FnMut(Frame<'_>)) {
        if line.is_empty() {
            if self.dropped > 0 {
                sink(Frame::Dropped {
                    prefix: &self.data,
                    length: self.dropped,
                });
            } else if !self.data.is_empty() {
                sink(Frame::Data(&self.data));
            }
            self.data.clear();
            self.has_data = false;
            self.dropped = 0;
        } else if let Some(value) = data_of(line) {
            if self.dropped > 0 || self.data.len() + value.len() > self.cap {
                self.drop_data(value);
                return;
            }
            if self.has_data {
                self.data.push(b'\n');
            }
            self.data.extend_from_slice(value);
            self.has_data = true;
        }
    }
}

/// The value of a `data` line; `None` for every other field and for comments.
fn data_of(line: &[u8]) -> Option<&[u8]> {
    match line.strip_prefix(b"data")? {
        [] => Some(&[]),
        [b':', b' ', value @ ..] | [b':', value @ ..] => Some(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frames(framer: &mut Framer, chunks: &[&[u8]]) -> Vec<String> {
        let mut out = Vec::new();
        for chunk in chunks {
            framer.push(chunk, |frame| {
                out.push(match frame {
                    Frame::Data(data) => String::from_utf8_lossy(data).into_owned(),
                    Frame::Dropped { prefix, length } => {
                        format!("dropped {length} of {}", String::from_utf8_lossy(prefix))
                    }
                });
            });
        }
        out
    }

    fn all(bytes: &[u8]) -> Vec<String> {
        frames(&mut Framer::default(), &[bytes])
    }

    #[test]
    fn line_ends_of_every_kind() {
        for text in [
            "data: a\n\ndata:b\n\n",
            "data: a\r\n\r\ndata:b\r\n\r\n",
            "data: a\r\rdata:b\r\r",
            "data: a\r\n\rdata:b\n\r\n",
        ] {
            assert_eq!(all(text.as_bytes()), ["a", "b"], "{text:?}");
        }
    }

    #[test]
    fn fields_comments_and_joins() {
        assert_eq!(
            all(b": hi\nevent: x\nid: 1\ndata: a\ndata: b\nretry: 5\n\n"),
            ["a\nb"]
        );
        assert_eq!(all(b"data\ndata\n\n"), ["\n"]);
        assert_eq!(all(b"data\n\ndata:\n\n\n\n"), Vec::<String>::new());
        assert_eq!(all(b"data:  two\n\ndatax: no\n\n"), [" two"]);
        assert_eq!(all(b"data: unfinished"), Vec::<String>::new());
    }

    #[test]
    fn a_byte_order_mark_only_at_the_start() {
        assert_eq!(
            all(b"\xEF\xBB\xBFdata: a\n\n\xEF\xBB\xBFdata: b\n\n"),
            ["a"]
        );
        assert_eq!(all(b"\xEF\xBBdata: a\n\ndata: b\n\n"), ["b"]);
    }

    #[test]
    fn an_oversized_frame_is_dropped_and_the_stream_goes_on() {
        let mut framer = Framer::with_cap(8);
        let out = frames(
            &mut framer,
            &[
                b"data: 12345678\n\ndata: 123456",
                b"789\ndata: more\n\ndata: ok\n\n",
            ],
        );
        assert_eq!(out, ["12345678", "dropped 13 of 123456789more", "ok"]);
        assert!(framer.data.is_empty() && framer.line.is_empty());
    }

    #[test]
    fn memory_stays_bounded_while_a_huge_frame_arrives() {
        let mut framer = Framer::with_cap(1 << 10);
        framer.push(b"data: ", |_| panic!("not yet"));
        for _ in 0..1000 {
            framer.push(&[b'x'; 4096], |_| panic!("not yet"));
            assert!(framer.line.capacity() + framer.data.capacity() < (16 << 10));
        }
        let mut seen = None;
        framer.push(b"\n\n", |frame| {
            if let Frame::Dropped { length, .. } = frame {
                seen = Some(length);
            }
        });
        assert_eq!(seen, Some(4096 * 1000));
    }

    #[test]
    fn what_is_dropped_is_counted_to_its_end() {
        // In a line whose name is cut in two.
        let mut framer = Framer::with_cap(8);
        let out = frames(
            &mut framer,
            &[b"data: 123456789012345\ndat", b"a: more\n\n"],
        );
        assert_eq!(out, ["dropped 19 of 123456789012345more"]);
        // In a line that would fit behind what is kept of the others.
        let cap = 2 * DROPPED_PREFIX;
        let mut framer = Framer::with_cap(cap);
        let event = format!("data: {}\ndata: more\n\n", "x".repeat(cap + 1));
        let out = frames(&mut framer, &[event.as_bytes()]);
        let kept = "x".repeat(DROPPED_PREFIX);
        assert_eq!(out, [format!("dropped {} of {kept}", cap + 5)]);
    }

    #[test]
    fn a_line_is_kept_up_to_the_cap() {
        let mut framer = Framer::with_cap(1 << 10);
        framer.push(b"data: ", |_| panic!("not yet"));
        for _ in 0..1000 {
            framer.push(b"x", |_| panic!("not yet"));
            assert!(framer.line.capacity() <= (2 << 10));
        }
        assert_eq!(frames(&mut framer, &[b"\n\n"]), ["x".repeat(1000)]);
        framer.push(b"data: ", |_| panic!("not yet"));
        for _ in 0..10_000 {
            framer.push(b"x", |_| panic!("not yet"));
            assert!(framer.line.capacity() <= (2 << 10));
        }
    }

    #[test]
    fn the_room_of_a_large_frame_is_given_back_and_that_of_a_small_one_kept() {
        let text = "x".repeat(200 << 10);
        let mut framer = Framer::default();
        let (one, two) = text.split_at(100 << 10);
        let pieces = ["data: ", one, two, "\ndata: ", two, "\n", "\n"].map(str::as_bytes);
        assert_eq!(frames(&mut framer, &pieces), [format!("{text}\n{two}")]);
        assert_eq!((framer.line.capacity(), framer.data.capacity()), (0, 0));
        let pieces = ["data: sm", "all\n", "\n"].map(str::as_bytes);
        assert_eq!(frames(&mut framer, &pieces), ["small"]);
        assert!(framer.line.capacity() > 0 && framer.data.capacity() > 0);
    }

    fn stream() -> impl Strategy<Value = Vec<u8>> {
        static PIECES: [&[u8]; 14] = [
            b"data: ",
            b"data:",
            b"data: ",
            b"\n",
            b"\r",
            b"\r\n",
            b"\n\n",
            &BOM,
            b":c",
            b"",
            b"a",
            "né".as_bytes(),
            "日本語zz".as_bytes(),
            b"elevenchars",
        ];
        let piece = prop::sample::select(&PIECES[..]);
        prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_frames(bytes in stream(), cuts in prop::collection::vec(0usize..200, 0..20)) {
            let whole = frames(&mut Framer::with_cap(20), &[&bytes]);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.push(0);
            cuts.push(bytes.len());
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            prop_assert_eq!(frames(&mut Framer::with_cap(20), &chunks), whole);
        }

        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = frames(&mut Framer::with_cap(30), &[&bytes]);
        }
    }
}
