//! Builders, hosts and recipes: ways to build, kinds of machine, and what to run.
