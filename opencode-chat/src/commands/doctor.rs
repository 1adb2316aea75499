//! `doctor`: what works, what does not, and what to do.

use std::process::ExitCode;

use crate::app::open_store;
use crate::cli::DoctorArgs;
use crate::exit::Failure;

/// Checks everything there is.
pub(crate) async fn run(args: DoctorArgs) -> Result<ExitCode, Failure> {
    open_store(&args.store).await?;
    println!("database: ok");
    Ok(ExitCode::SUCCESS)
}
