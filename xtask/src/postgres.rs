//! A throwaway PostgreSQL cluster: in a temporary folder, on a free port of loopback, quick because nothing
//! in it must survive. Clusters of the system are never touched.
//!
//! Anybody on this machine may connect to it without a password. It therefore runs as `nobody` where root
//! starts it.
//!
//! Each cluster has a record in `target/xtask/postgres`: a file that is locked for as long as the process
//! lives that answers for the cluster, and that holds the path of its folder. A record that is there but not
//! locked belongs to a cluster nobody stopped; the next start stops and deletes it.

use std::fs::{self, File, TryLockError};
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tempfile::TempDir;

use crate::{process, signals};

/// How the temporary folders begin.
const PREFIX: &str = "opencode-host-postgres-";
/// How long a server may take to start or to stop.
const PATIENCE: Duration = Duration::from_mins(1);
/// A port that was free a moment ago can be taken; so many are tried.
const PORTS: usize = 5;

/// A running cluster. Dropping it stops the server and deletes its files.
#[derive(Debug)]
pub(crate) struct Cluster {
    server: Child,
    port: u16,
    programs: PathBuf,
    owner: Owner,
    // Dropped in this order: the files go before the record of them.
    folder: TempDir,
    _record: Record,
}

impl Cluster {
    /// Makes and starts a cluster with the programs in `programs`, after a sweep of `records`.
    pub(crate) fn start(programs: &Path, records: &Path) -> Result<Self> {
        let owner = Owner::choose()?;
        let mut record = Record::create(records)?;
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir()?;
        record.write(folder.path())?;
        owner.give(folder.path())?;

        let data = folder.path().join("data");
        let mut initdb = owner.command(&programs.join("initdb"), folder.path());
        initdb.arg("--pgdata").arg(&data).args([
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
            "--no-instructions",
        ]);
        process::output(&mut initdb).context("cannot make a PostgreSQL cluster")?;

        for _ in 0..PORTS {
            let port = port()?;
            match serve(programs, folder.path(), &data, &owner, port) {
                Ok(server) => {
                    return Ok(Self {
                        server,
                        port,
                        programs: programs.to_owned(),
                        owner,
                        folder,
                        _record: record,
                    });
                }
                Err(error) if format!("{error:#}").contains("Address already in use") => {}
                Err(error) => return Err(error),
            }
        }
        bail!("PostgreSQL found every one of {PORTS} free ports taken")
    }

    /// Where it answers, as a connection URL.
    pub(crate) fn url(&self) -> String {
        format!(
            "postgres://postgres@{}:{}/postgres",
            Ipv4Addr::LOCALHOST,
            self.port
        )
    }

    /// Stops the server, which ends every connection, and starts it again on the same port and the same data.
    pub(crate) fn restart(&mut self) -> Result<()> {
        process::kill(&self.server, Signal::INT);
        if !process::ended_within(&mut self.server, PATIENCE) {
            bail!("PostgreSQL did not stop in {PATIENCE:?}");
        }
        let folder = self.folder.path();
        let data = folder.join("data");
        self.server = serve(&self.programs, folder, &data, &self.owner, self.port)?;
        Ok(())
    }

    /// An error with the end of the log when the server has ended by itself.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.server.try_wait()? {
            Some(status) => bail!("PostgreSQL ended: {status}\n{}", log(self.folder.path())),
            None => Ok(()),
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Nothing in it must survive, so the immediate shutdown will do.
        process::kill(&self.server, Signal::QUIT);
        if !process::ended_within(&mut self.server, PATIENCE) {
            process::kill(&self.server, Signal::KILL);
            let _ = self.server.wait();
        }
    }
}

/// Starts the server and waits until it takes connections.
/// A free port. Not one that systems give to whoever connects (Linux begins at 32768): those are soon taken while the
/// server is stopped to be started again.
fn port() -> Result<u16> {
    let free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    let first = RandomState::new().hash_one(std::process::id()) % 1_000;
    (8_000..9_000)
        .cycle()
        .skip(usize::try_from(first)?)
        .take(1_000)
        .find(free)
        .context("every port from 8000 to 8999 is taken")
}

fn serve(programs: &Path, folder: &Path, data: &Path, owner: &Owner, port: u16) -> Result<Child> {
    let log_file = File::create(folder.join("log"))?;
    let mut postgres = owner.command(&programs.join("postgres"), folder);
    postgres
        .arg("-D")
        .arg(data)
        .args(["-p", &port.to_string()])
        .arg("-c")
        .arg(format!("unix_socket_directories={}", folder.display()));
    for setting in [
        "listen_addresses=127.0.0.1",
        "max_connections=200",
        "fsync=off",
        "synchronous_commit=off",
        "full_page_writes=off",
    ] {
        postgres.args(["-c", setting]);
    }
    let mut server = postgres
        .stdin(Stdio::null())
        .stdout(log_file.try_clone()?)
        .stderr(log_file)
        // A signal from the terminal is for us; we stop it when its last user is gone.
        .process_group(0)
        .spawn()
        .context("cannot start PostgreSQL")?;
    match wait_until_ready(&mut server, folder, data) {
        Ok(()) => Ok(server),
        Err(error) => {
            process::kill(&server, Signal::KILL);
            let _ = server.wait();
            Err(error)
        }
    }
}

fn wait_until_ready(server: &mut Child, folder: &Path, data: &Path) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        // The server writes its state on the eighth line; `pg_ctl` reads it there too.
        let state = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
        if state.lines().nth(7).map(str::trim) == Some("ready") {
            return Ok(());
        }
        if let Some(status) = server.try_wait()? {
            bail!("PostgreSQL did not start: {status}\n{}", log(folder));
        }
        if Instant::now() >= deadline {
            bail!("PostgreSQL was not ready in {PATIENCE:?}\n{}", log(folder));
        }
        signals::check()?;
        sleep(process::POLL);
    }
}

