//! Secrets by reference: the configuration says where one is, never what it is.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::document::Document;
use crate::fields::Fields;
use crate::problem::Problems;

/// How long a program that prints a secret may take.
const EXEC_LIMIT: Duration = Duration::from_secs(30);

/// A table `[secret.<name>]`: where a secret is kept. Exactly one of the keys.
///
/// ```toml
/// [secret.admin]
/// file = "/run/secrets/admin-token"
/// [secret.hook]
/// env = "HOOK_SECRET"
/// [secret.farm]
/// exec = ["pass", "show", "farm"]
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Secret {
    /// The content of a file.
    File(PathBuf),
    /// The value of an environment variable.
    Env(String),
    /// What a program prints.
    Exec(Vec<String>),
}

/// A secret's text. It does not show itself in logs and dumps.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(String);

impl SecretText {
    /// Wraps a text that came from elsewhere.
    pub fn new(text: impl Into<String>) -> Self {
        SecretText(text.into())
    }

    /// The text itself: for comparing and sending, not for showing.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(…)")
    }
}

/// A secret could not be had. Says where it should have been, never what was there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// The file cannot be read.
    #[error("the secret's file {} cannot be read: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// The variable is not set.
    #[error("the secret's environment variable {0} is not set")]
    Env(String),
    /// The program failed, or took too long.
    #[error("the secret's program {program} failed: {message}")]
    Exec {
        /// The program, without its arguments.
        program: String,
        /// Why.
        message: String,
    },
    /// There was nothing.
    #[error("the secret is empty")]
    Empty,
}

impl Secret {
    /// Reads all `[secret.<name>]`.
    pub fn read_all<'t>(document: &'t Document, problems: &'t Problems<'t>) -> BTreeMap<String, Secret> {
        let root = Fields::new("the document", document.root(), problems);
        let mut found = BTreeMap::new();
        for (name, span, table) in root.section("secret") {
            let fields = Fields::new(format!("secret `{name}`"), table, problems);
            let kinds = [
                fields.string("file").map(|text| Secret::File(PathBuf::from(text.value))),
                fields.string("env").map(|text| Secret::Env(text.value)),
                fields.strings("exec").filter(|list| !list.is_empty()).map(|list| Secret::Exec(list.into_iter().map(|text| text.value).collect())),
            ];
            let mut given = kinds.into_iter().flatten();
            match (given.next(), given.next()) {
                (Some(secret), None) => {
                    found.insert(name.to_owned(), secret);
                }
                _ => {
                    problems.add_help(span, format!("secret `{name}` does not say in one way where it is kept"), "set exactly one of `file`, `env` and `exec`")
                }
            }
            fields.finish();
        }
        found
    }

    /// Fetches the text, without line ends after it. Relative files and programs are meant from `dir`; `env` looks
    /// up an environment variable.
    ///
    /// # Errors
    /// When it is not there, or empty.
    pub async fn text(&self, dir: &Path, env: impl Fn(&str) -> Option<String>) -> Result<SecretText, SecretError> {
        let text = match self {
            Secret::Env(name) => env(name).ok_or_else(|| SecretError::Env(name.clone()))?,
            Secret::File(path) => {
                let path = dir.join(path);
                tokio::fs::read_to_string(&path).await.map_err(|error| SecretError::File { path, error })?
            }
            Secret::Exec(command) => {
                let program = command.first().cloned().unwrap_or_default();
                let failed = |message: String| SecretError::Exec { program: program.clone(), message };
                let child = tokio::process::Command::new(&program)
                    .args(command.iter().skip(1))
                    .current_dir(dir)
                    .stdin(Stdio::null())
                    .stdout(Stdio::piped())
                    .stderr(Stdio::null())
                    .kill_on_drop(true)
                    .spawn()
                    .map_err(|error| failed(error.to_string()))?;
                match tokio::time::timeout(EXEC_LIMIT, child.wait_with_output()).await {
                    Err(_) => return Err(failed(format!("it took longer than {} s", EXEC_LIMIT.as_secs()))),
                    Ok(Err(error)) => return Err(failed(error.to_string())),
                    Ok(Ok(done)) if !done.status.success() => return Err(failed(done.status.to_string())),
                    Ok(Ok(done)) => String::from_utf8(done.stdout).map_err(|_| failed("it printed something that is not UTF-8".to_owned()))?,
                }
            }
        };
        let text = text.trim_end_matches(['\n', '\r']);
        if text.is_empty() { Err(SecretError::Empty) } else { Ok(SecretText(text.to_owned())) }
    }
}
