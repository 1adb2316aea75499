//! Turns at once, measured: a load server on one processor, the whole host on the other, and what a delta costs.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::cpu;
use crate::flood::Pace;
use crate::live::Report;
use crate::plot;

/// What `turns` is told.
#[derive(Clone, Debug, Args)]
pub(crate) struct TurnsArgs {
    /// How many turns at once; several numbers are several rows
    #[arg(
        long,
        value_name = "S,…",
        value_delimiter = ',',
        default_value = "100,500,2000"
    )]
    turns: Vec<usize>,
    #[command(flatten)]
    pace: Pace,
    /// Where the host keeps them: memory, sqlite (a new file), sqlite://PATH or postgres://URL
    #[arg(long, value_name = "STORE", default_value = "sqlite")]
    store: String,
    /// How often each is measured: told are the medians
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// One JSON object a row in the place of the table
    #[arg(long)]
    json: bool,
    /// Draw what a delta costs against the number of turns, as SVG
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// What so many turns at once cost.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    store: String,
    turns: usize,
    deltas: usize,
    /// CPU time of the host, in microseconds.
    us_per_delta: f64,
    late_p50_ms: f64,
    late_p99_ms: f64,
    late_max_ms: f64,
    maxrss_mb: f64,
    /// CPU time of the load server against the host's.
    flood_share: f64,
    /// Turns that did not complete, or whose stored text is not the server's.
    lost: usize,
}

/// Prints a row for each number of turns; whether nothing was lost.
pub(crate) async fn run(args: &TurnsArgs) -> anyhow::Result<bool> {
    let mut rows = Vec::new();
    for turns in &args.turns {
        let mut measured = Vec::new();
        for run in 1..=args.runs {
            eprintln!(
                "{turns} turns, {} deltas/s each, {} s, {}: run {run} of {}",
                args.pace.rate, args.pace.seconds, args.store, args.runs
            );
            measured.push(measure(args, *turns).await?);
        }
        let row = median(&measured).context("nothing was measured")?;
        if args.json {
            println!("{}", serde_json::to_string(&row)?);
        }
        rows.push(row);
    }
    if !args.json {
        print!("{}", table(&rows));
    }
    if let Some(path) = &args.svg {
        let points: Vec<_> = rows
            .iter()
            .map(|row| (row.turns, row.us_per_delta))
            .collect();
        std::fs::write(path, plot::svg(&points))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(rows.iter().all(|row| row.lost == 0))
}

/// This program, on another processor than that number where there are several.
fn program(processor: usize) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    if cpu::count() > 1 {
        command.args(["--cpu", &processor.to_string()]);
    }
    command.kill_on_drop(true);
    Ok(command)
}

async fn measure(args: &TurnsArgs, turns: usize) -> anyhow::Result<Row> {
    let pace = &args.pace;
    let folder = tempfile::tempdir()?;
    let store = match args.store.as_str() {
        "sqlite" => format!("sqlite://{}", folder.path().join("turns.db").display()),
        other => other.to_owned(),
    };
    let (mut flood, base) = start_flood(pace).await?;
    let limit = pace.seconds * 5 + 120;
    let live = program(0)?
        .args(["live", "--base", &base, "--store", &store])
        .args(["--sessions", &turns.to_string()])
        .args(["--limit", &limit.to_string()])
        .stdout(Stdio::piped())
        .spawn()?
        .wait_with_output()
        .await?;
    let flood_s = cpu_seconds(&flood);
    flood.kill().await?;
    let said = String::from_utf8_lossy(&live.stdout);
    let report: Report = serde_json::from_str(said.trim())
        .with_context(|| format!("the host gave no report, {}", live.status))?;
    let cpu_s = report.user_s + report.sys_s;
    Ok(Row {
        store: args.store.clone(),
        turns,
        deltas: report.deltas,
        us_per_delta: cpu_s * 1e6 / report.deltas.max(1) as f64,
        late_p50_ms: report.late_p50_ms,
        late_p99_ms: report.late_p99_ms,
        late_max_ms: report.late_max_ms,
        maxrss_mb: report.maxrss_kb as f64 / 1024.0,
        flood_share: flood_s / cpu_s,
        lost: report.lost.max(turns.saturating_sub(report.completed)),
    })
}

/// The load server, and where it is.
async fn start_flood(pace: &Pace) -> anyhow::Result<(Child, String)> {
    let mut flood = program(1)?
        .arg("flood")
        .args(["--rate", &pace.rate.to_string()])
        .args(["--seconds", &pace.seconds.to_string()])
        .args(["--delta-bytes", &pace.delta_bytes.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the load server")?;
    let said = flood
        .stdout
        .take()
        .context("the load server says nothing")?;
    let base = BufReader::new(said).lines().next_line().await?;
    Ok((flood, base.context("the load server did not start")?))
}

/// The CPU time of a child so far: `utime` and `stime` of proc(5), in ticks of 10 ms.
fn cpu_seconds(child: &Child) -> f64 {
    let read = |id| std::fs::read_to_string(format!("/proc/{id}/stat")).ok();
    let stat = child.id().and_then(read).unwrap_or_default();
    let behind_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = behind_name.split_whitespace().skip(11).take(2);
    let ticks = ticks.filter_map(|ticks| ticks.parse::<f64>().ok());
    ticks.sum::<f64>() / 100.0
}

/// The middle of each column.
fn median(rows: &[Row]) -> Option<Row> {
    let middle = |value: fn(&Row) -> f64| {
        let mut values: Vec<_> = rows.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let first = rows.first()?;
    Some(Row {
        store: first.store.clone(),
        turns: first.turns,
        deltas: first.deltas,
        us_per_delta: middle(|row| row.us_per_delta),
        late_p50_ms: middle(|row| row.late_p50_ms),
        late_p99_ms: middle(|row| row.late_p99_ms),
        late_max_ms: middle(|row| row.late_max_ms),
        maxrss_mb: middle(|row| row.maxrss_mb),
        flood_share: middle(|row| row.flood_share),
        // What is lost once is lost.
        lost: rows.iter().map(|row| row.lost).max().unwrap_or(0),
    })
}

fn table(rows: &[Row]) -> String {
    use std::fmt::Write as _;
    let mut table = String::from(
        "| store | turns | deltas | CPU µs a delta | p50 ms | p99 ms | max ms | memory MiB | load server | lost |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    for row in rows {
        // Writing to a string does not fail.
        let _written = writeln!(
            table,
            "| {} | {} | {} | {:.1} | {:.1} | {:.1} | {:.1} | {:.0} | {:.0} % | {} |",
            row.store,
            row.turns,
            row.deltas,
            row.us_per_delta,
            row.late_p50_ms,
            row.late_p99_ms,
            row.late_max_ms,
            row.maxrss_mb,
            row.flood_share * 100.0,
            row.lost
        );
    }
    table
}
