//! What a flight carries: values that serde knows, or bytes as they are.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What can be the result of a flight: every type that serde can write and read, as JSON, and [`Raw`] bytes.
/// All callers of one key have to agree on one type.
pub trait Payload: Sized {
    /// The value as bytes, or why not.
    fn encode(&self) -> Result<Bytes, String>;
    /// The value of these bytes, or why not.
    fn decode(bytes: Bytes) -> Result<Self, String>;
}

impl<T: Serialize + DeserializeOwned> Payload for T {
    fn encode(&self) -> Result<Bytes, String> {
        serde_json::to_vec(self).map(Bytes::from).map_err(|error| error.to_string())
    }

    fn decode(bytes: Bytes) -> Result<Self, String> {
        serde_json::from_slice(&bytes).map_err(|error| error.to_string())
    }
}

/// Bytes that are published as they are, without a codec.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Raw(pub Bytes);

impl Payload for Raw {
    fn encode(&self) -> Result<Bytes, String> {
        Ok(self.0.clone())
    }

    fn decode(bytes: Bytes) -> Result<Self, String> {
        Ok(Raw(bytes))
    }
}
