//! A server of our own: started here, started again when it crashes, stopped with this process.

use std::process::ExitStatus;
use std::time::{Duration, Instant};

use opencode_client::{Backoff, Client, Error as ClientError, Health};
use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::guard;
use super::last_lines::LastLines;
use super::launch::Launch;
use super::{orphans, seal};
use crate::exit::Failure;
use crate::terminal;

/// How long a server may take to answer. It boots in 1 to 5 s.
const BOOT: Duration = Duration::from_secs(60);
/// How often a server that starts is asked. A request in its first moments may never be answered; the client gives
/// each one second.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// How long a server may take to load what seals it, and how long until it has run that.
const LOADED: Duration = Duration::from_secs(30);
const SEALED: Duration = Duration::from_secs(10);
/// How long nobody is told that a server is starting.
const SILENCE: Duration = Duration::from_secs(2);
/// A server that ran so long starts the waits between its starts anew.
const GOOD_RUN: Duration = Duration::from_secs(60);
/// How long the last words of a server that has ended may take to arrive.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// A server that this process keeps running.
#[derive(Debug)]
pub(super) struct Supervisor {
    client: Client,
    name: String,
    state: watch::Receiver<State>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

#[derive(Clone, Debug)]
enum State {
    /// It has not answered yet.
    Starting,
    /// It has answered; it may be away for a while since.
    Ready {
        health: Health,
        /// Whether the agent's shell can read its password.
        shows_password: bool,
    },
    /// It never came up.
    Broken(String),
}

impl State {
    fn shows_password(&self) -> bool {
        matches!(*self, Self::Ready { shows_password, .. } if shows_password)
    }
}

impl Supervisor {
    /// Starts the server, and does not wait for it.
    pub(super) fn start(launch: Launch) -> Result<Self, Failure> {
        // Of a guard that is killed. While there is one, it adopts them.
        orphans::adopt();
        let client = launch.client()?;
        let (sender, state) = watch::channel(State::Starting);
        let stop = CancellationToken::new();
        let keeper = Keeper {
            client: client.clone(),
            name: launch.name(),
            launch,
            output: LastLines::default(),
            state: sender,
            stop: stop.clone(),
        };
        Ok(Self {
            client,
            name: keeper.name.clone(),
            state,
            stop,
            task: tokio::spawn(keeper.keep()),
        })
    }

    /// Talks to the server, once it is there.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Waits until the server answers for the first time.
    pub(super) async fn ready(&self) -> Result<Health, Failure> {
        let mut state = self.state.clone();
        let settled = async {
            let state = state
                .wait_for(|state| !matches!(state, State::Starting))
                .await;
            state.map(|state| state.clone())
        };
        tokio::pin!(settled);
        let settled = match tokio::time::timeout(SILENCE, &mut settled).await {
            Ok(settled) => settled,
            Err(_) => {
                terminal::tell(format_args!("· starting OpenCode ({}) …", self.name));
                settled.await
            }
        };
        match settled {
            Ok(State::Ready { health, .. }) => Ok(health),
            Ok(State::Broken(why)) => Err(Failure::configuration(why)),
            Ok(State::Starting) | Err(_) => {
                Err(Failure::error("OpenCode was stopped while it started"))
            }
        }
    }

    /// Whether the agent's shell can read the password of the server, which is ready.
    pub(super) fn shows_password(&self) -> bool {
        self.state.borrow().shows_password()
    }

    /// Stops the server and waits until it is gone.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        let _ = self.task.await;
    }
}

/// How one run of the server ended.
enum Ended {
    /// It was stopped from here.
    Stopped,
    /// It ended, or was ended because it did not answer.
    Died(String),
}

struct Keeper {
    client: Client,
    name: String,
    launch: Launch,
    output: LastLines,
    state: watch::Sender<State>,
    stop: CancellationToken,
}

impl Keeper {
    /// Runs the server again and again until it is stopped.
    async fn keep(self) {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
        loop {
            let started = Instant::now();
            let how = match self.run().await {
                Ended::Stopped => return,
                Ended::Died(how) => how,
            };
            if !matches!(*self.state.borrow(), State::Ready { .. }) {
                self.state.send_replace(State::Broken(format!(
                    "OpenCode ({}) did not start: {how}. {}\nTry `opencode serve` by hand, name another program with \
                     {}, or give a running server with --opencode-url",
                    self.name,
                    self.output.told(),
                    super::locate::VARIABLE,
                )));
                return;
            }
            if started.elapsed() >= GOOD_RUN {
                backoff.reset();
            }
            let wait = backoff.next(1.0);
            // What it printed may hold a piece of a conversation: that is for the debug level.
            let wait_ms = wait.as_millis() as u64;
            tracing::warn!(how, wait_ms, "OpenCode ended; it is started again");
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.stop.cancelled() => return,
            }
        }
    }

    async fn run(&self) -> Ended {
        self.output.clear();
        let mut server = match Guarded::start(&self.launch, &self.output).await {
            Ok(server) => server,
            Err(error) => return Ended::Died(error.to_string()),
        };
        let boot = async {
            let answer = tokio::time::timeout(BOOT, first_answer(&self.client)).await;
            let health =
                answer.map_err(|_| format!("it did not answer within {} s", BOOT.as_secs()))?;
            let shows_password = self.shows_password().await;
            self.refuses_strangers().await?;
            Ok::<_, String>(State::Ready {
                health,
                shows_password,
            })
        };
        let ready = tokio::select! {
            () = self.stop.cancelled() => return server.stopped().await,
            how = server.ended() => return Ended::Died(how),
            ready = boot => ready,
        };
        let ready = match ready {
            Ok(ready) => ready,
            Err(how) => {
                server.stop().await;
                return Ended::Died(how);
            }
        };
        match self.state.send_replace(ready) {
            State::Ready { .. } => {
                tracing::warn!("OpenCode answers again");
                if self.state.borrow().shows_password() {
                    tracing::warn!("{}", seal::SHOWS_PASSWORD);
                }
            }
            _ => tracing::debug!(program = self.name, "OpenCode answers"),
        }
        tokio::select! {
            () = self.stop.cancelled() => server.stopped().await,
            how = server.ended() => Ended::Died(how),
        }
    }
}

