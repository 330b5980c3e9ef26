//! A supervisor's spec as it is shown: what was posted, with the state it has now and without its secrets.

use freshet_ingest::spec::{SourceSpec, is_secret_property};
use freshet_ingest::supervisor::SupervisorView;
use serde_json::{Value, json};

/// What stands in place of a secret.
pub const HIDDEN: &str = "***";

/// The spec of a supervisor that runs.
#[must_use]
pub fn spec(view: &SupervisorView) -> Value {
    let mut document: Value = serde_json::from_str(&view.spec.document).unwrap_or(Value::Null);
    if let Some(root) = document.as_object_mut() {
        root.insert("id".to_owned(), json!(view.spec.id));
        root.insert("suspended".to_owned(), json!(view.suspended));
    }
    hide(&mut document);
    document
}

/// The spec that the catalog keeps. A text that is not even JSON is not shown: nobody could find the secrets in it.
#[must_use]
pub fn kept(text: &str) -> Value {
    let mut document: Value = serde_json::from_str(text).unwrap_or(Value::Null);
    hide(&mut document);
    document
}

/// The stream that a supervisor reads.
#[must_use]
pub fn source(view: &SupervisorView) -> &str {
    let SourceSpec::Kafka(kafka) = &view.spec.source;
    &kafka.topic
}

/// Secrets go in and never come back.
fn hide(document: &mut Value) {
    for pointer in ["/spec/ioConfig/consumerProperties", "/ioConfig/consumerProperties"] {
        let Some(Value::Object(properties)) = document.pointer_mut(pointer) else { continue };
        for (name, value) in properties.iter_mut() {
            if is_secret_property(name) {
                *value = json!(HIDDEN);
            }
        }
    }
}
