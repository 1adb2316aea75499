//! The programs that the tests run: found where they are, installed where they are missing.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::guard::Guarded;
use crate::{apt, clients, opencode, process, pypi};

/// Tells the tests where Postgres is; a value given from outside is used instead of a throwaway one.
pub(crate) const POSTGRES_URL: &str = "OPENCODE_HOST_TEST_POSTGRES";
/// Tells the tests where OpenCode is; a value given from outside is used as it is.
pub(crate) const OPENCODE_BIN: &str = "OPENCODE_BIN";
/// Tells the tests where the browser is; a value given from outside is used as it is.
pub(crate) const CHROMIUM_BIN: &str = "CHROMIUM_BIN";
/// Tells the tests where the clients that others wrote are.
pub(crate) const CLIENTS: &str = "OPENCODE_HOST_CLIENTS";
/// Tells the tests where schemathesis is.
pub(crate) const SCHEMATHESIS: &str = "OPENCODE_HOST_SCHEMATHESIS";
/// Tells the tests where a server of S3 is that others wrote.
pub(crate) const MOTO: &str = "OPENCODE_HOST_MOTO";
/// Tells the tests in which folder prometheus and promtool are.
pub(crate) const PROMETHEUS: &str = "OPENCODE_HOST_PROMETHEUS";
/// Tells the tests where nats-server is.
pub(crate) const NATS: &str = "OPENCODE_HOST_NATS";
/// Tells the tests where systemd-analyze is, which looks at units.
pub(crate) const SYSTEMD_ANALYZE: &str = "OPENCODE_HOST_SYSTEMD_ANALYZE";
/// Tells the tests that everything they can use is there: nothing may be skipped.
const FROM_XTASK: &str = "OPENCODE_HOST_XTASK";

/// What a server needs.
const SERVER_PROGRAMS: [&str; 2] = ["initdb", "postgres"];
/// What metrics are tried with.
const PROMETHEUS_PROGRAMS: [&str; 2] = ["prometheus", "promtool"];
/// The names of the browser on the systems we know.
const BROWSERS: [&str; 4] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
];

/// Whether a missing program may be installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Install {
    /// Yes, and the person is told.
    Allowed,
    /// No: it is an error.
    Refused,
}

impl Install {
    pub(crate) fn unless(refused: bool) -> Self {
        if refused {
            Self::Refused
        } else {
            Self::Allowed
        }
    }
}

/// Where Postgres comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Postgres {
    /// A server that the person runs, by its URL.
    Given(String),
    /// The folder of the programs a throwaway server is made with.
    Programs(PathBuf),
}

/// All programs, found.
#[derive(Debug)]
pub(crate) struct Tools {
    pub(crate) opencode: PathBuf,
    pub(crate) postgres: Postgres,
    pub(crate) chromium: PathBuf,
    /// The folder of the clients that others wrote.
    pub(crate) clients: PathBuf,
    pub(crate) schemathesis: PathBuf,
    pub(crate) moto: PathBuf,
    /// The folder of the programs that metrics are tried with.
    pub(crate) prometheus: PathBuf,
    pub(crate) nats: PathBuf,
    pub(crate) systemd_analyze: PathBuf,
}

impl Tools {
    /// Finds every program and installs those that are missing.
    pub(crate) fn find_or_install(install: Install) -> Result<Self> {
        Ok(Self {
            postgres: postgres(install)?,
            chromium: find_or(find_chromium, "chromium", install, || {
                apt::install("chromium")
            })?,
            opencode: opencode(install)?,
            clients: find_or(|| Ok(clients::find()), "clients", install, clients::install)?,
            schemathesis: from_pypi(&pypi::SCHEMATHESIS, install)?,
            moto: from_pypi(&pypi::MOTO, install)?,
            prometheus: find_or(
                || Ok(find_prometheus()),
                "prometheus",
                install,
                || apt::install("prometheus"),
            )?,
            nats: find_or(
                || Ok(find_nats()),
                "nats-server",
                install,
                || apt::install("nats-server"),
            )?,
            systemd_analyze: find_or(
                || Ok(process::on_path("systemd-analyze")),
                "systemd-analyze",
                install,
                || apt::install("systemd"),
            )?,
        })
    }