impl Keeper {
    /// Has the server seal itself, and looks whether other programs still read its password.
    async fn shows_password(&self) -> bool {
        let loaded = async {
            // A request in a server's first moments may never be answered.
            loop {
                match self.client.load_own_folder().await {
                    Ok(()) => return true,
                    Err(ClientError::Connection { .. } | ClientError::Timeout { .. }) => {
                        tokio::time::sleep(ASK_EVERY).await;
                    }
                    Err(error) => {
                        tracing::debug!(%error, "OpenCode does not seal itself");
                        return false;
                    }
                }
            }
        };
        let loaded = tokio::time::timeout(LOADED, loaded).await.unwrap_or(false);
        let patience = if loaded { SEALED } else { Duration::ZERO };
        let since = Instant::now();
        loop {
            let password = self.launch.password().to_owned();
            let shows = tokio::task::spawn_blocking(move || seal::shows(&password)).await;
            match shows {
                Ok(false) => return false,
                Ok(true) if since.elapsed() < patience => tokio::time::sleep(ASK_EVERY).await,
                _ => return true,
            }
        }
    }

    /// Refuses a server that serves whoever comes: one that is sealed may have lost its password.
    async fn refuses_strangers(&self) -> Result<(), String> {
        let stranger = self.launch.stranger();
        let stranger = stranger.map_err(|failure| failure.message().to_owned())?;
        match stranger.health().await {
            Ok(_) => Err("it answers without its password".to_owned()),
            Err(_) => Ok(()),
        }
    }
}

async fn first_answer(client: &Client) -> Health {
    loop {
        match client.health().await {
            Ok(health) => return health,
            Err(_) => tokio::time::sleep(ASK_EVERY).await,
        }
    }
}

/// One run of the server, with its guard. Dropping it stops both too, without waiting for them.
struct Guarded {
    guard: Child,
    said: Lines<BufReader<ChildStdout>>,
    listener: Option<JoinHandle<()>>,
    /// The server's process id, once it was told.
    leader: Option<u32>,
}

impl Guarded {
    async fn start(launch: &Launch, output: &LastLines) -> std::io::Result<Self> {
        let mut guard = launch.command()?.spawn()?;
        if let Some(orders) = &mut guard.stdin {
            // A guard that could not be run closes the pipe, and tells by its end.
            let _ = orders.write_all(launch.orders().as_bytes()).await;
        }
        let missing = || std::io::Error::other("the guard has no pipes");
        let said = BufReader::new(guard.stdout.take().ok_or_else(missing)?).lines();
        let mut printed = guard.stderr.take().ok_or_else(missing)?;
        let output = output.clone();
        let listener = tokio::spawn(async move {
            let mut bytes = vec![0; 8 << 10];
            while let Ok(count @ 1..) = printed.read(&mut bytes).await {
                output.feed(&bytes[..count], |line| tracing::debug!("opencode: {line}"));
            }
        });
        Ok(Self {
            guard,
            said,
            listener: Some(listener),
            leader: None,
        })
    }

    /// Waits until the server has ended, and tells how. Nothing is lost when the future is dropped.
    async fn ended(&mut self) -> String {
        let mut how = None;
        while let Ok(Some(line)) = self.said.next_line().await {
            if let Some(leader) = line.strip_prefix(guard::STARTED) {
                self.leader = leader.parse().ok();
            } else if let Some(status) = line.strip_prefix(guard::ENDED) {
                how = Some(format!("it ended with {status}"));
            }
        }
        let status = self.guard.wait().await;
        self.hear_last_words().await;
        match how {
            Some(how) => how,
            None => self.without_guard(status).await,
        }
    }

    /// The guard ended first.
    async fn without_guard(&self, status: std::io::Result<ExitStatus>) -> String {
        if let Some(leader) = self.leader {
            guard::kill_group(leader, Signal::KILL);
            orphans::end_all().await;
            let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
            return format!("its guard ended with {status}, and it was stopped");
        }
        "it cannot be run".to_owned()
    }

    async fn hear_last_words(&mut self) {
        if let Some(mut listener) = self.listener.take() {
            // Something that the server has started may keep the pipe open.
            if tokio::time::timeout(LAST_WORDS, &mut listener)
                .await
                .is_err()
            {
                listener.abort();
            }
        }
    }

    async fn stopped(self) -> Ended {
        self.stop().await;
        Ended::Stopped
    }

    /// Stops the server and its guard.
    async fn stop(mut self) {
        // The sign to stop.
        drop(self.guard.stdin.take());
        let limit = guard::GRACE + Duration::from_secs(4);
        if tokio::time::timeout(limit, self.ended()).await.is_err() {
            let _ = self.guard.kill().await;
            if let Some(leader) = self.leader {
                guard::kill_group(leader, Signal::KILL);
                orphans::end_all().await;
            }
        }
    }
}
