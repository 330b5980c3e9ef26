//! Where sealed segments are kept, as configuration says it.

use std::path::PathBuf;

use super::Config;
use crate::error::ServerError;

/// The place of deep storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeepPlace {
    /// A folder, absolute.
    Folder(PathBuf),
    /// A bucket of an S3 service.
    S3 {
        /// Its name.
        bucket: String,
        /// What all names begin with, without slashes at its ends; may be empty.
        prefix: String,
        /// Another service than Amazon's.
        endpoint: Option<String>,
        /// Its region.
        region: String,
        /// Whether the endpoint is without TLS.
        http: bool,
    },
}

impl DeepPlace {
    /// How another program names a file of it: a path of this machine, or an `s3://` URL.
    #[must_use]
    pub fn location(&self, path: &str) -> String {
        match self {
            Self::Folder(folder) => folder.join(path).to_string_lossy().into_owned(),
            Self::S3 { bucket, prefix, .. } if prefix.is_empty() => format!("s3://{bucket}/{path}"),
            Self::S3 { bucket, prefix, .. } => format!("s3://{bucket}/{prefix}/{path}"),
        }
    }
}

impl std::fmt::Display for DeepPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.location("").trim_end_matches('/'))
    }
}

impl Config {
    /// Where sealed segments are kept.
    ///
    /// # Errors
    /// [`ServerError::Config`] for a text that names no place, and for an endpoint that would be reached without TLS.
    pub fn deep_place(&self) -> Result<DeepPlace, ServerError> {
        let refused = |text: String| Err(ServerError::Config(text));
        let Some(bucket) = self.deep_storage.as_deref().and_then(|text| text.strip_prefix("s3://")) else {
            if self.s3_endpoint.is_some() || self.s3_region.is_some() {
                return refused(
                    "s3_endpoint or s3_region is set, but deep_storage is not s3://bucket/prefix: set it, or leave them out"
                        .to_owned(),
                );
            }
            return self.deep_folder().map(DeepPlace::Folder);
        };
        let (bucket, prefix) = bucket.split_once('/').unwrap_or((bucket, ""));
        let prefix = prefix.trim_matches('/');
        let good = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.chars().any(char::is_control);
        if !good(bucket) || !(prefix.is_empty() || prefix.split('/').all(good)) {
            return refused(format!(
                "deep_storage is \"{}\", but s3://bucket or s3://bucket/prefix is needed",
                self.deep_storage.as_deref().unwrap_or_default()
            ));
        }
        Ok(DeepPlace::S3 {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
            endpoint: self.s3_endpoint.clone(),
            region: self.s3_region.clone().unwrap_or_else(|| "us-east-1".to_owned()),
            http: self.is_http_endpoint()?,
        })
    }

    fn deep_folder(&self) -> Result<PathBuf, ServerError> {
        let folder = match self.deep_storage.as_deref() {
            None => self.data_dir.join("deep"),
            Some(text) if text.trim().is_empty() => {
                return Err(ServerError::Config(
                    "deep_storage is empty: name a folder or s3://bucket/prefix, or leave it out".to_owned(),
                ));
            }
            Some(text) if text.contains("://") => {
                return Err(ServerError::Config(format!(
                    "deep_storage is \"{text}\", but only a folder or s3://bucket/prefix can be used"
                )));
            }
            Some(text) => PathBuf::from(text),
        };
        std::path::absolute(&folder).map_err(|source| ServerError::Path {
            what: "cannot tell where the folder of deep storage is:",
            path: folder,
            source,
        })
    }

    /// Whether the endpoint is without TLS, which is allowed on this machine, and elsewhere when told.
    fn is_http_endpoint(&self) -> Result<bool, ServerError> {
        let Some(endpoint) = &self.s3_endpoint else { return Ok(false) };
        let url = reqwest::Url::parse(endpoint).ok().filter(|url| url.host_str().is_some());
        let Some(url) = url else {
            return Err(ServerError::Config(format!(
                "s3_endpoint is \"{endpoint}\", which is not a URL such as https://s3.example.org"
            )));
        };
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let loopback = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        match url.scheme() {
            "https" => Ok(false),
            "http" if loopback || self.s3_allow_http => Ok(true),
            "http" => Err(ServerError::Config(format!(
                "s3_endpoint is \"{endpoint}\": keys and rows would cross the network unprotected; take https, or set s3_allow_http"
            ))),
            _ => Err(ServerError::Config(format!("s3_endpoint is \"{endpoint}\", but http or https is needed"))),
        }
    }
}
