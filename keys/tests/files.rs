//! Key files that others wrote, and encrypted ones.
#![cfg(all(unix, feature = "files"))]
#![allow(clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use colearn_keys::{
    self as keys, KeyError, KeyFile, Passphrase, generate, read, save_new, save_new_locked,
};
use ed25519_dalek::SigningKey;

const OPENSSL: &str = "26aff36c0793ecbd62091003581da318cc3e3d5066ea7b3fd5be4601dbc26258";
const OPENSSH: &str = "970709cdee1b031e0b5e276c4b8c5a5bac909122bd8c7b7d4490c5f1af67d384";

/// A file of ours with this in it.
fn file(dir: &Path, bytes: &[u8]) -> PathBuf {
    let path = dir.join("key.pem");
    std::fs::write(&path, bytes).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

fn written(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys").join(name)).unwrap()
}

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(text.to_owned()).unwrap()
}

/// Opens what these bytes hold, with this passphrase if one is needed.
fn opened(bytes: &[u8], with: &str) -> Result<(SigningKey, bool), KeyError> {
    let dir = tempfile::tempdir().unwrap();
    match read(&file(dir.path(), bytes))? {
        KeyFile::Open(key) => Ok((key, false)),
        KeyFile::Locked(locked) => Ok((locked.unlock(&passphrase(with))?, true)),
    }
}

#[test]
fn what_openssl_and_ssh_keygen_write_is_read() {
    for (name, locked, id) in [
        ("openssl-plain.pem", false, OPENSSL),
        ("openssl-text.pem", false, OPENSSL),
        ("openssl-pbkdf2.pem", true, OPENSSL),
        ("openssl-scrypt.pem", true, OPENSSL),
        ("openssh-plain", false, OPENSSH),
    ] {
        let (key, was_locked) = opened(&written(name), "hunter2").unwrap();
        let public = hex::encode(key.verifying_key().to_bytes());
        assert_eq!((public.as_str(), was_locked), (id, locked), "{name}");
        // Written on another system, or pasted.
        let text = String::from_utf8(written(name)).unwrap();
        let (again, _) = opened(text.replace('\n', "\r\n").as_bytes(), "hunter2").unwrap();
        assert_eq!(again, key, "{name}");
        if locked {
            let refused = opened(text.as_bytes(), "hunter3").unwrap_err();
            assert!(matches!(refused, KeyError::WrongPassphrase { .. }), "{name}: {refused}");
        }
    }
}

#[test]
fn what_is_no_key_of_ours_is_told_apart() {
    let plain = String::from_utf8(written("openssl-plain.pem")).unwrap();
    let ssh = String::from_utf8(written("openssh-plain")).unwrap();
    for (bytes, what) in [
        (written("openssl-des3.pem"), "openssl pkcs8 -topk8 -v2 aes-256-cbc"),
        (written("openssl-pbes1.pem"), "openssl pkcs8 -topk8 -v2 aes-256-cbc"),
        (written("openssl-public.pem"), "holds a public key; an Ed25519 private key is needed"),
        (written("openssl-x25519.pem"), "holds a private key of another kind (1.3.101.110)"),
        (written("openssl-p256.pem"), "holds a private key of another kind (1.2.840.10045.2.1)"),
        (written("openssh-public"), "holds a public key of OpenSSH's"),
        (written("openssh-encrypted"), "ssh-keygen -p -N '' -f COPY"),
        (written("openssh-ecdsa"), "holds a key of the kind ecdsa-sha2-nistp256"),
        (plain.replace("PRIVATE", "RSA PRIVATE").into_bytes(), "calls RSA PRIVATE KEY"),
        (plain.replace("MC4CAQAw", "MC4CAQBw").into_bytes(), "is not an Ed25519 private key"),
        (plain.as_bytes()[..60].to_vec(), "is not an Ed25519 private key"),
        // The public key of another private one.
        (ssh.replace("CchnqCFg1X", "CchnqCFg1Y").into_bytes(), "is not an Ed25519 private key"),
        (Vec::new(), "is not an Ed25519 private key"),
        (vec![0xff; 48], "is not an Ed25519 private key"),
    ] {
        let error = opened(&bytes, "hunter2").unwrap_err().to_string();
        assert!(error.contains(what), "{what}: {error}");
        assert!(error.contains("key.pem") && !error.contains('\n'), "{error}");
    }
}

#[test]
fn an_encrypted_key_opens_with_its_passphrase_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (path, key) = (dir.path().join("new.pem"), generate().unwrap());
    save_new_locked(&key, &path, &passphrase("correct horse")).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"), "{text}");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(opened(text.as_bytes(), "correct horse").unwrap(), (key.clone(), true));
    for wrong in ["correct horse ", "Correct horse", "x"] {
        let error = opened(text.as_bytes(), wrong).unwrap_err();
        assert!(matches!(error, KeyError::WrongPassphrase { .. }), "{error}");
    }
    // Nobody is asked here, and no variable is set.
    let error = keys::load(&path).unwrap_err();
    assert!(matches!(error, KeyError::Locked { .. }), "{error}");
    assert!(error.to_string().contains("COLEARN_KEY_PASSPHRASE"), "{error}");
    assert!(matches!(save_new(&key, &path), Err(KeyError::Exists { .. })));
    assert!(Passphrase::new(String::new()).is_none(), "it would protect nothing");
    assert_eq!(format!("{:?}", passphrase("secret")), "Passphrase");
}
