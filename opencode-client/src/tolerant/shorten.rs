//! JSON and texts cut to a size.

use serde_json::{Map, Value};

/// What a JSON value takes beside its text.
pub(crate) const VALUE: usize = 32;

/// Stands at the end of a text that was cut: a person may decide by what is shown.
pub(crate) const CUT: &str = " [… the rest is left out: it is too long]";

/// Cuts a value to about so many bytes. False when it fits.
pub(crate) fn value(value: &mut Value, most: usize) -> bool {
    size(value) > most && shorten_value(value, &mut { most })
}

/// As [`value`], for an object.
pub(crate) fn map(map: &mut Map<String, Value>, most: usize) -> bool {
    map_size(map) > most && shorten_map(map, &mut { most })
}

/// Cuts a text to about so many bytes, and marks where. False when it fits.
pub(crate) fn cut(text: &mut String, most: usize) -> bool {
    let over = text.len() > most;
    if over {
        text.truncate(text.floor_char_boundary(most));
        text.push_str(CUT);
        text.shrink_to_fit();
    }
    over
}

pub(crate) fn size(value: &Value) -> usize {
    VALUE
        + match value {
            Value::String(text) => text.len(),
            Value::Array(values) => values.iter().map(size).sum(),
            Value::Object(map) => map_size(map),
            _ => 0,
        }
}

pub(crate) fn map_size(map: &Map<String, Value>) -> usize {
    map.iter().map(|(key, value)| key.len() + size(value)).sum()
}

/// Cuts the texts of a value, and leaves out its later entries, until it takes no more than is left.
fn shorten_value(value: &mut Value, left: &mut usize) -> bool {
    *left = left.saturating_sub(VALUE);
    match value {
        Value::String(text) => {
            let over = cut(text, *left);
            *left = left.saturating_sub(text.len());
            over
        }
        Value::Array(values) => {
            let (mut kept, mut over) = (0, false);
            for value in values.iter_mut() {
                if *left < VALUE {
                    break;
                }
                over |= shorten_value(value, left);
                kept += 1;
            }
            over |= kept < values.len();
            values.truncate(kept);
            over
        }
        Value::Object(map) => shorten_map(map, left),
        _ => false,
    }
}

fn shorten_map(map: &mut Map<String, Value>, left: &mut usize) -> bool {
    let mut over = false;
    map.retain(|key, value| {
        let fits = *left >= VALUE + key.len();
        if fits {
            *left -= key.len();
            over |= shorten_value(value, left);
        }
        over |= !fits;
        fits
    });
    over
}
