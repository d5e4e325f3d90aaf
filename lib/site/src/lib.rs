//! The site configuration: one typed document with a place for every error.
//!
//! Two halves. The *document* layer ([`Document`], [`Fields`], [`Problems`]) reads one TOML file, or a folder of them
//! as one document, and keeps for every value where it stands; whoever reads it into types can therefore point at
//! the very characters that are wrong, and report everything at once. The *site* half ([`Site`], [`Storage`],
//! [`Secret`]) is the first reader of it: addresses, storage, and secrets by reference. Everything about builders is
//! in `burrow-builders`, which reads the same document.
//!
//! Beside them is what the files of single services have in common: reading them ([`read_toml`], [`read_secret`]), and values as people write them
//! ([`parse_duration`], [`parse_size`], [`Wildcard`]).
//!
//! (Source of the format: `builders.md` §10.)
//!
//! ```
//! use burrow_site::{Document, Fields, Problems};
//! let document = Document::parse("burrow.toml", "[site]\nnaem = \"farm\"\n").unwrap();
//! let problems = Problems::new(&document);
//! let site = burrow_site::Site::read(&document, &problems);
//! let errors = problems.into_errors().unwrap_err();
//! assert_eq!(errors[0].line, 2);
//! assert!(errors.to_string().contains("did you mean `name`?"));
//! # drop(site);
//! ```

mod document;
mod fields;
mod file;
mod problem;
mod secret;
mod site;
mod units;
mod wildcard;

pub use document::{At, Document, Span, Table, Value, ValueKind};
pub use fields::{Fields, nearest};
pub use file::{FileError, folder_of, parse_toml, read_secret, read_text, read_toml};
pub use problem::{ConfigErrors, Problem, Problems};
pub use secret::{Secret, SecretError, SecretText};
pub use site::{Neighbour, Site, Storage, StorageRoles, Tls};
pub use units::{parse_duration, parse_size, show_duration};
pub use wildcard::Wildcard;
