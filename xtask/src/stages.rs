//! The stages of a long command: their time, and what went wrong in each.

use std::fmt;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Error, Result};

/// What has been done so far.
#[derive(Debug)]
pub(crate) struct Stages {
    began: Instant,
    done: Vec<Stage>,
}

#[derive(Debug)]
struct Stage {
    name: &'static str,
    took: Duration,
    error: Option<Error>,
}

impl Stages {
    pub(crate) fn begin() -> Self {
        Self {
            began: Instant::now(),
            done: Vec::new(),
        }
    }

    /// Runs one stage and keeps its time and its error. `None` when it failed.
    pub(crate) fn run<T>(
        &mut self,
        name: &'static str,
        stage: impl FnOnce() -> Result<T>,
    ) -> Option<T> {
        eprintln!("==> {name}");
        let began = Instant::now();
        let (value, error) = match stage() {
            Ok(value) => (Some(value), None),
            Err(error) => {
                eprintln!("==> {name} FAILED: {error:#}");
                (None, Some(error))
            }
        };
        self.done.push(Stage {
            name,
            took: began.elapsed(),
            error,
        });
        value
    }

    /// Prints the time of each stage, then what failed, or `success` with the whole time as the last line.
    pub(crate) fn finish(self, success: &str) -> ExitCode {
        eprint!("{self}");
        if self.done.iter().any(|stage| stage.error.is_some()) {
            return ExitCode::FAILURE;
        }
        println!("{success} in {}", minutes(self.began.elapsed()));
        ExitCode::SUCCESS
    }
}

impl fmt::Display for Stages {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "\nstage           time")?;
        for stage in &self.done {
            let failed = if stage.error.is_some() {
                "  FAILED"
            } else {
                ""
            };
            let seconds = stage.took.as_secs_f64();
            writeln!(out, "{:<12}{seconds:>7.1}s{failed}", stage.name)?;
        }
        for stage in &self.done {
            if let Some(error) = &stage.error {
                writeln!(out, "\n{} FAILED: {error:#}", stage.name)?;
            }
        }
        Ok(())
    }
}

fn minutes(time: Duration) -> String {
    format!("{}m {}s", time.as_secs() / 60, time.as_secs() % 60)
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn a_failure_is_told_and_does_not_stop_the_next_stage() {
        let mut stages = Stages::begin();
        assert_eq!(stages.run("one", || Ok(1)), Some(1));
        assert_eq!(
            stages.run("two", || Err::<(), _>(anyhow!("it broke"))),
            None
        );
        assert_eq!(stages.run("three", || Ok(3)), Some(3));
        let report = stages.to_string();
        assert!(report.contains("\ntwo FAILED: it broke\n"), "{report}");
        assert_eq!(report.matches("FAILED").count(), 2, "{report}");
        assert_eq!(stages.finish("done"), ExitCode::FAILURE);
    }

    #[test]
    fn no_failure_is_success() {
        let mut stages = Stages::begin();
        stages.run("one", || Ok(()));
        assert_eq!(stages.finish("done"), ExitCode::SUCCESS);
    }

    #[test]
    fn time_is_in_minutes_and_seconds() {
        assert_eq!(minutes(Duration::from_secs(59)), "0m 59s");
        assert_eq!(minutes(Duration::from_secs(3661)), "61m 1s");
    }
}
