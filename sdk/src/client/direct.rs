//! Weights from the store in which a node keeps them, at an address that the node has handed out.
//!
//! A node can say anything, and whoever asks stands in a network of its own. So only stores are gone to that whoever runs
//! this has named, with TLS or on this machine, and there only to what has the digest for its name. Nobody is told there
//! who asks, and nobody is followed anywhere else.

use bytes::Bytes;
use colearn_contracts::{Digest, Model};
use colearn_net::{Address, Http, NetError, Trust};
use http::StatusCode;
use http_body_util::BodyExt as _;

use super::ClientError;
use super::arriving::Arriving;
use super::connection::Client;

/// The longest address that is looked at: some hold a token of a kilobyte or two.
const MAX_ADDRESS_BYTES: usize = 8 << 10;

impl Client {
    /// Fetches what is missing of a model's weights from a store, where one was named and the node says that they are there.
    /// What comes is bounded, and not yet held to the digest. Whether something came.
    ///
    /// # Errors
    /// If what came cannot be kept. What goes wrong there is no error: the node has the weights, too.
    pub(super) async fn fetch_directly(
        &self,
        model: &Model,
        arriving: &mut Arriving,
    ) -> Result<bool, ClientError> {
        let before = arriving.length();
        if self.nodes().trust().weights_from.is_empty() || before == model.size {
            return Ok(false);
        }
        match self.try_directly(model, arriving).await {
            Ok(()) => {}
            Err(error) if error.is_ours() => return Err(error),
            Err(error) => {
                tracing::warn!(digest = %model.digest, %error, "weights come from the node, and not from the store");
            }
        }
        Ok(arriving.length() > before)
    }

    async fn try_directly(
        &self,
        model: &Model,
        arriving: &mut Arriving,
    ) -> Result<(), ClientError> {
        let address = self.address(model.digest).await?;
        let trust = self.nodes().trust();
        let Some((store, path)) = within(&address, &trust.weights_from, &model.digest)? else {
            tracing::debug!("the node tells of no store that is known here");
            return Ok(());
        };
        let unreachable =
            |reason: String| ClientError::Unreachable { url: store.url().to_owned(), reason };
        let Some(first_byte) = self.silent.patience(store.url(), self.patience()) else {
            tracing::debug!(store = store.url(), "it has not answered lately, and is not asked");
            return Ok(());
        };
        // Neither a certificate nor a key: who asks is nobody's business there.
        let shown = Trust::new(trust.authorities.clone(), None);
        let http = Http::new(&store, &shown, self.patience())?;
        let first = arriving.length();
        let asking = http.get_range(path, first, model.size - 1);
        let Ok(answer) = tokio::time::timeout(first_byte, asking).await else {
            self.silent.note(store.url(), first_byte);
            return Err(unreachable(format!("no answer for {first_byte:?}")));
        };
        let mut answer = answer?;
        self.silent.heard(store.url());
        match answer.status() {
            StatusCode::PARTIAL_CONTENT => {}
            StatusCode::OK if first == 0 => {}
            status => return Err(unreachable(format!("it answers {status}"))),
        }
        while arriving.length() < model.size {
            let frame = tokio::time::timeout(self.patience(), answer.body_mut().frame()).await;
            let Ok(frame) = frame else {
                self.silent.note(store.url(), first_byte);
                return Err(unreachable("it has stopped sending".to_owned()));
            };
            let Some(frame) = frame else {
                return Err(unreachable("the weights ended too early".to_owned()));
            };
            let frame = frame.map_err(|error| unreachable(error.to_string()))?;
            let chunk: Bytes = frame.into_data().unwrap_or_default();
            if arriving.length() + chunk.len() as u64 > model.size {
                arriving.clear()?;
                return Err(unreachable("it sends more than there is".to_owned()));
            }
            arriving.push(&chunk)?;
        }
        Ok(())
    }
}

/// The store in which an address is, and what stands behind the store's own in it; `None` if it is in none of these, or
/// not the address of what has this digest for its name.
fn within<'a>(
    address: &'a str,
    stores: &[String],
    digest: &Digest,
) -> Result<Option<(Address, &'a str)>, NetError> {
    for store in stores {
        let store: Address = store.parse()?;
        let Some(rest) = address.strip_prefix(store.url()).filter(|it| it.starts_with('/')) else {
            continue;
        };
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let is_plain = |it: u8| it.is_ascii_alphanumeric() || b"-_./".contains(&it);
        let is_way =
            path.bytes().all(is_plain) && !path.split('/').any(|it| it == "." || it == "..");
        let is_its = path.rsplit('/').next() == Some(digest.to_string().as_str());
        let is_query = query.bytes().all(|it| it.is_ascii_graphic() && it != b'#');
        let is_safe = store.is_https() || store.is_loopback();
        if is_safe && is_way && is_its && is_query && address.len() <= MAX_ADDRESS_BYTES {
            return Ok(Some((store, rest)));
        }
    }
    Ok(None)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_named_by_its_digest_in_a_store_that_was_named_is_gone_to() {
        let digest = Digest([0xab; 32]);
        let stores = [
            "https://store.example/models".to_owned(),
            "http://127.0.0.1:9000".to_owned(),
            "http://10.0.0.1:9000".to_owned(),
        ];
        let behind = |address: &str| {
            within(address, &stores, &digest).unwrap().map(|(_, behind)| behind.to_owned())
        };
        for (store, rest) in [
            ("https://store.example/models", format!("/of/node/{digest}?X-Amz-Signature=a%2Fb")),
            ("http://127.0.0.1:9000", format!("/models/{digest}")),
        ] {
            assert_eq!(behind(&format!("{store}{rest}")), Some(rest));
        }
        for elsewhere in [
            String::new(),
            format!("https://other.example/models/{digest}"),
            format!("https://store.example/others/{digest}"),
            format!("https://store.example/modelsof/{digest}"),
            format!("https://store.example/models/../others/{digest}"),
            format!("https://store.example/models/%2e%2e/others/{digest}"),
            format!("https://store.example/models/{digest}/delete"),
            format!("https://store.example/models/x?of={digest}"),
            format!("https://store.example/models/{digest}?a b"),
            format!("https://store.example/models/{digest}?a#b"),
            format!("https://store.example/models/{digest}?{}", "a".repeat(MAX_ADDRESS_BYTES)),
            format!("http://store.example/models/{digest}"),
            format!("http://127.0.0.1:9000@other.example/{digest}"),
            format!("http://127.0.0.1:90001/{digest}"),
            // It was named, and whoever stands between would read along.
            format!("http://10.0.0.1:9000/{digest}"),
        ] {
            assert_eq!(behind(&elsewhere), None, "{elsewhere}");
        }
        assert!(within("", &["ftp://x".to_owned()], &digest).is_err());
    }
}
