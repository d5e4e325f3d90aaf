//! What was built and how it ended: schema, states, read model.
