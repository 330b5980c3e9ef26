//! All that is served over HTTP: routes, and the layers around them.
//!
//! Each module below is one resource. Handlers return a value or a [`reply::Problem`]; what comes before and after them is in
//! [`guard`].

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn_with_state, map_response};
use axum::routing::{any, delete, get, post};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::{CompressionLayer, CompressionLevel};

use crate::node::Node;

pub mod assets;
pub mod body;
pub mod care;
pub mod cells;
pub mod demo;
pub mod encode;
pub mod files;
pub mod front;
pub mod guard;
pub mod live;
pub mod partial;
pub mod publish;
pub mod push;
pub mod reply;
pub mod services;
pub mod sql;
pub mod status;
pub mod supervisors;
pub mod tables;
pub mod tasks;

/// All routes of `node`.
pub fn router(node: &Arc<Node>) -> Router {
    Router::new()
        .merge(page())
        .merge(druid())
        .merge(own())
        .fallback(guard::unknown_path)
        .method_not_allowed_fallback(guard::unknown_method)
        // Every body is read by `body`, which has a limit for each kind.
        .layer(DefaultBodyLimit::disable())
        // Leaves alone what is packed already, as the page's files are. Fast rather than small: it runs on the sockets' threads.
        .layer(CompressionLayer::new().gzip(true).quality(CompressionLevel::Fastest))
        .layer(from_fn_with_state(Arc::clone(node), guard::check))
        .layer(CatchPanicLayer::custom(guard::panicked))
        .layer(from_fn_with_state(Arc::clone(node), guard::request))
        .with_state(Arc::clone(node))
}

type Routes = Router<Arc<Node>>;

fn page() -> Routes {
    Router::new()
        .route("/", get(assets::redirect))
        .route("/ui", get(assets::redirect))
        .route("/unified-console.html", get(assets::redirect))
        .route("/ui/", get(assets::index))
        .route("/ui/{*path}", get(assets::file))
}

fn druid() -> Routes {
    let one = "/druid/indexer/v1/supervisor/{id}";
    let act = |name: &str| format!("{one}/{name}");
    let supervisors = Router::new()
        .route("/druid/indexer/v1/supervisor", get(supervisors::list).post(supervisors::submit))
        .route(one, get(supervisors::spec))
        .route(&act("status"), get(supervisors::status))
        .route(&act("health"), get(supervisors::health))
        .route(&act("reset"), post(supervisors::reset))
        .route(&act("suspend"), post(supervisors::suspend))
        .route(&act("resume"), post(supervisors::resume))
        .route(&act("terminate"), post(supervisors::terminate))
        .route(&act("shutdown"), post(supervisors::terminate))
        .layer(map_response(supervisors::short_errors));
    Router::new()
        .route("/druid/v2/sql", post(sql::run))
        .route("/druid/v2/sql/", post(sql::run))
        .route("/druid/v2/sql/{id}", delete(sql::cancel))
        .route("/druid/v2/datasources", get(tables::names))
        .route("/druid/v2/datasources/{table}", get(tables::names_of_columns))
        .route("/druid/v2/datasources/{table}/dimensions", get(tables::dimensions))
        .route("/druid/v2/datasources/{table}/metrics", get(tables::metrics))
        .merge(services::routes())
        .merge(supervisors)
        .merge(tasks())
}

fn tasks() -> Routes {
    let at = |rest: &str| format!("/druid/indexer/v1/{rest}");
    let of_state = |state: &'static str| get(move |node, query| tasks::of_state(state, node, query));
    Router::new()
        .route(&at("task"), post(tasks::post))
        .route(&at("task/{id}"), get(tasks::one))
        .route(&at("task/{id}/status"), get(tasks::status))
        .route(&at("task/{id}/reports"), get(tasks::reports))
        .route(&at("task/{id}/log"), get(tasks::log))
        .route(&at("task/{id}/shutdown"), post(tasks::shutdown))
        .route(&at("taskStatus"), post(tasks::statuses))
        .route(&at("datasources/{table}/shutdownAllTasks"), post(tasks::shutdown_all))
        .route(&at("tasks"), get(tasks::list))
        .route(&at("completeTasks"), of_state("complete"))
        .route(&at("runningTasks"), of_state("running"))
        .route(&at("pendingTasks"), of_state("pending"))
        .route(&at("waitingTasks"), of_state("waiting"))
        .layer(map_response(supervisors::short_errors))
}

fn own() -> Routes {
    Router::new()
        .route("/status", get(status::status))
        .route("/status/health", get(status::health))
        .route("/health/live", get(status::live))
        .route("/health/ready", get(status::ready))
        .route("/metrics", get(status::metrics))
        .route("/api/v1/capabilities", get(status::capabilities))
        .route("/api/v1/tables", get(tables::list))
        .route("/api/v1/tables/{table}", get(tables::one).delete(care::drop))
        .route("/api/v1/tables/{table}/columns", get(tables::columns))
        .route("/api/v1/tables/{table}/dead-letters", get(tables::dead_letters))
        .route("/api/v1/tables/{table}/files", get(files::files))
        .route("/api/v1/tables/{table}/publish", post(publish::publish))
        .route("/api/v1/tables/{table}/undo", post(care::undo))
        .route("/api/v1/duties", get(care::list))
        .route("/api/v1/duties/{name}/run", post(care::run))
        .route("/api/v1/push/{table}", post(push::push))
        .route("/api/v1/demo", get(demo::state).post(demo::start).delete(demo::stop))
        .route("/api/v1/live", any(live::socket))
}