/// The end of the server's log.
fn log(folder: &Path) -> String {
    let text = fs::read(folder.join("log")).unwrap_or_default();
    process::tail(&String::from_utf8_lossy(&text))
}

/// The user that the server runs as: PostgreSQL refuses root.
#[derive(Debug)]
enum Owner {
    Caller,
    Other { user: u32, group: u32 },
}

impl Owner {
    fn choose() -> Result<Self> {
        if !process::is_root() {
            return Ok(Self::Caller);
        }
        let id = |kind: &str| -> Result<u32> {
            let id = process::output(Command::new("id").args([kind, "nobody"]))?;
            id.trim().parse().context("`id` did not print a number")
        };
        Ok(Self::Other {
            user: id("-u")?,
            group: id("-g")?,
        })
    }

    /// Makes `folder` theirs.
    fn give(&self, folder: &Path) -> Result<()> {
        if let Self::Other { user, group } = *self {
            std::os::unix::fs::chown(folder, Some(user), Some(group))
                .with_context(|| format!("cannot give away {}", folder.display()))?;
        }
        Ok(())
    }

    /// A command that runs as them, in `folder`.
    fn command(&self, program: &Path, folder: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(folder).env("LC_ALL", "C");
        // These would change what the programs do.
        for name in ["PGDATA", "PGPORT", "PGHOST", "PGUSER"] {
            command.env_remove(name);
        }
        if let Self::Other { user, group } = *self {
            command.gid(group).uid(user);
        }
        command
    }
}

/// A file that says which folder this process answers for. It goes when the process drops it.
#[derive(Debug)]
struct Record {
    file: File,
    path: PathBuf,
}

impl Record {
    /// Sweeps `records`, then makes one for this process.
    fn create(records: &Path) -> Result<Self> {
        // Held while records are looked at or made, so that nobody sees one that is not locked yet.
        let gate = File::create(records.join("gate"))?;
        gate.lock().context("cannot lock the records of clusters")?;
        sweep(records)?;
        let path = records.join(format!("{}.record", std::process::id()));
        let file = File::create(&path)?;
        file.lock()?;
        Ok(Self { file, path })
    }

    fn write(&mut self, folder: &Path) -> Result<()> {
        let text = folder
            .to_str()
            .context("the temporary folder's name is not UTF-8")?;
        Ok(self.file.write_all(text.as_bytes())?)
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Stops and deletes the clusters whose process is gone.
fn sweep(records: &Path) -> Result<()> {
    for entry in fs::read_dir(records)? {
        let path = entry?.path();
        if path
            .extension()
            .is_none_or(|extension| extension != "record")
        {
            continue;
        }
        match File::open(&path)?.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => continue,
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        let folder = PathBuf::from(fs::read_to_string(&path)?);
        let ours = folder
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with(PREFIX));
        if ours && folder.is_dir() {
            eprintln!(
                "removing a PostgreSQL cluster that was left in {}",
                folder.display()
            );
            stop_left_over(&folder.join("data"))?;
            fs::remove_dir_all(&folder)
                .with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        fs::remove_file(&path)?;
    }
    Ok(())
}

/// Stops the server of the cluster in `data`, if one runs.
fn stop_left_over(data: &Path) -> Result<()> {
    let Some(pid) = server_of(data) else {
        return Ok(());
    };
    for signal in [Signal::QUIT, Signal::KILL] {
        let _ = kill_process(pid, signal);
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if test_kill_process(pid).is_err() {
                return Ok(());
            }
            sleep(process::POLL);
        }
    }
    bail!("cannot stop PostgreSQL, process {}", pid.as_raw_pid())
}

/// The process that serves `data`: by the id it wrote down, if that process was started for this folder.
fn server_of(data: &Path) -> Option<Pid> {
    let state = fs::read_to_string(data.join("postmaster.pid")).ok()?;
    let id: i32 = state.lines().next()?.trim().parse().ok()?;
    let arguments = fs::read(format!("/proc/{id}/cmdline"))
        .or_else(|_| {
            // Systems without /proc.
            let id = id.to_string();
            let ps = Command::new("ps").args(["-o", "args=", "-p", &id]).output();
            ps.map(|output| output.stdout)
        })
        .ok()?;
    String::from_utf8_lossy(&arguments)
        .contains(data.to_str()?)
        .then(|| Pid::from_raw(id))
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_left_alone_while_its_process_lives_and_swept_after() {
        let records = tempfile::tempdir().unwrap();
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir().unwrap();
        let mut record = Record::create(records.path()).unwrap();
        record.write(folder.path()).unwrap();

        sweep(records.path()).unwrap();
        assert!(folder.path().is_dir());

        // What stays of a process that was killed: the record, not its lock.
        let path = record.path.clone();
        record.file.unlock().unwrap();
        sweep(records.path()).unwrap();
        assert!(!folder.path().exists());
        assert!(!path.exists());
    }

    #[test]
    fn a_record_never_names_a_folder_of_somebody_else() {
        let records = tempfile::tempdir().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = records.path().join("1.record");
        fs::write(&path, folder.path().to_str().unwrap()).unwrap();
        sweep(records.path()).unwrap();
        assert!(folder.path().is_dir());
        assert!(!path.exists());
    }

    #[test]
    fn a_process_that_does_not_serve_the_folder_is_not_its_server() {
        let data = tempfile::tempdir().unwrap();
        assert_eq!(server_of(data.path()), None);
        let own_id = std::process::id().to_string();
        fs::write(data.path().join("postmaster.pid"), own_id).unwrap();
        assert_eq!(server_of(data.path()), None);
    }
}
