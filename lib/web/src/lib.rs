//! Shared parts of the pages: stylesheet, layout, server-sent events, conditional answers.
