//! A password, from a file, from what is typed unseen, or from standard input.

use std::io::{BufRead as _, IsTerminal as _, Read as _};
use std::path::Path;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::cli::{PasswordArgs, read_secret};
use crate::exit::Failure;
use crate::terminal;

/// The longest line that is read.
const LONGEST: u64 = 4096;

/// A password for somebody, twice where it is typed.
pub(super) async fn new_password(args: &PasswordArgs, name: &str) -> Result<String, Failure> {
    if let Some(path) = &args.password_file {
        return of_file(path);
    }
    if !std::io::stdin().is_terminal() {
        return line().ok_or_else(|| {
            Failure::configuration(
                "no password came on standard input: give it there in one line, or with --password-file",
            )
        });
    }
    let first = typed(&format!("Password for {name}: ")).await?;
    let again = typed("Once more: ").await?;
    if first != again {
        return Err(Failure::configuration(
            "the two are not the same: nothing was changed",
        ));
    }
    Ok(first)
}

fn of_file(path: &Path) -> Result<String, Failure> {
    let told = |why: &str| {
        Failure::configuration(format!(
            "cannot read a password from {}: {why}",
            path.display()
        ))
    };
    let secret = read_secret(path).map_err(|why| told(&why))?;
    if let Some(warning) = secret.warning {
        terminal::tell(format_args!("warning: {warning}"));
    }
    secret.value.ok_or_else(|| told("it is empty"))
}

/// A line of standard input, without its end.
fn line() -> Option<String> {
    let mut line = String::new();
    let mut input = std::io::stdin().lock().take(LONGEST);
    input.read_line(&mut line).ok()?;
    let line = line.trim_end_matches(['\r', '\n']);
    (!line.is_empty()).then(|| line.to_owned())
}

/// What is typed at the terminal, which does not show it.
async fn typed(prompt: &str) -> Result<String, Failure> {
    let unseen = Unseen::begin()?;
    terminal::put(prompt);
    let typed = tokio::select! {
        typed = tokio::task::spawn_blocking(line) => typed.ok().flatten(),
        // Whoever gives up wants to see again what they type.
        _ = tokio::signal::ctrl_c() => None,
    };
    drop(unseen);
    terminal::tell("");
    typed.ok_or_else(|| Failure::configuration("no password was given: nothing was changed"))
}

/// A terminal that does not show what is typed, for as long as this lives.
struct Unseen(Termios);

impl Unseen {
    fn begin() -> Result<Self, Failure> {
        let told = |error: rustix::io::Errno| {
            Failure::error(format!("the terminal would show the password: {error}"))
        };
        let before = tcgetattr(std::io::stdin()).map_err(told)?;
        let mut unseen = before.clone();
        unseen.local_modes.remove(LocalModes::ECHO);
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &unseen).map_err(told)?;
        Ok(Self(before))
    }
}

impl Drop for Unseen {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}
