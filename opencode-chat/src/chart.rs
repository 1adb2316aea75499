//! What this application makes of an agent's `chart.json`: a page with the chart, which it vouches for.
//!
//! The agent gives numbers and words; every tag, style and coordinate is made here.
//! So the page may be shown inside the conversation, where no HTML of an agent's may.

mod axis;
mod data;
mod page;

use async_trait::async_trait;
use opencode_host::artifacts::{Artifact, Transform};
use opencode_host::product::HookError;

use data::{Chart, ChartError};

/// What the agent is told, in one line.
pub(crate) const INSTRUCTION: &str = "To show the user a chart, write `chart.json` in the working folder: \
    {\"title\": \"…\", \"kind\": \"bar\" or \"line\", \"unit\": \"…\", \"labels\": [\"…\"], \
    \"series\": [{\"name\": \"…\", \"values\": [1.5]}]}. The application draws it under your answer.";

/// `chart.json`, drawn as `chart.html`.
#[derive(Debug)]
pub struct ChartPage;

#[async_trait]
impl Transform for ChartPage {
    fn source_name(&self) -> &'static str {
        "chart.json"
    }

    fn destination_name(&self) -> &'static str {
        "chart.html"
    }

    async fn render(&self, source: &Artifact) -> Result<Artifact, HookError> {
        let chart = serde_json::from_slice(&source.bytes).map_err(ChartError::from);
        let page = match chart.and_then(Chart::checked) {
            Ok(chart) => page::draw(&chart)?,
            // The reader is told: a chart that is missing without a word is taken for an answer without one.
            Err(error) => page::undrawn(&error)?,
        };
        Ok(Artifact::new(self.destination_name(), page))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn drawn(json: &str) -> Result<String, String> {
        let source = Artifact::new("chart.json", json.to_owned());
        let artifact = ChartPage
            .render(&source)
            .await
            .map_err(|error| error.to_string())?;
        assert_eq!(
            (artifact.name.as_str(), artifact.mime_type.as_str()),
            ("chart.html", "text/html")
        );
        Ok(String::from_utf8(artifact.bytes.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn bars_and_lines_are_drawn() {
        let page = drawn(
            r#"{"title": "Sales", "unit": "€", "labels": ["Q1", "Q2"],
                "series": [{"name": "2025", "values": [10, -5]}, {"name": "2026", "values": [20.5, null]}]}"#,
        )
        .await
        .unwrap();
        assert_eq!(page.matches("<rect").count(), 3, "{page}");
        for wanted in [
            "<h1>Sales</h1>",
            "<title>Q1, 2026: 20.5 €</title>",
            "2025</li>",
            ">Q2</text>",
        ] {
            assert!(page.contains(wanted), "{wanted} in {page}");
        }
        let page = drawn(r#"{"kind": "line", "series": [{"values": [1, 2, null, 4]}]}"#)
            .await
            .unwrap();
        assert_eq!(
            (
                page.matches("<polyline").count(),
                page.matches("<circle").count()
            ),
            (1, 3),
            "{page}"
        );
        drawn(r#"{"series": [{"values": [0]}]}"#).await.unwrap();
        drawn(r#"{"series": [{"values": [null]}]}"#).await.unwrap();
        drawn(r#"{"kind": "line", "series": [{"values": [1e15, -1e15, 1e-300]}]}"#)
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn as_many_series_are_drawn_as_there_are_colours() {
        let series = [r#"{"name": "one", "values": [1]}"#; 12].join(",");
        let page = drawn(&format!(r#"{{"series": [{series}]}}"#))
            .await
            .unwrap();
        assert_eq!(page.matches("<rect").count(), 12);
        for number in 0..12 {
            let colour = format!(".s{number} {{ --c: var(--c{number}); }}");
            let [light, dark] = [0, 1].map(|at| page.matches(&format!("--c{number}: #")).nth(at));
            assert!(page.contains(&colour) && light.is_some() && dark.is_some());
        }
    }

    #[tokio::test]
    async fn no_word_of_the_agents_becomes_markup() {
        let evil = "</svg></title><script>alert(1)</script>\\\"'&";
        let page = drawn(&format!(
            r#"{{"title": "{evil}", "unit": "{evil}", "labels": ["{evil}"], "series": [{{"name": "{evil}", "values": [1]}},
                {{"values": [2]}}]}}"#
        ))
        .await
        .unwrap();
        assert!(
            !page.contains("<script") && !page.contains("</svg></title>"),
            "{page}"
        );
        assert_eq!(page.matches("</svg>").count(), 1);
    }

    #[tokio::test]
    async fn what_cannot_be_drawn_says_why() {
        for (json, why) in [
            ("no json", "is no chart: expected"),
            ("{}", "series"),
            (r#"{"series": []}"#, "1 to 12 series"),
            (r#"{"series": [{"values": []}]}"#, "1 to 500 values"),
            (r#"{"series": [{"values": [1e16]}]}"#, "between"),
            (r#"{"kind": "pie", "series": [{"values": [1]}]}"#, "pie"),
            (r#"{"series": [{"values": ["1"]}]}"#, "string"),
        ] {
            let page = drawn(json).await.unwrap();
            assert!(
                page.contains("The chart is not drawn") && page.contains(why),
                "{json}: {page}"
            );
            assert!(!page.contains("<svg"), "{page}");
        }
    }
}
