//! The only client of the buildlet's HTTP API.
