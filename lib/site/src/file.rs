//! Files of single services: TOML that is read straight into a type, and secrets. An error names the file and, where there is one, the line.
//!
//! The document of a whole site has [`crate::Document`], which finds all mistakes at once; a service's file is small, and the first one is enough.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

/// A file, or something that it says, that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read, or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// It is no TOML, or not of the form that is wanted.
    #[error("{}:{line}: {message}", path.display())]
    Wrong {
        /// Which file.
        path: PathBuf,
        /// Line, counted from 1.
        line: usize,
        /// What is wrong and what is allowed.
        message: String,
    },
    /// It has the right form, but a value means nothing, or nothing possible.
    #[error("{what}: {why}")]
    Value {
        /// Which value.
        what: String,
        /// What is wrong with it, and what to do.
        why: String,
    },
}

impl FileError {
    /// A [`FileError::Value`].
    pub fn value(what: impl Display, why: impl Display) -> FileError {
        FileError::Value { what: what.to_string(), why: why.to_string() }
    }
}

/// Reads TOML into a type; `path` is for messages.
///
/// ```
/// #[derive(Debug, serde::Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct Config {
///     listen: String,
/// }
/// let config: Config = burrow_site::parse_toml("a.toml".as_ref(), "listen = \"127.0.0.1:80\"\n").unwrap();
/// assert_eq!(config.listen, "127.0.0.1:80");
/// let error = burrow_site::parse_toml::<Config>("a.toml".as_ref(), "\nlisen = \"127.0.0.1:80\"\n").unwrap_err();
/// assert_eq!(error.to_string(), "a.toml:2: unknown field `lisen`, expected `listen`");
/// ```
///
/// # Errors
/// [`FileError::Wrong`].
pub fn parse_toml<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, FileError> {
    toml::from_str(text).map_err(|error| FileError::Wrong {
        path: path.to_owned(),
        line: error.span().and_then(|span| text.get(..span.start)).map_or(1, |before| before.matches('\n').count() + 1),
        message: error.message().to_owned(),
    })
}

/// Reads a file of TOML into a type.
///
/// # Errors
/// [`FileError::File`] and [`FileError::Wrong`].
pub fn read_toml<T: DeserializeOwned>(path: &Path) -> Result<T, FileError> {
    parse_toml(path, &read_text(path)?)
}

/// Reads a file.
///
/// # Errors
/// [`FileError::File`].
pub fn read_text(path: &Path) -> Result<String, FileError> {
    std::fs::read_to_string(path).map_err(|source| FileError::File { path: path.to_owned(), source })
}

/// The folder of a file, absolute: what a file names is relative to it, also for programs that are started elsewhere.
pub fn folder_of(file: &Path) -> PathBuf {
    let whole = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    whole.parent().map(Path::to_owned).unwrap_or(whole)
}

/// Reads a file that holds one secret. White space around it is no part of it.
///
/// # Errors
/// [`FileError::File`]; [`FileError::Value`] if nothing is in it: an empty secret would let everybody in who shows none.
pub fn read_secret(path: &Path) -> Result<String, FileError> {
    let text = read_text(path)?;
    let secret = text.trim();
    if secret.is_empty() { Err(FileError::value(path.display(), "is empty; put the secret into it")) } else { Ok(secret.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Config {
        port: u16,
    }

    fn said(text: &str) -> String {
        parse_toml::<Config>(Path::new("d/c.toml"), text).unwrap_err().to_string()
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        assert_eq!(said("port = 1\n\nhost = 2\n"), "d/c.toml:3: unknown field `host`, expected `port`");
        assert!(said("# ä\nport = \"x\"\n").starts_with("d/c.toml:2: invalid type"));
        assert!(said("port = 1\r\nport = 2\r\n").starts_with("d/c.toml:2: duplicate key"));
        assert!(said("port = 1\n[a").starts_with("d/c.toml:2: "));
        assert_eq!(said(""), "d/c.toml:1: missing field `port`");
    }

    #[test]
    fn files_are_named_that_cannot_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("c.toml");
        let error = read_toml::<Config>(&file).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}: ", file.display())), "{error}");
        std::fs::write(&file, "port = 7\n").unwrap();
        assert_eq!(read_toml::<Config>(&file).unwrap().port, 7);
        std::fs::write(&file, b"port = 7 # \xff\n").unwrap();
        assert!(read_toml::<Config>(&file).unwrap_err().to_string().contains("UTF-8"));
    }

    #[test]
    fn what_a_file_names_is_found_from_everywhere() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(folder_of(Path::new("c.toml")), here);
        assert_eq!(folder_of(Path::new("./d/c.toml")), here.join("d"));
        assert_eq!(folder_of(Path::new("/etc/c.toml")), Path::new("/etc"));
    }

    #[test]
    fn secrets_are_trimmed_and_never_empty() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        std::fs::write(&file, " s3cret \r\n\n").unwrap();
        assert_eq!(read_secret(&file).unwrap(), "s3cret");
        std::fs::write(&file, "\n \n").unwrap();
        assert_eq!(read_secret(&file).unwrap_err().to_string(), format!("{}: is empty; put the secret into it", file.display()));
    }
}
