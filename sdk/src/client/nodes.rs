//! The nodes that keep a ledger: one of them is spoken to, and the others are for when it will not do.

use std::sync::Arc;
use std::time::Duration;

use colearn_net::{Address, Credential, Trust};

use super::ClientError;

/// Where a ledger is kept: the addresses of its nodes, of which one is spoken to. From text it is made by
/// the commas in it; one address is the ordinary case.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Nodes {
    /// At least one; none twice.
    urls: Arc<[String]>,
    /// The one that is spoken to.
    at: usize,
    /// The one that is gone on to.
    next: usize,
    /// Whose certificates are believed, and which is shown.
    trust: Arc<Trust>,
}

impl Nodes {
    fn of<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut urls: Vec<String> = Vec::new();
        for url in texts.into_iter().flat_map(|text| text.split(',')).map(str::trim) {
            if !url.is_empty() && !urls.iter().any(|known| known == url) {
                urls.push(url.to_owned());
            }
        }
        if urls.is_empty() {
            // No address is refused as any other that is none.
            urls.push(String::new());
        }
        let next = 1 % urls.len();
        Self { urls: urls.into(), at: 0, next, trust: Arc::new(Trust::of_process()) }
    }

    /// The same nodes, reached by one who believes other certificates than this process does, or shows another.
    pub fn trusting(self, trust: Trust) -> Self {
        Self { trust: Arc::new(trust), ..self }
    }

    /// The same nodes, asked by the holder of this key where they want to know who asks.
    pub fn signed_by(self, credential: Credential) -> Self {
        let trust = Trust::clone(&self.trust).signed_by(credential);
        self.trusting(trust)
    }

    /// The same, where nothing is signed for another ledger.
    pub(super) fn for_ledger(self, ledger: [u8; 32]) -> Self {
        match self.trust.credential.clone() {
            Some(credential) => self.signed_by(credential.for_ledger(ledger)),
            None => self,
        }
    }

    pub(super) fn trust(&self) -> &Trust {
        &self.trust
    }

    /// The same, with the addresses in full: without a scheme they are plain http.
    pub(super) fn in_full(&self) -> Result<Self, ClientError> {
        let full = |url: &String| Ok::<_, ClientError>(url.parse::<Address>()?.to_string());
        let urls = self.urls.iter().map(full).collect::<Result<_, _>>()?;
        Ok(Self { urls, trust: self.trust.clone(), ..*self })
    }

    /// The address of the one that is spoken to.
    pub fn url(&self) -> &str {
        &self.urls[self.at]
    }

    /// All addresses, in the order in which they are tried.
    pub fn urls(&self) -> &[String] {
        &self.urls
    }

    /// Whether there is another one to go on to.
    pub fn are_several(&self) -> bool {
        self.urls.len() > 1
    }

    /// The same nodes, with each of the others as the one that is spoken to, beginning behind this one.
    pub(super) fn others(&self) -> impl Iterator<Item = Self> + use<> {
        let nodes = self.clone();
        (1..self.urls.len()).map(move |further| nodes.ahead(further))
    }

    /// The same nodes, where another is spoken to that is so many places further.
    pub(super) fn ahead(&self, further: usize) -> Self {
        let at = (self.at + further) % self.urls.len();
        Self { at, next: (at + 1) % self.urls.len(), ..self.clone() }
    }

    /// Goes on to the next.
    fn go_on(&mut self) {
        self.at = self.next;
        self.next = (self.at + 1) % self.urls.len();
    }

    /// Lets this one be the next, which is one of them.
    pub(super) fn let_be_next(&mut self, other: &Self) {
        self.next = other.at;
    }
}

impl From<&str> for Nodes {
    fn from(text: &str) -> Self {
        Self::of([text])
    }
}

impl From<&String> for Nodes {
    fn from(text: &String) -> Self {
        Self::of([text.as_str()])
    }
}

impl From<String> for Nodes {
    fn from(text: String) -> Self {
        Self::of([text.as_str()])
    }
}

impl From<Vec<String>> for Nodes {
    fn from(texts: Vec<String>) -> Self {
        Self::of(texts.iter().map(String::as_str))
    }
}

impl From<&Nodes> for Nodes {
    fn from(nodes: &Nodes) -> Self {
        nodes.clone()
    }
}

