//! Lines that a person types at the terminal.

use std::io::BufRead as _;

use rustix::termios::{QueueSelector, tcflush};
use tokio::sync::mpsc::{Receiver, channel, error::TryRecvError};

/// Lines of standard input, read by a thread of its own: a question that is answered elsewhere stops waiting for one.
#[derive(Debug, Default)]
pub(super) struct TypedLines {
    lines: Option<Receiver<String>>,
}

impl TypedLines {
    /// Forgets what was typed before now: it was no answer to what is asked next.
    pub(super) fn forget(&mut self) {
        let _ = tcflush(std::io::stdin(), QueueSelector::IFlush);
        if let Some(lines) = &mut self.lines {
            while lines.try_recv().is_ok() {}
            if lines.try_recv() == Err(TryRecvError::Disconnected) {
                self.lines = None;
            }
        }
    }

    /// The next line, without white space around it; `None` at the end of the input.
    pub(super) async fn next(&mut self) -> Option<String> {
        self.lines.get_or_insert_with(read).recv().await
    }
}

fn read() -> Receiver<String> {
    let (sender, lines) = channel(16);
    std::thread::spawn(move || {
        let mut line = Vec::new();
        loop {
            line.clear();
            match std::io::stdin().lock().read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            let text = String::from_utf8_lossy(&line).trim().to_owned();
            if sender.blocking_send(text).is_err() {
                return;
            }
        }
    });
    lines
}
