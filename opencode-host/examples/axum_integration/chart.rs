//! What the host makes of the agent's `chart.json`, and vouches for.

use async_trait::async_trait;
use opencode_host::artifacts::{Artifact, Transform};
use opencode_host::product::HookError;
use serde::Deserialize;

/// Renders the agent's `chart.json`. A `chart.html` of the agent's own does not get through.
#[derive(Debug)]
pub(crate) struct ChartPage;

#[async_trait]
impl Transform for ChartPage {
    fn source_name(&self) -> &'static str {
        "chart.json"
    }

    fn destination_name(&self) -> &'static str {
        "chart.html"
    }

    async fn render(&self, source: &Artifact) -> Result<Artifact, HookError> {
        #[derive(Deserialize)]
        struct Chart {
            bars: Vec<f64>,
        }
        // Numbers only: nothing that the agent wrote reaches the page as text.
        let chart: Chart = serde_json::from_slice(&source.bytes)?;
        let bars = chart
            .bars
            .iter()
            .map(|bar| format!("<meter max=100 value={bar}></meter>"));
        Ok(Artifact::new("chart.html", bars.collect::<String>()))
    }
}
