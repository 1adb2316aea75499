//! Standard output, standard error, and the logs.
//!
//! Everything that this program prints goes through here: clippy refuses `println!` and its like elsewhere. What is
//! printed is made visible ([`opencode_host::visible`]), so that no text of a model or a server steers the terminal.
//! A reader that went away (`| head`) is no error: what it does not read is dropped, and [`is_read`] says so.

use std::fmt::{self, Display, Write as _};
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use opencode_host::visible;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{Writer, debug_fn};

static STDOUT_CLOSED: AtomicBool = AtomicBool::new(false);

/// Whether somebody still reads standard output, as far as is known.
pub(crate) fn is_read() -> bool {
    !STDOUT_CLOSED.load(Ordering::Relaxed)
}

/// Prints a text that is safe already, such as a piece of [`visible::Stream`], on standard output.
pub(crate) fn write(safe: &str) {
    let mut out = io::stdout().lock();
    let written = out.write_all(safe.as_bytes()).and_then(|()| out.flush());
    if written.is_err() {
        STDOUT_CLOSED.store(true, Ordering::Relaxed);
    }
}

/// Prints a text and the end of its line on standard output.
pub(crate) fn say(text: impl Display) {
    write(&format!("{}\n", indented(&text.to_string())));
}

/// Prints a text and the end of its line on standard error.
pub(crate) fn tell(text: impl Display) {
    let _ = Stderr.write_all(format!("{}\n", indented(&text.to_string())).as_bytes());
}

/// Prints a text on standard error as it is: what is typed, say, stands behind it.
pub(crate) fn put(text: &str) {
    let _ = Stderr.write_all(visible::block(text).to_string().as_bytes());
}

/// Further lines are indented, so that none of them looks like one of ours.
fn indented(text: &str) -> String {
    visible::block(text).to_string().replace('\n', "\n  ")
}

/// Standard error. What cannot be written is dropped: there is nobody to tell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut err = io::stderr().lock();
        let _ = err.write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The fields of an event in the log: each on one line, whatever its text holds.
pub(crate) fn log_fields() -> impl for<'writer> FormatFields<'writer> + Send + Sync + 'static {
    let field = |writer: &mut Writer<'_>, field: &tracing::field::Field, value: &dyn fmt::Debug| {
        let mut text = String::new();
        write!(text, "{value:?}")?;
        match field.name() {
            "message" => write!(writer, "{}", visible::line(&text)),
            name => write!(writer, "{name}={}", visible::line(&text)),
        }
    };
    debug_fn(field).delimited(" ")
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_event_is_one_line_of_the_log_and_steers_nothing() {
        let kept = Kept::default();
        let to = kept.clone();
        let log = tracing_subscriber::fmt()
            .fmt_fields(log_fields())
            .with_writer(move || to.clone())
            .with_ansi(false)
            .without_time()
            .with_target(false)
            .finish();
        tracing::subscriber::with_default(log, || {
            let error = "bad\n INFO open http://evil\u{1b}[2J\u{202e}\u{9b}31m";
            tracing::warn!(%error, name = "a\r\nb", number = 3, "it\nfailed: {error}");
        });
        let log = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        let bad = "bad\\n INFO open http://evil\\u{1b}[2J\\u{202e}\\u{9b}31m";
        assert_eq!(
            log,
            format!(" WARN it\\nfailed: {bad} error={bad} name=\"a\\r\\nb\" number=3\n")
        );
    }

    #[test]
    fn further_lines_do_not_look_like_ours() {
        assert_eq!(
            indented("a\n? The agent wants\u{7}"),
            "a\n  ? The agent wants\\u{7}"
        );
    }
}
