//! What tests and benches of the whole program stand on: a real server process, real clips, a slow line.
pub(crate) mod balancer;
pub(crate) mod clients;
pub(crate) mod clips;
pub(crate) mod cluster;
pub(crate) mod links;
pub(crate) mod lossy;
pub(crate) mod machine;
pub(crate) mod postgres;
pub(crate) mod proxy;
pub(crate) mod s3;
pub(crate) mod server;
pub(crate) mod tools;
