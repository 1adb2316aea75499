//! What the host makes of an agent's file, and what poses as it.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use opencode_host::artifacts::{Artifact, DefaultAttach, Echo, Transform};
use opencode_host::blobs::Digest;
use opencode_host::product::HookError;
use opencode_host::store::AttachmentSource;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Bench, edit, exchange, nothing, pairs, write};

/// Renders `chart.json`: `{"bars": [1, 2]}`.
#[derive(Debug)]
struct Chart;

#[async_trait]
impl Transform for Chart {
    fn source_name(&self) -> &'static str {
        "chart.json"
    }

    fn destination_name(&self) -> &'static str {
        "chart.html"
    }

    fn applies_to(&self, source: &Artifact) -> bool {
        !source.bytes.is_empty()
    }

    async fn render(&self, source: &Artifact) -> Result<Artifact, HookError> {
        let chart: Value = serde_json::from_slice(&source.bytes)?;
        assert_ne!(chart, json!("panic"), "a renderer with a mistake");
        let bars = chart["bars"].as_array().ok_or("no bars")?;
        let mut artifact = Artifact::new("any name", format!("<p>{} bars</p>", bars.len()));
        "text/html".clone_into(&mut artifact.mime_type);
        artifact.trust.insert("kind".to_owned(), json!("chart"));
        Ok(artifact)
    }
}

async fn bench() -> Bench {
    let mut bench = Bench::new().await;
    bench.transforms = vec![Arc::new(Chart)];
    bench
}

