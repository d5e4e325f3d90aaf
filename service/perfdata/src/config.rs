//! What a perfdata is told: a TOML file, or flags that stand for one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use burrow_perfstore::{Limits, Query};
use burrow_site::FileError;
use serde::Deserialize;

use crate::auth::{Scope, Token, Tokens};

/// The configuration.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address to listen on.
    pub listen: Option<String>,
    /// Folder of rows and files; of a configuration file, relative to it.
    pub data: Option<PathBuf>,
    /// PostgreSQL address for the rows, with a schema of their own; without one an SQLite file in the folder.
    pub database: Option<String>,
    /// What the address of an upload's analysis begins with: the upload's name is put behind it. `http://perf.example/search?q=upload:`
    pub view_url_base: Option<String>,
    /// Host name of this service, where it is not an address or `localhost`.
    pub public: Option<String>,
    /// Certificate and key; without them plain HTTP.
    pub tls: Option<Tls>,
    /// Who may do what. Without any, everybody who can connect may do everything, and uploads have no `by` label.
    pub token: Vec<TokenConfig>,
    /// Whether reading needs a token with the scope `read`, too.
    pub private: bool,
    /// What uploads may be.
    pub limits: LimitsConfig,
    /// How long results are kept; without rules for ever.
    pub keep: Vec<Keep>,
}

/// Certificate and key.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// PEM file with the certificate chain.
    pub cert: PathBuf,
    /// PEM file with the key.
    pub key: PathBuf,
}

/// Somebody who has a token.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenConfig {
    /// Value of the `by` label of uploads.
    pub name: String,
    /// SHA-256 of the token, in hex. `printf %s TOKEN | sha256sum` prints it.
    pub sha256: String,
    /// What it is good for.
    pub scopes: Vec<Scope>,
    /// Uploads must say `commit`, as the Go clients do: a script that was killed while it sent cannot have.
    #[serde(default)]
    pub require_commit: bool,
}

/// Limits.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Mebibytes of one upload.
    pub upload_mib: u64,
    /// Files of one upload.
    pub files: u32,
    /// Uploads at once.
    pub uploads: usize,
    /// Different labels of one upload.
    pub distinct_labels: usize,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        let limits = Limits::default();
        LimitsConfig { upload_mib: limits.bytes >> 20, files: limits.files, uploads: limits.uploads, distinct_labels: limits.distinct_labels }
    }
}

/// A rule about how long results are kept.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keep {
    /// Uploads with a record that this matches; an empty one matches all.
    #[serde(default)]
    pub query: String,
    /// Are removed after so many days.
    pub days: u32,
}

impl Keep {
    /// How long.
    pub fn time(&self) -> Duration {
        Duration::from_secs(u64::from(self.days) * 86_400)
    }
}

impl Config {
    /// Reads a file. Paths in it are relative to its folder.
    ///
    /// # Errors
    /// [`FileError`], with the line.
    pub fn load(path: &Path) -> Result<Config, FileError> {
        let mut config: Config = burrow_site::read_toml(path)?;
        let folder = &burrow_site::folder_of(path);
        for place in config.data.iter_mut().chain(config.tls.iter_mut().flat_map(|tls| [&mut tls.cert, &mut tls.key])) {
            *place = folder.join(&*place);
        }
        config.check()?;
        Ok(config)
    }

    /// Looks at values that no type checks.
    ///
    /// # Errors
    /// [`FileError::Value`].
    pub fn check(&self) -> Result<(), FileError> {
        self.tokens()?;
        for rule in &self.keep {
            Query::parse(rule.query.as_bytes()).map_err(|error| FileError::value(format_args!("keep.query {:?}", rule.query), error))?;
        }
        Ok(())
    }

    /// Who may do what.
    ///
    /// # Errors
    /// [`FileError::Value`]: a digest is none.
    pub fn tokens(&self) -> Result<Tokens, FileError> {
        let token = |config: &TokenConfig| {
            let digest = digest(&config.sha256).ok_or_else(|| {
                let why = "sha256 must be 64 hex digits; `printf %s TOKEN | sha256sum` prints them";
                FileError::value(format_args!("the token of {:?}", config.name), why)
            })?;
            Ok(Token { name: config.name.clone(), digest, scopes: config.scopes.clone(), require_commit: config.require_commit })
        };
        Ok(Tokens { tokens: self.token.iter().map(token).collect::<Result<_, FileError>>()?, private: self.private })
    }

    /// What uploads may be.
    pub fn upload_limits(&self) -> Limits {
        Limits {
            bytes: self.limits.upload_mib << 20,
            files: self.limits.files,
            uploads: self.limits.uploads.max(1),
            distinct_labels: self.limits.distinct_labels,
            ..Limits::default()
        }
    }
}

fn digest(hex: &str) -> Option<[u8; 32]> {
    let bytes = hex.trim().as_bytes();
    let mut out = [0; 32];
    if bytes.len() != 64 {
        return None;
    }
    for (byte, pair) in out.iter_mut().zip(bytes.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, FileError> {
        burrow_site::parse_toml(Path::new("p.toml"), text)
    }

    #[test]
    fn a_wrong_key_is_named_with_its_line_and_what_is_allowed() {
        let error = parse("listen = \"127.0.0.1:1\"\n[limits]\nfile = 3\n").unwrap_err().to_string();
        assert!(error.starts_with("p.toml:3: ") && error.contains("file") && error.contains("files"), "{error}");
        let config = parse("[[token]]\nname = \"ci\"\nsha256 = \"zz\"\nscopes = [\"upload\"]\n").unwrap();
        assert!(config.check().unwrap_err().to_string().contains("64 hex digits"));
        let config = parse("[[keep]]\nquery = \"bogus\"\ndays = 3\n").unwrap();
        assert!(config.check().unwrap_err().to_string().contains("missing operator"));
    }

    #[test]
    fn the_example_in_the_documentation_is_right() {
        let page = include_str!("../../../docs/perfdata.md");
        let example = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a TOML example");
        let config = parse(example).unwrap();
        config.check().unwrap();
        assert!(!config.token.is_empty() && !config.keep.is_empty() && config.view_url_base.is_some());
    }
}
