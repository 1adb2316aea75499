//! What a model can be shown: pictures and PDFs, by their content.

use std::fs::File;

/// The MIME type under which a model can be shown this file; `None` for what is neither a picture nor a PDF. A picture is
/// one that can be decoded: OpenCode refuses the whole prompt for another (1.18.33).
#[cfg(feature = "files")]
pub(super) fn shown_as(file: File) -> Option<&'static str> {
    use std::io::{BufReader, Read as _, Seek as _};

    use image::{ImageFormat, ImageReader, Limits};

    /// The longest side of a picture, in pixels.
    const MAX_SIDE: u32 = 16_384;
    /// The most memory that one takes while it is looked at.
    const MAX_MEMORY: u64 = 256 << 20;

    let mut file = BufReader::new(file);
    let mut start = [0; 5];
    file.read_exact(&mut start).ok()?;
    if start == *b"%PDF-" {
        return Some("application/pdf");
    }
    file.rewind().ok()?;
    let mut reader = ImageReader::new(file).with_guessed_format().ok()?;
    let format = reader.format()?;
    let mime_type = match format {
        ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::Gif | ImageFormat::WebP => {
            format.to_mime_type()
        }
        _ => return None,
    };
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_MEMORY);
    reader.limits(limits);
    reader.decode().ok()?;
    Some(mime_type)
}

/// Without files there are none.
#[cfg(not(feature = "files"))]
pub(super) fn shown_as(_: File) -> Option<&'static str> {
    None
}
