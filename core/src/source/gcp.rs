//! Keys in Google Secret Manager.