    /// Sets what the tests read in the environment of `command`.
    pub(crate) fn set_env(&self, command: &mut Command, postgres_url: &str) {
        set_env(
            command,
            postgres_url,
            Some(&self.opencode),
            Some(&self.chromium),
        );
        command
            .env(CLIENTS, &self.clients)
            .env(SCHEMATHESIS, &self.schemathesis)
            .env(MOTO, &self.moto)
            .env(PROMETHEUS, &self.prometheus)
            .env(NATS, &self.nats)
            .env(SYSTEMD_ANALYZE, &self.systemd_analyze)
            .env(FROM_XTASK, "1");
    }
}

/// Sets what the tests read in the environment of `command`, as far as it is there, and takes away the
/// person's own OpenCode settings, which would change what clients and servers do.
pub(crate) fn set_env(
    command: &mut Command,
    postgres_url: &str,
    opencode: Option<&Path>,
    chromium: Option<&Path>,
) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("OPENCODE_") && !text.starts_with("OPENCODE_HOST_") {
            command.env_remove(name);
        }
    }
    command.env(POSTGRES_URL, postgres_url);
    if let Some(opencode) = opencode {
        command.env(OPENCODE_BIN, opencode);
    }
    if let Some(chromium) = chromium {
        command.env(CHROMIUM_BIN, chromium);
    }
}

/// Finds OpenCode and installs it where it is missing.
pub(crate) fn opencode(install: Install) -> Result<PathBuf> {
    find_or(find_opencode, "opencode", install, || {
        opencode::install().map(|_| ())
    })
}

fn from_pypi(package: &pypi::Package, install: Install) -> Result<PathBuf> {
    find_or(
        || Ok(package.find()),
        package.name,
        install,
        || package.install(),
    )
}

/// Finds Postgres and installs it where it is missing.
pub(crate) fn postgres(install: Install) -> Result<Postgres> {
    find_or(find_postgres, "postgresql", install, || {
        apt::install("postgresql")
    })
}

impl fmt::Display for Tools {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "postgres  {}", self.postgres)?;
        writeln!(out, "chromium  {}", self.chromium.display())?;
        writeln!(out, "opencode  {}", self.opencode.display())?;
        writeln!(out, "clients   {}", self.clients.display())?;
        writeln!(out, "schemathesis  {}", self.schemathesis.display())?;
        writeln!(out, "moto      {}", self.moto.display())
    }
}

impl fmt::Display for Postgres {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // The URL may hold a password.
            Self::Given(_) => write!(out, "(given by {POSTGRES_URL})"),
            Self::Programs(folder) => folder.display().fmt(out),
        }
    }
}

impl Postgres {
    /// A server to use: the given one, or a throwaway one that lives as long as the answer.
    pub(crate) fn serve(&self) -> Result<Server> {
        match self {
            Self::Given(url) => Ok(Server::Given(url.clone())),
            Self::Programs(folder) => Ok(Server::Throwaway(Guarded::start(folder)?)),
        }
    }
}

/// A Postgres server that can be used now.
#[derive(Debug)]
pub(crate) enum Server {
    Given(String),
    Throwaway(Guarded),
}

impl Server {
    /// Where it answers, as a connection URL.
    pub(crate) fn url(&self) -> &str {
        match self {
            Self::Given(url) => url,
            Self::Throwaway(server) => server.url(),
        }
    }
}

