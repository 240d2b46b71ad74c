//! Data folders of earlier versions.

use std::path::Path;

use crate::support::{NodeProcess, copy_frozen, succeed};

#[test]
fn the_first_versions_folder_opens_and_is_audited() {
    let frozen = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/frozen/v1");
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    copy_frozen(&data);
    let receipts = frozen.join("receipts");
    let audit = || {
        let arguments = ["audit", data.to_str().unwrap(), "--receipts", receipts.to_str().unwrap()];
        succeed(&arguments).lines().last().unwrap().to_owned()
    };
    let before = audit();
    assert!(before.starts_with("AUDIT OK "), "{before}");
    assert!(before.contains("experiments=1 rounds=3 transactions=13"), "{before}");
    let node = NodeProcess::start(&data);
    let shown = succeed(&["experiment", "show", "demo", "--node", &node.url]);
    assert!(shown.contains("experiment  demo (finished)"), "{shown}");
    node.stop();
    assert_eq!(audit(), before);
}
