//! Reading texts out of a part.

use serde_json::Value;

/// A field that holds more than white space.
pub(super) fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key).and_then(said)
}

/// A text that holds more than white space.
pub(super) fn said(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| !text.trim().is_empty())
}

/// What a sub-agent said, of an output as OpenCode gives it to the model: `<task_result>` around it (1.2 and later), or
/// `<task_metadata>` behind it (before). Anything else is the text itself.
pub(super) fn task_result(output: &str) -> &str {
    let inside = output.split_once("<task_result>");
    let inside = inside.and_then(|(_, rest)| Some(rest.rsplit_once("</task_result>")?.0));
    let before = || output.rsplit_once("<task_metadata>").map(|(said, _)| said);
    inside.or_else(before).map_or(output, str::trim)
}

#[cfg(test)]
mod tests {
    use super::task_result;

    #[test]
    fn a_sub_agents_words_come_without_the_tags_around_them() {
        for (output, said) in [
            (
                "<task id=\"ses_1\" state=\"completed\">\n<task_result>\nTwo files.\n</task_result>\n</task>",
                "Two files.",
            ),
            (
                "task_id: ses_1\n\n<task_result>\na <task_result> b\n\nc\n</task_result>",
                "a <task_result> b\n\nc",
            ),
            (
                "Two files.\n\n<task_metadata>\nsession_id: ses_1\n</task_metadata>",
                "Two files.",
            ),
            ("<task_result>\nnever closed", "<task_result>\nnever closed"),
            (" plain ", " plain "),
            ("", ""),
        ] {
            assert_eq!(task_result(output), said);
        }
    }
}
