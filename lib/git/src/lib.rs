//! Mirrors of git repositories: commits, branches, trees, archives.
