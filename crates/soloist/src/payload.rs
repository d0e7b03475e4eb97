//! What a flight carries: values that serde knows, or bytes as they are.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What can be the result of a flight: every type that serde can write and read, as JSON, and [`Raw`] bytes.
/// All callers of one key have to agree on one type; who cannot read it gets
/// [`Error::BadResult`](crate::Error::BadResult).
///
/// ```
/// use soloist::Payload;
///
/// let bytes = vec![3, 5, 8].encode()?;
/// assert_eq!(&bytes[..], b"[3,5,8]");
/// assert_eq!(Vec::<u32>::decode(bytes)?, [3, 5, 8]);
/// # Ok::<(), String>(())
/// ```
pub trait Payload: Sized {
    /// The value as bytes.
    ///
    /// # Errors
    /// Why it has none, in words.
    fn encode(&self) -> Result<Bytes, String>;
    /// The value of these bytes.
    ///
    /// # Errors
    /// Why they are none, in words.
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
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> soloist::Result<()> {
/// # let client = soloist::Client::memory()?;
/// use soloist::{Error, Raw};
///
/// let picture = client.once("thumbnail:7").run(|| async { Ok::<_, Error>(Raw(vec![0xff, 0xd8].into())) });
/// assert_eq!(&picture.await?.0[..], [0xff, 0xd8]);
/// # Ok(())
/// # }
/// ```
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
