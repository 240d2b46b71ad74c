//! Which version of the rules a node follows, and which its members' programs know.

use colearn_contracts::{LearnerId, Limits, MemberName};
use colearn_proto::v1;
use colearn_records::convert::{self, BadField};
use colearn_records::upgrade;

use super::{BoxFuture, Client, ClientError};

/// What a node says of itself and of its members' programs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeStatus {
    /// How many entries its ledger has.
    pub size: u64,
    /// The version of the rules that new experiments follow.
    pub version: u32,
    /// The latest that the node knows.
    pub latest_version: u32,
    /// What the ledger limits; `None` in version 1.
    pub limits: Option<Limits>,
    /// When the node was started, in ms since 1970.
    pub started_ms: u64,
    /// The members of experiments that have not finished, by key; perhaps not all of them.
    pub members: Vec<MemberProgram>,
    /// How many more there are.
    pub more: u32,
}

/// What a node knows of a member's program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemberProgram {
    /// The member.
    pub learner: LearnerId,
    /// What it is called.
    pub name: Option<MemberName>,
    /// The latest version of the rules that its program knows; `None` if it has sent nothing since the
    /// node was started.
    pub version: Option<u32>,
    /// When it last sent something, in ms since 1970; 0 for never.
    pub last_ms: u64,
    /// The unfinished experiments that it is a member of.
    pub experiments: Vec<String>,
}

impl Client {
    /// What the node says of itself and of its members' programs. Nothing of it is proven: it is for who
    /// runs the node.
    ///
    /// # Errors
    /// If the node cannot answer; a node of the first version does not know the question.
    pub fn status(&self) -> BoxFuture<'_, Result<NodeStatus, ClientError>> {
        Box::pin(async move {
            let request = v1::GetStatusRequest {};
            Ok(read(self.answer(self.coordinator().get_status(request)).await?)?)
        })
    }
}

fn read(answer: v1::GetStatusResponse) -> Result<NodeStatus, BadField> {
    let member = |member: v1::MemberProgram| {
        Ok(MemberProgram {
            learner: convert::learner(&member.learner, "learner")?,
            name: convert::member_name(&member.name)?,
            version: Some(member.contract_version).filter(|version| *version > 0),
            last_ms: member.last_ms,
            experiments: member.experiments,
        })
    };
    Ok(NodeStatus {
        size: answer.size,
        version: answer.contract_version,
        latest_version: answer.latest_contract_version,
        limits: answer.limits.as_ref().map(|limits| upgrade::limits(Some(limits))).transpose()?,
        started_ms: answer.started_ms,
        members: answer.members.into_iter().map(member).collect::<Result<_, BadField>>()?,
        more: answer.more,
    })
}
