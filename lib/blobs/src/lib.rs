//! Bytes: logs and archives, in a folder or an object store.
