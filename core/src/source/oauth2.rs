//! Tokens of OAuth2 servers.
