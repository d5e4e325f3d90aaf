//! What no type checks: names that become parts of paths, and addresses that git would take for something else.

use std::collections::BTreeSet;

use super::{Dest, Repo};

pub(super) fn check_repo(repo: &Repo) -> Result<(), String> {
    let name = &repo.name;
    if !good_name(name) {
        return Err(format!(
            "the repository name {name:?} must be made of letters, digits, '.', '_', '-' and single '/', and no part may begin with '.' or '-' or end with '.git' or '.lock'"
        ));
    }
    check_url(&format!("upstream of {name}"), &repo.upstream)?;
    check_dests(name, &repo.dest)
}

pub(super) fn check_dests(of: &str, dests: &[Dest]) -> Result<(), String> {
    let mut names = BTreeSet::new();
    for dest in dests {
        if !good_name(&dest.name) || dest.name.contains('/') {
            return Err(format!("{of}: the destination name {:?} must be made of letters, digits, '.', '_' and '-'", dest.name));
        }
        if !names.insert(&dest.name) {
            return Err(format!("{of}: two destinations are called {:?}", dest.name));
        }
        if dest.push_options.iter().any(|option| option.contains(char::is_control)) {
            return Err(format!("{of}: a push option of {:?} holds a control character", dest.name));
        }
        check_url(&format!("{of}: destination {}", dest.name), &dest.url)?;
    }
    Ok(())
}

/// What may be the address of a repository. Anything that git would take for an option or a program is not.
fn check_url(what: &str, url: &str) -> Result<(), String> {
    if url.is_empty() || url.starts_with('-') || url.contains(char::is_control) {
        return Err(format!("{what}: {url:?} cannot be the address of a repository"));
    }
    if let Some((scheme, rest)) = url.split_once("://") {
        if !matches!(scheme, "http" | "https" | "ssh" | "git" | "file") {
            return Err(format!("{what}: {scheme}:// is not supported; use https, ssh, git, file or a folder"));
        }
        let authority = rest.split('/').next().unwrap_or_default();
        if authority.starts_with('-') {
            return Err(format!("{what}: {url:?} cannot be the address of a repository"));
        }
        if let Some((user, _)) = authority.rsplit_once('@')
            && (user.contains(':') || scheme.starts_with("http"))
        {
            return Err(format!(
                "{what}: the address holds a user name or password, which process listings would show; put it into credential_file or token_file"
            ));
        }
    } else if url.contains("::") {
        return Err(format!("{what}: {url:?} names a program; use https, ssh, git, file or a folder"));
    }
    Ok(())
}

/// Whether it can be a repository's name: it becomes part of paths and addresses.
pub fn good_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 200
        && name.split('/').all(|part| {
            !part.is_empty()
                && !part.starts_with(['.', '-'])
                && !part.ends_with(".git")
                && !part.ends_with(".lock")
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
        })
}
