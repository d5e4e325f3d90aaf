//! The site configuration: one typed document with a place for every error.