/// When a node of several will not do although it answers. Where there is one node, nothing of it applies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Suspicion {
    /// A submission without an answer for so long goes to the next node: this one may keep its own
    /// learners' votes out. Longer than several nodes take to agree on an order, also when one of them is
    /// being waited for; a small part of any deadline for a vote.
    pub unanswered: Duration,
    /// So often another node is asked how far the ledger is.
    pub asked_every: Duration,
    /// So long the other has to answer, and then the node that is spoken to has to reach what was
    /// answered. With the pause before, a node keeps news from its learners for less than a minute.
    pub reached_within: Duration,
}

impl Default for Suspicion {
    fn default() -> Self {
        Self {
            unanswered: Duration::from_secs(15),
            asked_every: Duration::from_secs(30),
            reached_within: Duration::from_secs(10),
        }
    }
}

/// Which nodes have failed, one after the other, and how.
#[derive(Default, Debug)]
pub(super) struct Failures(Vec<(String, ClientError)>);

impl Failures {
    /// Goes on to the next node. Gives what is wrong with all of them once each was tried.
    pub(super) fn go_on(&mut self, nodes: &mut Nodes, error: ClientError) -> Option<ClientError> {
        self.0.push((nodes.url().to_owned(), error));
        nodes.go_on();
        (self.0.len() >= nodes.urls.len()).then(|| ClientError::NoNode(std::mem::take(&mut self.0)))
    }

    /// Goes on to the next node, where there is one that may do better and was not tried.
    ///
    /// # Errors
    /// The given one, or what is wrong with each node.
    pub(super) fn try_next(
        &mut self,
        nodes: &mut Nodes,
        error: ClientError,
    ) -> Result<(), ClientError> {
        if !nodes.are_several() || !error.is_the_nodes_own() {
            return Err(error);
        }
        let (from, reason) = (nodes.url().to_owned(), error.to_string());
        if let Some(all) = self.go_on(nodes, error) {
            return Err(all);
        }
        tracing::warn!(from, to = nodes.url(), reason, "going on at another node");
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn failed(nodes: &Nodes) -> ClientError {
        ClientError::Unreachable { url: nodes.url().to_owned(), reason: "gone".to_owned() }
    }

    #[test]
    fn addresses_are_told_apart_by_commas_or_as_a_list() {
        let urls = |nodes: Nodes| nodes.in_full().unwrap().urls().join(" ");
        assert_eq!(urls("a:1".into()), "http://a:1");
        assert_eq!(urls("a:1, https://b,,a:1".into()), "http://a:1 https://b");
        let list = vec!["http://a:1".to_owned(), "b:2,c:3".to_owned()];
        assert_eq!(urls(list.into()), "http://a:1 http://b:2 http://c:3");
        let wrong = Nodes::from("a:1,ftp://b").in_full().unwrap_err();
        assert!(matches!(wrong, ClientError::Address { ref url } if url == "ftp://b"), "{wrong}");
        assert_eq!(Nodes::from(Vec::new()).urls(), [""], "which is no address");
    }

    #[test]
    fn nodes_are_gone_on_to_in_turn_and_all_their_errors_are_told() {
        let mut nodes = Nodes::from("a,b,c");
        let mut failures = Failures::default();
        for next in ["b", "c"] {
            let error = failed(&nodes);
            failures.try_next(&mut nodes, error).unwrap();
            assert_eq!(nodes.url(), next);
        }
        let error = failed(&nodes);
        let all = failures.try_next(&mut nodes, error).unwrap_err();
        assert!(all.is_transient() && !all.is_a_lie());
        assert_eq!(all.to_string(), "none of the 3 nodes will do: a: gone; b: gone; c: gone");
        assert_eq!(nodes.url(), "a", "and from there it begins anew");
        // Another node than the next may be named,
        nodes.let_be_next(&nodes.ahead(2));
        let error = failed(&nodes);
        failures.try_next(&mut nodes, error).unwrap();
        assert_eq!(nodes.url(), "c");
        // and what no other node can mend is told at once.
        let error = failures.try_next(&mut nodes, ClientError::Panicked).unwrap_err();
        assert!(matches!(error, ClientError::Panicked));
        assert_eq!(nodes.url(), "c");
        let others: Vec<String> = nodes.others().map(|other| other.url().to_owned()).collect();
        assert_eq!(others, ["a", "b"]);
    }

    #[test]
    fn one_node_has_no_other_and_its_error_is_its_own() {
        let mut nodes = Nodes::from("a");
        assert!(!nodes.are_several() && nodes.others().next().is_none());
        let error = failed(&nodes);
        let error = Failures::default().try_next(&mut nodes, error).unwrap_err();
        assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
    }
}
