//! The page of Freshet, inside the binary.
//!
//! `web/` is the front end (TypeScript); `web/dist` is its committed build, so a clone needs no Node. `build.rs` compresses and
//! embeds that build; [`assets`] hands it to whoever serves it, with the headers that keep the page to its own origin. The crate
//! is a leaf: it imports no other Freshet crate, and the front end knows nothing but the public HTTP API.
//!
//! ```
//! let page = freshet_dashboards::assets::index("bm9uY2U");
//! assert!(page.starts_with(b"<!doctype html>"));
//! assert!(freshet_dashboards::assets::content_security_policy("bm9uY2U").contains("'nonce-bm9uY2U'"));
//! ```

pub mod assets;
