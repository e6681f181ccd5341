//! Resumable uploads over HTTP: tus 1.0 and the IETF draft (draft-ietf-httpbis-resumable-upload), and the header fields of
//! the chunk API. Reads requests' header fields and writes responses'; no sockets.
pub mod wire;
