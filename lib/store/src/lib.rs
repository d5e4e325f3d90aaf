//! Rows: SQLite or PostgreSQL behind one portable interface with grouped commits.
