//! Keys that are kept elsewhere, and take their time to sign.

use colearn_keys::{Key, SignerError};

use super::ClientError;

/// Does what takes signatures: at once with a key that is here, otherwise on a thread where somebody who is asked may
/// take their time.
pub(super) async fn in_its_time<T, E>(
    key: &Key,
    work: impl FnOnce(&Key) -> Result<T, E> + Send + 'static,
) -> Result<T, ClientError>
where
    T: Send + 'static,
    E: Into<ClientError> + Send + 'static,
{
    if key.here().is_some() {
        return work(key).map_err(Into::into);
    }
    let key = key.clone();
    let done = tokio::task::spawn_blocking(move || work(&key)).await;
    done.map_err(|_| SignerError::Panicked)?.map_err(Into::into)
}
