//! revdial v2, both ends, over TLS.