#[tokio::test]
async fn the_hosts_own_is_attached_with_trust() {
    let bench = bench().await;
    bench.put("chart.json", r#"{"bars": [1, 2]}"#);
    for added in [2, 0] {
        let report = bench.attach(&nothing()).await;
        assert_eq!((report.added, report.counterfeits), (added, 0));
    }
    let expected = [
        ("chart.html", "<p>2 bars</p>"),
        ("chart.json", r#"{"bars": [1, 2]}"#),
    ];
    assert_eq!(bench.files().await, pairs(&expected));
    let row = bench.row("chart.html").await;
    assert_eq!(row.source, AttachmentSource::Transform);
    assert_eq!(
        (row.mime_type.as_str(), &row.trust["kind"]),
        ("text/html", &json!("chart"))
    );
    assert!(Chart.trusted(&row));
}

#[tokio::test]
async fn a_forgery_never_stands() {
    // In the sandbox, told by a tool, in other letters, there before: alone, and beside the source.
    for with_source in [true, false] {
        for forgery in [
            "sandbox",
            "tool",
            "letters",
            "present",
            "present in other letters",
        ] {
            let bench = bench().await;
            if with_source {
                bench.put("chart.json", r#"{"bars": []}"#);
            }
            let mut told = nothing();
            match forgery {
                "sandbox" => bench.put("deep/chart.html", "forged"),
                "tool" => told = exchange(&[write(Path::new("/x/chart.html"), "forged")]),
                "letters" => bench.put("Chart.HTML", "forged"),
                "present" => {
                    bench
                        .present("chart.html", "forged", AttachmentSource::Tool)
                        .await
                }
                _ => {
                    bench
                        .present("CHART.html", "forged", AttachmentSource::Sandbox)
                        .await
                }
            }
            for round in 0..2 {
                let report = bench.attach(&told).await;
                let files = bench.files().await;
                assert!(
                    !format!("{files:?}").contains("forged"),
                    "{forgery}: {files:?}"
                );
                let own = files
                    .iter()
                    .any(|(name, content)| name == "chart.html" && content == "<p>0 bars</p>");
                assert_eq!(own, with_source, "{forgery}: {files:?}");
                if round == 0 {
                    assert_eq!(report.counterfeits, 1, "{forgery}");
                    let reported = bench.reported();
                    assert!(
                        reported[0].contains("is not the host's own"),
                        "{reported:?}"
                    );
                }
            }
        }
    }
}

/// A bench whose message is the next turn's: what its files are is known, and lies in the sandbox still, since the
/// cutoff takes two seconds more than the turn.
async fn next_turn(mut bench: Bench) -> Bench {
    let earlier = bench.store.attachments(bench.message).await.unwrap();
    bench.message = super::message(&*bench.store).await;
    bench.echo = Echo::of(&earlier);
    bench
}

#[tokio::test]
async fn what_an_earlier_turn_made_of_a_file_is_not_made_again() {
    let one = r#"{"bars": [1]}"#;
    let two = r#"{"bars": [1, 2]}"#;
    let source = Path::new("chart.json");
    for default_attach in [DefaultAttach::All, DefaultAttach::None] {
        for by_tool in [false, true] {
            let mut bench = bench().await;
            bench.default_attach = default_attach;
            bench.put("chart.json", one);
            let told = |bytes: &str| {
                if by_tool {
                    exchange(&[write(source, bytes)])
                } else {
                    nothing()
                }
            };
            bench.attach(&told(one)).await;
            assert!(
                bench
                    .files()
                    .await
                    .contains(&pairs(&[("chart.html", "<p>1 bars</p>")])[0])
            );

            // A turn that does nothing.
            let bench = next_turn(bench).await;
            let report = bench.attach(&nothing()).await;
            assert_eq!(
                (report.added, report.failed),
                (0, 0),
                "{default_attach:?} {by_tool}"
            );

            // New bytes under the same name.
            bench.put("chart.json", two);
            bench.attach(&told(two)).await;
            let made = pairs(&[("chart.html", "<p>2 bars</p>")]);
            assert!(
                bench.files().await.contains(&made[0]),
                "{default_attach:?} {by_tool}"
            );

            // A tool that writes the same bytes again: the person sees that it did.
            let bench = next_turn(bench).await;
            let again = exchange(&[write(&bench.sandbox.path().join(source), two)]);
            bench.attach(&again).await;
            assert!(
                bench.files().await.contains(&made[0]),
                "{default_attach:?} {by_tool}"
            );
        }
    }
}

#[tokio::test]
async fn a_source_of_an_earlier_turn_does_not_hide_a_new_one() {
    let mut bench = bench().await;
    bench.default_attach = DefaultAttach::None;
    bench.put("chart.json", r#"{"bars": [1]}"#);
    bench.attach(&nothing()).await;
    let bench = next_turn(bench).await;
    bench.put("z/chart.json", r#"{"bars": [1, 2]}"#);
    bench.attach(&nothing()).await;
    assert_eq!(
        bench.files().await,
        pairs(&[("chart.html", "<p>2 bars</p>")])
    );
}

#[tokio::test]
async fn nothing_is_made_of_a_persons_own_file() {
    let uploaded = r#"{"bars": [1]}"#;
    let mut bench = bench().await;
    bench
        .echo
        .upload("chart.json", Digest::of(uploaded.as_bytes()));
    bench.put("chart.json", uploaded);
    let at = bench.sandbox.path().join("chart.json");
    for told in [nothing(), exchange(&[edit(&at)])] {
        assert_eq!(bench.attach(&told).await.added, 0);
    }
    // Changed by the agent it is the agent's.
    bench.put("chart.json", r#"{"bars": [1, 2]}"#);
    bench.attach(&exchange(&[edit(&at)])).await;
    assert!(
        bench
            .files()
            .await
            .contains(&pairs(&[("chart.html", "<p>2 bars</p>")])[0])
    );
}

#[tokio::test]
async fn a_failing_renderer_costs_its_own_file_alone() {
    for (source, failure) in [
        ("{}", "no bars"),
        ("{", "EOF"),
        ("\"panic\"", "the transform panicked"),
    ] {
        let bench = bench().await;
        bench.put("chart.json", source);
        bench.put("notes.md", "notes");
        let report = bench.attach(&nothing()).await;
        assert_eq!((report.added, report.failed), (2, 1), "{source}");
        assert_eq!(
            bench.files().await,
            pairs(&[("chart.json", source), ("notes.md", "notes")])
        );
        assert!(
            bench.reported()[0].contains(failure),
            "{:?}",
            bench.reported()
        );
    }
    let bench = bench().await;
    bench.put("chart.json", "");
    let report = bench.attach(&nothing()).await;
    assert_eq!((report.added, report.failed), (1, 0), "it does not apply");
}

#[tokio::test]
async fn transforms_run_where_nothing_else_is_attached() {
    let mut bench = bench().await;
    bench.default_attach = DefaultAttach::None;
    // Told by a tool and not in the sandbox: the call has the source.
    let told = exchange(&[write(Path::new("/x/chart.json"), r#"{"bars": [1]}"#)]);
    bench.attach(&told).await;
    assert_eq!(
        bench.files().await,
        pairs(&[("chart.html", "<p>1 bars</p>")])
    );
}

#[tokio::test]
async fn the_source_near_the_top_is_read() {
    let mut bench = bench().await;
    bench.default_attach = DefaultAttach::None;
    bench.put("a/b/chart.json", r#"{"bars": [1]}"#);
    bench.put("z/chart.json", r#"{"bars": [1, 2]}"#);
    bench.attach(&nothing()).await;
    assert_eq!(
        bench.files().await,
        pairs(&[("chart.html", "<p>2 bars</p>")])
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever lies in the sandbox and whatever tools tell: no bytes of the agent's stand under the trusted name.
    #[test]
    fn no_agents_bytes_under_the_trusted_name(
        files in proptest::collection::vec(
            (prop_oneof!["chart\\.html", "Chart\\.html", "chart\\.json", "x/chart\\.html", "[a-c]\\.txt"], "[a-z]{0,8}", any::<bool>()),
            0..6,
        ),
        before in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let bench = bench().await;
            if before {
                bench.present("chart.html", "forged before", AttachmentSource::Tool).await;
            }
            let mut calls = Vec::new();
            for (path, content, by_tool) in &files {
                if *by_tool {
                    calls.push(write(&bench.sandbox.path().join(path), content));
                } else {
                    bench.put(path, content);
                }
            }
            let told = exchange(&calls);
            bench.attach(&told).await;
            bench.attach(&told).await;
            for file in bench.store.attachments(bench.message).await.unwrap() {
                assert!(!file.name.eq_ignore_ascii_case("chart.html") || Chart.trusted(&file), "{file:?}");
                assert!(file.trust.is_empty() || Chart.trusted(&file), "{file:?}");
            }
        });
    }
}
