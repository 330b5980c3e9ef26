//! freshet-dashboards
