//! The servers: impostors in this process, each with a name of its own where there are several, and what has befallen it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use opencode_host::clock::{Clock as _, SystemClock, Timestamp};
use opencode_host::store::ServerName;
use opencode_impostor::{Impostor, Ledger, PromptPost};

use crate::script::script;
use crate::trouble::Past;

/// One server.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) name: ServerName,
    pub(crate) impostor: Arc<Impostor>,
    pub(crate) past: Past,
    dead: Arc<AtomicBool>,
}

/// All of them.
#[derive(Clone)]
pub(crate) struct Fleet(Vec<Site>);

impl Fleet {
    /// Starts so many servers.
    pub(crate) async fn start(servers: u8) -> anyhow::Result<Self> {
        let mut sites = Vec::new();
        for number in 1..=servers {
            let impostor = Impostor::builder()
                .script(script())
                .heartbeat(Duration::from_secs(2))
                .patience(Duration::from_secs(20))
                .start()
                .await?;
            let name = match servers {
                1 => ServerName::default(),
                _ => ServerName::new(format!("server-{number}"))?,
            };
            sites.push(Site {
                name,
                impostor: Arc::new(impostor),
                past: Past::default(),
                dead: Arc::default(),
            });
        }
        Ok(Self(sites))
    }

    pub(crate) fn sites(&self) -> &[Site] {
        &self.0
    }

    /// Those that have not died for good.
    pub(crate) fn alive(&self) -> impl Iterator<Item = &Site> {
        self.0.iter().filter(|site| !site.is_dead())
    }

    /// What they were asked.
    pub(crate) fn ledgers(&self) -> Ledgers {
        let of = |site: &Site| SiteLedger {
            name: site.name.clone(),
            past: site.past.clone(),
            dead: site.is_dead(),
            ledger: site.impostor.ledger(),
        };
        Ledgers(self.0.iter().map(of).collect())
    }
}

impl Site {
    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// The server dies, with what it was at, and comes back.
    pub(crate) async fn restart(&self, away: Duration) -> anyhow::Result<()> {
        let died = SystemClock.now();
        self.impostor.kill().await;
        tokio::time::sleep(away).await;
        self.impostor
            .restart()
            .await
            .context("the server's port is taken")?;
        self.past.deaths.add(died, SystemClock.now());
        Ok(())
    }

    /// The server dies for good.
    pub(crate) async fn die(&self) {
        self.dead.store(true, Ordering::Relaxed);
        let died = SystemClock.now();
        self.impostor.kill().await;
        self.past.deaths.add(died, Timestamp(i64::MAX));
    }
}

/// What a server was asked, in the end.
pub(crate) struct SiteLedger {
    pub(crate) name: ServerName,
    pub(crate) past: Past,
    /// It died for good.
    pub(crate) dead: bool,
    pub(crate) ledger: Ledger,
}

/// What all servers were asked.
pub(crate) struct Ledgers(Vec<SiteLedger>);

impl Ledgers {
    pub(crate) fn each(&self) -> impl Iterator<Item = &SiteLedger> {
        self.0.iter()
    }

    /// How often a model was run for a prompt.
    pub(crate) fn model_runs(&self, message: &str) -> usize {
        self.each()
            .map(|site| site.ledger.model_runs(message))
            .sum()
    }

    /// The posts of each prompt, by its text, with the server that took them.
    pub(crate) fn posts(&self) -> HashMap<&str, Vec<(&SiteLedger, &PromptPost)>> {
        let mut posts: HashMap<&str, Vec<_>> = HashMap::new();
        for site in self.each() {
            for post in site.ledger.prompt_posts() {
                posts.entry(&post.text).or_default().push((site, post));
            }
        }
        posts
    }
}

impl SiteLedger {
    /// Whether this session was told of a prompt: it was posted there, or stands in a transcript that was.
    pub(crate) fn knows(&self, session: &str, prompt: &str) -> bool {
        let posted = self.ledger.prompts(session);
        let told = self.ledger.notes(session);
        posted.iter().any(|post| post.text == prompt)
            || told.iter().any(|note| note.text.contains(prompt))
    }

    /// The sessions that are left, but those.
    pub(crate) fn left_over<'a>(&'a self, owned: &BTreeSet<(&str, &str)>) -> Vec<&'a str> {
        let mut alive = self.ledger.sessions_alive();
        alive.retain(|session| !owned.contains(&(self.name.as_str(), session)));
        alive
    }
}