/// Prints what is there and what is missing.
pub(crate) fn print() -> Result<ExitCode> {
    let found = [
        ("postgres", find_postgres()?.map(|found| found.to_string())),
        (
            "chromium",
            find_chromium()?.map(|path| path.display().to_string()),
        ),
        (
            "opencode",
            find_opencode()?.map(|path| path.display().to_string()),
        ),
        (
            "clients",
            clients::find().map(|path| path.display().to_string()),
        ),
        (
            "schemathesis",
            pypi::SCHEMATHESIS
                .find()
                .map(|path| path.display().to_string()),
        ),
        (
            "moto",
            pypi::MOTO.find().map(|path| path.display().to_string()),
        ),
        (
            "prometheus",
            find_prometheus().map(|path| path.display().to_string()),
        ),
        (
            "nats-server",
            find_nats().map(|path| path.display().to_string()),
        ),
        (
            "systemd-analyze",
            process::on_path("systemd-analyze").map(|path| path.display().to_string()),
        ),
    ];
    for (name, place) in &found {
        let place = place.as_deref();
        println!(
            "{name:8}  {}",
            place.unwrap_or("missing: cargo xtask setup")
        );
    }
    let complete = found.iter().all(|(_, place)| place.is_some());
    Ok(if complete {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn find_or<T>(
    find: impl Fn() -> Result<Option<T>>,
    name: &str,
    install: Install,
    do_install: impl FnOnce() -> Result<()>,
) -> Result<T> {
    if let Some(found) = find()? {
        return Ok(found);
    }
    if install == Install::Refused {
        bail!("{name} is not installed: run `cargo xtask setup`");
    }
    do_install()?;
    find()?.with_context(|| format!("{name} was installed, but it cannot be found"))
}

pub(crate) fn find_opencode() -> Result<Option<PathBuf>> {
    match given(OPENCODE_BIN)? {
        Some(given) => Ok(Some(given)),
        None => opencode::find(),
    }
}

pub(crate) fn find_chromium() -> Result<Option<PathBuf>> {
    match given(CHROMIUM_BIN)? {
        Some(given) => Ok(Some(given)),
        None => Ok(BROWSERS.iter().find_map(|name| process::on_path(name))),
    }
}

pub(crate) fn find_postgres() -> Result<Option<Postgres>> {
    match std::env::var(POSTGRES_URL) {
        Ok(url) => Ok(Some(Postgres::Given(url))),
        Err(std::env::VarError::NotPresent) => {
            let folder = process::folder_on_path(&SERVER_PROGRAMS)
                .or_else(|| newest_server(Path::new("/usr/lib/postgresql")));
            Ok(folder.map(Postgres::Programs))
        }
        Err(error) => Err(error).with_context(|| format!("cannot read {POSTGRES_URL}")),
    }
}

fn find_prometheus() -> Option<PathBuf> {
    process::folder_on_path(&PROMETHEUS_PROGRAMS)
}

/// Debian keeps it where only root looks.
fn find_nats() -> Option<PathBuf> {
    let debian = PathBuf::from("/usr/sbin/nats-server");
    process::on_path("nats-server").or_else(|| debian.is_file().then_some(debian))
}

/// A program whose path the environment gives.
fn given(name: &str) -> Result<Option<PathBuf>> {
    let Some(path) = std::env::var_os(name).filter(|path| !path.is_empty()) else {
        return Ok(None);
    };
    let path = std::path::absolute(path)?;
    if !path.is_file() {
        bail!("{name} names {}, which is not there", path.display());
    }
    Ok(Some(path))
}

/// The programs of the newest server below `versions`, where Debian keeps one folder for each major version.
fn newest_server(versions: &Path) -> Option<PathBuf> {
    std::fs::read_dir(versions)
        .ok()?
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let version: u32 = entry.file_name().to_str()?.parse().ok()?;
            let programs = entry.path().join("bin");
            process::holds(&programs, &SERVER_PROGRAMS).then_some((version, programs))
        })
        .max()
        .map(|(_, programs)| programs)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_newest_complete_server_is_chosen_by_number() {
        let versions = tempfile::tempdir().unwrap();
        for (version, programs) in [
            ("9", &SERVER_PROGRAMS[..]),
            ("15", &SERVER_PROGRAMS),
            ("17", &["postgres"]),
            ("old", &SERVER_PROGRAMS),
        ] {
            let bin = versions.path().join(version).join("bin");
            fs::create_dir_all(&bin).unwrap();
            for name in programs {
                fs::write(bin.join(name), "").unwrap();
            }
        }
        let expected = versions.path().join("15/bin");
        assert_eq!(newest_server(versions.path()), Some(expected));
        assert_eq!(newest_server(&versions.path().join("none")), None);
    }

    #[test]
    fn what_may_not_be_installed_is_an_error_that_says_how_to() {
        let error = find_or(
            || Ok(None::<()>),
            "thing",
            Install::Refused,
            || unreachable!("an install was refused"),
        );
        let text = error.unwrap_err().to_string();
        assert_eq!(text, "thing is not installed: run `cargo xtask setup`");
    }

    #[test]
    fn an_install_that_installs_nothing_is_an_error() {
        let error = find_or(|| Ok(None::<()>), "thing", Install::Allowed, || Ok(()));
        assert!(error.unwrap_err().to_string().contains("cannot be found"));
    }
}
