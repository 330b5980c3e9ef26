//! The files of the page, and the headers to send with them.
//!
//! Each file is stored once, compressed; almost every client takes gzip as it is, and [`Asset::inflate`] serves the rare other
//! one. File names are fixed (`assets/index.js`), so caches are kept honest by the ETag and `no-cache`: one cheap 304, never a
//! stale script.
//!
//! `index.html` is special: the policy allows only styles that carry the nonce of this response (the widget library adds some at
//! run time and reads the nonce from a `meta` element), so [`index`] writes the nonce into it. For that reason it has no ETag: a
//! 304 would pair an old nonce in the body with a new one in the header. [`asset`] therefore does not know `index.html`, and a
//! server answers every path it does not know with [`index`], because the page's routes are made in the browser.

use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};
use std::sync::LazyLock;

use flate2::read::GzDecoder;

include!("content_type.rs");

/// Stands in `index.html` where the nonce of the response goes.
const NONCE_MARK: &str = "__CSP_NONCE__";

struct File {
    path: &'static str,
    content_type: &'static str,
    etag: &'static str,
    gzip: &'static [u8],
}

/// Sorted by path, which `build.rs` guarantees.
static FILES: &[File] = include!(concat!(env!("OUT_DIR"), "/assets.rs"));

static INDEX: LazyLock<String> = LazyLock::new(|| {
    let file = find("index.html").map(|file| inflate(file.gzip)).unwrap_or_default();
    String::from_utf8_lossy(&file).into_owned()
});

/// Headers of every answer under `/ui/`, besides `Content-Type`, `ETag` and the policy of [`content_security_policy`].
pub const HEADERS: &[(&str, &str)] = &[
    ("cache-control", "no-cache"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
];

/// One embedded file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asset {
    /// For `Content-Type`.
    pub content_type: &'static str,
    /// Strong ETag of the uncompressed bytes, quotes included.
    pub etag: &'static str,
    /// The bytes, gzip: send them with `Content-Encoding: gzip`.
    pub gzip: &'static [u8],
}

impl Asset {
    /// The plain bytes, for a client that does not accept gzip.
    #[must_use]
    pub fn inflate(&self) -> Vec<u8> {
        inflate(self.gzip)
    }
}

/// The file at `path` below `/ui/` (`assets/index.js`; a leading `/` is ignored), or `None`: then answer with [`index`], or with
/// 404 below `assets/`.
#[must_use]
pub fn asset(path: &str) -> Option<Asset> {
    let path = path.trim_start_matches('/');
    if path == "index.html" {
        return None;
    }
    find(path).map(|file| Asset { content_type: file.content_type, etag: file.etag, gzip: file.gzip })
}

/// The paths of all embedded files except `index.html`, sorted.
pub fn paths() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|file| file.path).filter(|path| *path != "index.html")
}

/// `index.html` for one response. `nonce` is fresh random text of base64 characters; any other character is left out, here and in
/// [`content_security_policy`] alike, so that it can break out of neither place.
#[must_use]
pub fn index(nonce: &str) -> Vec<u8> {
    INDEX.replace(NONCE_MARK, &clean(nonce)).into_bytes()
}

/// The value of `Content-Security-Policy` for the response that carries [`index`] with the same nonce: everything from this
/// origin, nothing inline but styles with the nonce, no frames around the page.
#[must_use]
pub fn content_security_policy(nonce: &str) -> String {
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{}'; img-src 'self' data: blob:; font-src 'self'; \
         connect-src 'self'; worker-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        clean(nonce)
    )
}

/// A build on disk, served instead of the embedded one while someone works on the page (`--ui-dir`): no recompiling.
#[derive(Clone, Debug)]
pub struct Folder {
    root: PathBuf,
}

/// One file of a [`Folder`], read when asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderAsset {
    /// For `Content-Type`.
    pub content_type: &'static str,
    /// The plain bytes.
    pub bytes: Vec<u8>,
}

impl Folder {
    /// A folder that holds `index.html`.
    ///
    /// # Errors
    /// `NotFound` when `root/index.html` is not a file.
    pub fn open(root: impl Into<PathBuf>) -> io::Result<Self> {
        let root = root.into();
        if root.join("index.html").is_file() {
            return Ok(Self { root });
        }
        let text = format!("{} holds no index.html: run `make ui`, or name the folder web/dist", root.display());
        Err(io::Error::new(io::ErrorKind::NotFound, text))
    }

    /// As [`index`], from disk.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn index(&self, nonce: &str) -> io::Result<Vec<u8>> {
        let text = std::fs::read_to_string(self.root.join("index.html"))?;
        Ok(text.replace(NONCE_MARK, &clean(nonce)).into_bytes())
    }

    /// As [`asset`], from disk. A path that leaves the folder is `None`.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn asset(&self, path: &str) -> io::Result<Option<FolderAsset>> {
        let inside = Path::new(path.trim_start_matches('/'));
        let plain = inside.components().all(|part| matches!(part, Component::Normal(_)));
        let file = self.root.join(inside);
        if !plain || inside == Path::new("index.html") || !file.is_file() {
            return Ok(None);
        }
        Ok(Some(FolderAsset { content_type: content_type(path), bytes: std::fs::read(file)? }))
    }
}

fn find(path: &str) -> Option<&'static File> {
    FILES.binary_search_by(|file| file.path.cmp(path)).ok().map(|at| &FILES[at])
}

fn inflate(gzip: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    GzDecoder::new(gzip).read_to_end(&mut plain).expect("build.rs wrote this gzip, and memory takes all of it");
    plain
}

fn clean(nonce: &str) -> String {
    nonce.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '-' | '_')).collect()
}

#[cfg(test)]
mod tests;
