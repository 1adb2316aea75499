//! Settings that change while the program runs: SIGHUP has them read again.
//!
//! What is logged changes at once. All else was given to something that was built with it: the log says which settings
//! changed and wait for a restart. A configuration that is wrong changes nothing.

use std::ffi::OsString;
use std::io::IsTerminal as _;

use tokio::signal::unix::{SignalKind, signal};

use crate::configuration::{Refused, Setting, read};

/// Reads the settings anew at each SIGHUP, and hands what is to be logged to `log`. Does nothing at a terminal: there
/// the signal says that it was closed, and ends the program.
pub(crate) fn reload(
    arguments: Vec<OsString>,
    mut known: Vec<Setting>,
    log: impl Fn(Option<String>) -> Result<(), String> + Send + 'static,
) {
    if std::io::stdin().is_terminal() || std::io::stderr().is_terminal() {
        return;
    }
    let Ok(mut hung_up) = signal(SignalKind::hangup()) else {
        return;
    };
    tokio::spawn(async move {
        while hung_up.recv().await.is_some() {
            let configured = match read(arguments.clone()) {
                Ok(configured) => configured,
                Err(Refused::Configuration(why)) => {
                    tracing::error!("not reloaded: {why}");
                    continue;
                }
                Err(Refused::Usage(error)) => {
                    tracing::error!("not reloaded: {error}");
                    continue;
                }
            };
            for warning in &configured.warnings {
                tracing::warn!("{warning}");
            }
            let changed = changed(&known, &configured.settings);
            let (now, later): (Vec<_>, Vec<_>) = changed.into_iter().partition(|key| key == "log");
            if !now.is_empty()
                && let Err(why) = log(configured.log)
            {
                tracing::error!("not reloaded: {why}");
                continue;
            }
            if !later.is_empty() {
                let later = later.join(", ");
                tracing::warn!("restart this for the settings that changed: {later}");
            }
            // Those that wait are told again.
            known.retain(|setting| setting.key != "log");
            known.extend(
                configured
                    .settings
                    .into_iter()
                    .filter(|setting| setting.key == "log"),
            );
            tracing::info!(changed = now.join(", "), "reloaded");
        }
    });
}

/// The settings whose values are others.
fn changed(before: &[Setting], after: &[Setting]) -> Vec<String> {
    let value = |all: &[Setting], key: &str| {
        let found = all.iter().find(|setting| setting.key == key);
        found.and_then(|setting| setting.values.clone())
    };
    let all = after.iter().map(|setting| &setting.key);
    all.filter(|key| value(before, key) != value(after, key))
        .cloned()
        .collect()
}
