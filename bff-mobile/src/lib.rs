//! The GraphQL BFF.
