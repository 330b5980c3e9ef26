//! The catalog and deep storage of a data directory, opened as configuration says. The server and the subcommands that work without
//! one open them here, so both find the same.

use std::path::Path;
use std::sync::Arc;

use freshet_segment::catalog::SqliteCatalog;
use freshet_segment::clock::Clock;
use freshet_segment::deep_storage::{DeepStorage, S3Config};
use tokio::runtime::Handle;

use crate::config::DeepPlace;
use crate::data_dir::DataDir;
use crate::error::ServerError;

/// Opens the catalog of a data directory, and makes an empty one the first time.
///
/// # Errors
/// [`ServerError::Storage`] when it is damaged, or of a newer version; [`ServerError::Config`] when a rebuild of it was cut off.
pub async fn open_catalog(data: &DataDir, clock: &Arc<dyn Clock>) -> Result<Arc<SqliteCatalog>, ServerError> {
    if !data.catalog().exists() && data.new_catalog().exists() {
        let what =
            "the catalog is not there, and one that was being made again is: run `freshet catalog rebuild` to its end";
        return Err(ServerError::Config(format!("{what} (data directory {})", data.path().display())));
    }
    open_catalog_at(&data.catalog(), clock).await
}

/// As [`open_catalog`], for a catalog under another name.
///
/// # Errors
/// As [`open_catalog`].
pub async fn open_catalog_at(path: &Path, clock: &Arc<dyn Clock>) -> Result<Arc<SqliteCatalog>, ServerError> {
    let catalog = SqliteCatalog::open(path, Arc::clone(clock)).await;
    catalog.map_err(|source| ServerError::Storage { what: "the catalog cannot be opened", source })
}

/// Opens deep storage. `io` runs its calls.
///
/// # Errors
/// [`ServerError::Storage`] when its folder cannot be made, or its settings do not do.
pub fn open_deep(place: &DeepPlace, io: Handle) -> Result<Arc<DeepStorage>, ServerError> {
    let opened = match place {
        DeepPlace::Folder(folder) => DeepStorage::folder(folder, io),
        DeepPlace::S3 { bucket, prefix, endpoint, region, http } => {
            let config = S3Config {
                endpoint: endpoint.clone(),
                bucket: bucket.clone(),
                prefix: prefix.clone(),
                region: region.clone(),
                allow_http: *http,
                // From AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN.
                credentials: None,
            };
            DeepStorage::s3(&config, io)
        }
    };
    opened.map_err(|source| ServerError::Storage { what: "deep storage", source })
}
