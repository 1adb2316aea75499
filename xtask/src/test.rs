//! `cargo xtask test`: every test, with everything it needs.

use std::process::{Command, ExitCode, Stdio};

use crate::stages::Stages;
use crate::tools::{Install, Tools};
use crate::{process, workspace};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this package (repeatable)
    #[arg(short, long, value_name = "NAME")]
    package: Vec<String>,
    /// Fail where a program is missing instead of installing it
    #[arg(long)]
    no_install: bool,
    /// Only the tests whose name contains one of these; doctests are left out
    #[arg(last = true, value_name = "FILTER")]
    filters: Vec<String>,
}

/// Runs all stages and prints what each took.
pub(crate) fn run(args: &Args) -> ExitCode {
    let mut stages = Stages::begin();
    run_stages(args, &mut stages);
    stages.finish("all tests passed")
}

/// Stops early, with `None`, where the next stage cannot run without the failed one.
fn run_stages(args: &Args, stages: &mut Stages) -> Option<()> {
    let tools = stages.run("tools", || {
        let tools = Tools::find_or_install(Install::unless(args.no_install))?;
        eprint!("{tools}");
        Ok(tools)
    })?;
    // Also the programs, which some tests run, and the examples, which must compile.
    stages.run("build", || {
        let mut build = cargo(args, &["build"]);
        process::run(build.args(["--bins", "--tests", "--examples"]))
    })?;
    let server = stages.run("postgres", || tools.postgres.serve())?;
    stages.run("tests", || {
        let mut tests = tests(args);
        tools.set_env(&mut tests, server.url());
        process::run(&mut tests)
    });
    if args.filters.is_empty() && any_library(args) {
        stages.run("doctests", || {
            let mut tests = cargo(args, &["test", "--doc", "--no-fail-fast"]);
            tools.set_env(&mut tests, server.url());
            process::run(&mut tests)
        });
    }
    drop(server);
    Some(())
}

/// The test runner: nextest with `.config/nextest.toml` where it is installed, else cargo's own.
fn tests(args: &Args) -> Command {
    if has_nextest() {
        let mut tests = cargo(args, &["nextest", "run", "--no-fail-fast"]);
        tests.args(&args.filters);
        return tests;
    }
    eprintln!("cargo-nextest is not installed: using `cargo test`");
    let mut tests = cargo(args, &["test", "--tests", "--no-fail-fast"]);
    tests.arg("--").args(&args.filters);
    tests
}

fn has_nextest() -> bool {
    workspace::cargo()
        .args(["nextest", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// `cargo ACTION` on the chosen packages, with every feature.
fn cargo(args: &Args, action: &[&str]) -> Command {
    let mut cargo = workspace::cargo();
    cargo.args(action).args(["--all-features", "--locked"]);
    if args.package.is_empty() {
        cargo.arg("--workspace");
    }
    for package in &args.package {
        cargo.args(["--package", package]);
    }
    cargo
}

/// Doctests are in libraries only, and cargo refuses to look for them where there is none.
fn any_library(args: &Args) -> bool {
    // A folder has the name of its package here.
    let is_library = |name| workspace::root().join(name).join("src/lib.rs").exists();
    args.package.is_empty() || args.package.iter().any(is_library)
}
