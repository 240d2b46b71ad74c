//! Messages as JSON, so that any implementation of protobuf reads them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use prost_reflect::{DescriptorPool, DynamicMessage, Kind, MessageDescriptor};
use serde_json::Value as Json;

/// The bytes of a message of `colearn.v1` as ProtoJSON, with the names of the `.proto` files.
///
/// It is read by the descriptors, and by nothing that wrote the bytes.
pub(super) fn json(message: &str, bytes: &[u8]) -> Json {
    let pool = DescriptorPool::decode(colearn_proto::FILE_DESCRIPTOR_SET).unwrap();
    let message: MessageDescriptor =
        pool.get_message_by_name(&format!("colearn.v1.{message}")).unwrap();
    object(&DynamicMessage::decode(message, bytes).unwrap())
}

fn object(message: &DynamicMessage) -> Json {
    assert_eq!(message.unknown_fields().count(), 0, "{message:?}");
    let fields = message.fields();
    fields.map(|(field, value)| (field.name().to_owned(), json_of(&field.kind(), value))).collect()
}

fn json_of(kind: &Kind, value: &prost_reflect::Value) -> Json {
    use prost_reflect::Value;
    match value {
        Value::Bool(flag) => Json::from(*flag),
        Value::U32(number) => Json::from(*number),
        // As text: readers of JSON that know only floats lose digits.
        Value::U64(number) => Json::from(number.to_string()),
        Value::I64(number) => Json::from(number.to_string()),
        Value::String(text) => Json::from(text.as_str()),
        Value::Bytes(bytes) => Json::from(BASE64.encode(bytes)),
        Value::EnumNumber(number) => {
            let value = kind.as_enum().and_then(|kind| kind.get_value(*number));
            Json::from(value.unwrap().name())
        }
        Value::Message(message) => object(message),
        Value::List(items) => items.iter().map(|item| json_of(kind, item)).collect(),
        Value::I32(_) | Value::F32(_) | Value::F64(_) | Value::Map(_) => {
            unreachable!("no message has one")
        }
    }
}
