//! The least that reading the same bytes can cost.
//!
//! Reads the socket by as much as it has, splits at blank lines, and borrows
//! type, session and delta with serde. Nothing is kept, nothing is passed on.

use std::borrow::Cow;
use std::time::Duration;

use anyhow::Context as _;
use opencode_client::wire::Prompt;
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::expect::{Plan, client};
use crate::meter::{Meter, Report, peak_memory_kb};
use crate::stream_args::StreamArgs;

#[derive(Deserialize)]
struct Outer<'a> {
    #[serde(borrow)]
    payload: Payload<'a>,
}

#[derive(Deserialize)]
struct Payload<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    properties: Properties<'a>,
}

#[derive(Default, Deserialize)]
struct Properties<'a> {
    #[serde(rename = "sessionID", borrow)]
    session: Option<Cow<'a, str>>,
    #[serde(borrow)]
    delta: Option<Cow<'a, str>>,
}

pub(crate) async fn run(args: &StreamArgs) -> anyhow::Result<Report> {
    let client = client(args)?;
    let plan = Plan::prepare(args, &client).await?;
    let sessions = plan.turns.len();
    let url = url::Url::parse(&args.base)?;
    let address = (
        url.host_str().unwrap_or("127.0.0.1").to_owned(),
        url.port_or_known_default().unwrap_or(80),
    );

    let meter = Meter::start()?;
    let mut socket = TcpStream::connect(address)
        .await
        .context("cannot connect")?;
    socket
        .write_all(b"GET /global/event HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await?;
    let reading = tokio::spawn(async move {
        let mut buffer = vec![0; 64 << 10];
        let (mut filled, mut idle, mut events, mut deltas) = (0, 0, 0u64, 0u64);
        while idle < sessions {
            let read = socket.read(&mut buffer[filled..]).await?;
            anyhow::ensure!(read > 0, "the stream ended early");
            filled += read;
            let mut start = 0;
            while let Some(end) = memchr::memmem::find(&buffer[start..filled], b"\n\n") {
                let frame = &buffer[start..start + end];
                start += end + 2;
                let Some(at) = memchr::memmem::find(frame, b"data: ") else {
                    continue;
                };
                let Ok(outer) = serde_json::from_slice::<Outer<'_>>(&frame[at + 6..]) else {
                    continue;
                };
                let properties = outer.payload.properties;
                events += u64::from(properties.session.is_some());
                deltas += u64::from(properties.delta.is_some());
                idle += usize::from(outer.payload.kind == "session.idle");
            }
            buffer.copy_within(start..filled, 0);
            filled -= start;
            if filled == buffer.len() {
                buffer.resize(filled * 2, 0);
            }
        }
        Ok::<_, anyhow::Error>((events, deltas))
    });
    for turn in plan.turns {
        client
            .prompt_async(&turn.session, &turn.ids, &Prompt::text(turn.prompt))
            .await
            .context("cannot prompt")?;
    }
    let (events, deltas) = tokio::time::timeout(Duration::from_secs(args.limit), reading)
        .await
        .map_err(|_| anyhow::anyhow!("not all turns ended within {} s", args.limit))???;
    let cost = meter.read()?;
    Ok(Report {
        peer: args.base.clone(),
        subs: "reference",
        sessions,
        deltas: deltas / sessions.max(1) as u64,
        wall_s: cost.wall_s,
        user_s: cost.user_s,
        sys_s: cost.sys_s,
        maxrss_kb: peak_memory_kb(),
        own_events: events,
        verified: 0,
        bad: 0,
    })
}
