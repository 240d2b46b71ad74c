//! The few messages of Cosmos chains that are needed here, by hand: fields that are not are left out. They are those of
//! cosmos-sdk 0.53 (`cosmos/tx/v1beta1`, `cosmos/auth/v1beta1`, `cosmos/bank/v1beta1`, `cosmos/staking/v1beta1`,
//! `cosmos/base`) and wasmd 0.61 (`cosmwasm/wasm/v1`), whose numbers never change.

use prost::Message;

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Any {
    #[prost(string, tag = "1")]
    pub(crate) type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) value: Vec<u8>,
}

impl Any {
    pub(crate) fn of(type_url: &str, message: &impl Message) -> Self {
        Self { type_url: type_url.to_owned(), value: message.encode_to_vec() }
    }
}

/// `cosmos.base.v1beta1.Coin`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Coin {
    #[prost(string, tag = "1")]
    pub(crate) denom: String,
    #[prost(string, tag = "2")]
    pub(crate) amount: String,
}

/// `cosmos.tx.v1beta1.TxBody`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct TxBody {
    #[prost(message, repeated, tag = "1")]
    pub(crate) messages: Vec<Any>,
    #[prost(string, tag = "2")]
    pub(crate) memo: String,
    #[prost(uint64, tag = "3")]
    pub(crate) timeout_height: u64,
}

/// `cosmos.tx.v1beta1.AuthInfo`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct AuthInfo {
    #[prost(message, repeated, tag = "1")]
    pub(crate) signer_infos: Vec<SignerInfo>,
    #[prost(message, optional, tag = "2")]
    pub(crate) fee: Option<Fee>,
}

/// `cosmos.tx.v1beta1.SignerInfo`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct SignerInfo {
    #[prost(message, optional, tag = "1")]
    pub(crate) public_key: Option<Any>,
    #[prost(message, optional, tag = "2")]
    pub(crate) mode_info: Option<ModeInfo>,
    #[prost(uint64, tag = "3")]
    pub(crate) sequence: u64,
}

/// `cosmos.tx.v1beta1.ModeInfo`, of which one signer has the first kind.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ModeInfo {
    #[prost(message, optional, tag = "1")]
    pub(crate) single: Option<Single>,
}

/// `cosmos.tx.v1beta1.ModeInfo.Single`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Single {
    #[prost(int32, tag = "1")]
    pub(crate) mode: i32,
}

/// `SIGN_MODE_DIRECT`: what is signed are the bytes of [`SignDoc`].
pub(crate) const SIGN_MODE_DIRECT: i32 = 1;

/// `cosmos.tx.v1beta1.Fee`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Fee {
    #[prost(message, repeated, tag = "1")]
    pub(crate) amount: Vec<Coin>,
    #[prost(uint64, tag = "2")]
    pub(crate) gas_limit: u64,
    #[prost(string, tag = "3")]
    pub(crate) payer: String,
    #[prost(string, tag = "4")]
    pub(crate) granter: String,
}

/// `cosmos.crypto.secp256k1.PubKey`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct PubKey {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) key: Vec<u8>,
}

/// `cosmos.tx.v1beta1.SignDoc`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct SignDoc {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) body_bytes: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) auth_info_bytes: Vec<u8>,
    #[prost(string, tag = "3")]
    pub(crate) chain_id: String,
    #[prost(uint64, tag = "4")]
    pub(crate) account_number: u64,
}

/// `cosmos.tx.v1beta1.TxRaw`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct TxRaw {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) body_bytes: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) auth_info_bytes: Vec<u8>,
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub(crate) signatures: Vec<Vec<u8>>,
}

/// `cosmos.base.abci.v1beta1.TxMsgData`: what came of a transaction's messages.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct TxMsgData {
    #[prost(message, repeated, tag = "2")]
    pub(crate) msg_responses: Vec<Any>,
}

/// `cosmos.auth.v1beta1.QueryAccountInfoRequest`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct QueryAccountInfoRequest {
    #[prost(string, tag = "1")]
    pub(crate) address: String,
}

/// `cosmos.auth.v1beta1.QueryAccountInfoResponse`: a [`BaseAccount`] whatever kind of account it is.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct QueryAccountInfoResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) info: Option<BaseAccount>,
}

/// `cosmos.auth.v1beta1.BaseAccount`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct BaseAccount {
    #[prost(uint64, tag = "3")]
    pub(crate) account_number: u64,
    #[prost(uint64, tag = "4")]
    pub(crate) sequence: u64,
}

/// `cosmos.bank.v1beta1.QueryBalanceRequest`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct QueryBalanceRequest {
    #[prost(string, tag = "1")]
    pub(crate) address: String,
    #[prost(string, tag = "2")]
    pub(crate) denom: String,
}

/// `cosmos.bank.v1beta1.QueryBalanceResponse`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct QueryBalanceResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) balance: Option<Coin>,
}

/// `cosmos.staking.v1beta1.QueryParamsResponse`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct QueryStakingParamsResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) params: Option<StakingParams>,
}

/// `cosmos.staking.v1beta1.Params`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct StakingParams {
    #[prost(message, optional, tag = "1")]
    pub(crate) unbonding_time: Option<Duration>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Duration {
    #[prost(int64, tag = "1")]
    pub(crate) seconds: i64,
}

/// `cosmwasm.wasm.v1.QuerySmartContractStateRequest`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct QuerySmartContractStateRequest {
    #[prost(string, tag = "1")]
    pub(crate) address: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) query_data: Vec<u8>,
}

/// `cosmwasm.wasm.v1.QuerySmartContractStateResponse`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct QuerySmartContractStateResponse {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) data: Vec<u8>,
}

/// `cosmwasm.wasm.v1.MsgExecuteContract`, without funds.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct MsgExecuteContract {
    #[prost(string, tag = "1")]
    pub(crate) sender: String,
    #[prost(string, tag = "2")]
    pub(crate) contract: String,
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) msg: Vec<u8>,
}

/// `cosmwasm.wasm.v1.MsgExecuteContractResponse`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct MsgExecuteContractResponse {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) data: Vec<u8>,
}

/// `cosmwasm.wasm.v1.MsgStoreCode`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct MsgStoreCode {
    #[prost(string, tag = "1")]
    pub(crate) sender: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) wasm_byte_code: Vec<u8>,
}

/// `cosmwasm.wasm.v1.MsgStoreCodeResponse`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct MsgStoreCodeResponse {
    #[prost(uint64, tag = "1")]
    pub(crate) code_id: u64,
}

/// `cosmwasm.wasm.v1.MsgInstantiateContract`, without an administrator and without funds.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct MsgInstantiateContract {
    #[prost(string, tag = "1")]
    pub(crate) sender: String,
    #[prost(uint64, tag = "3")]
    pub(crate) code_id: u64,
    #[prost(string, tag = "4")]
    pub(crate) label: String,
    #[prost(bytes = "vec", tag = "5")]
    pub(crate) msg: Vec<u8>,
}

/// `cosmwasm.wasm.v1.MsgInstantiateContractResponse`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct MsgInstantiateContractResponse {
    #[prost(string, tag = "1")]
    pub(crate) address: String,
}
