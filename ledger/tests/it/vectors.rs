//! Published and independently computed vectors for trees, notes, tiles, proofs and cosignatures.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use colearn_ledger::note::{KeyKind, from_bytes};
use colearn_ledger::{
    Checkpoint, Hash, NoteError, Receipt, Resource, SignedNote, Signer, Verifier, tree,
};
use ed25519_dalek::SigningKey;

use crate::memory::MemoryTree;

fn hash(hex: &str) -> Hash {
    let byte = |i: usize| u8::from_str_radix(&hex[i..i + 2], 16).unwrap();
    Hash(std::array::from_fn(|i| byte(2 * i)))
}

fn base64_hash(text: &str) -> Hash {
    Hash::try_from(&BASE64.decode(text).unwrap()[..]).unwrap()
}

fn key(hex: &str) -> SigningKey {
    SigningKey::from_bytes(&hash(hex).0)
}

/// The seed of RFC 8032 section 7.1 TEST 1.
fn log_signer() -> Signer {
    let seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    Signer::new("colearn.example/ledger/test", KeyKind::Log, key(seed)).unwrap()
}

fn set_a(size: u64) -> MemoryTree {
    MemoryTree::of((0..size).map(|i| format!("entry-{i}").into_bytes()))
}

#[test]
fn rfc_6962_hashes_and_roots() {
    assert_eq!(
        Hash::leaf(b""),
        hash("6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d")
    );
    assert_eq!(
        Hash::leaf(b"L123456"),
        hash("395aa064aa4c29f7010acfe3f25db9485bbd4b91897b6ad7ad547639252b4d56")
    );
    let leaves: [&[u8]; 8] = [
        b"",
        b"\x00",
        b"\x10",
        b"\x20\x21",
        b"\x30\x31",
        b"\x40\x41\x42\x43",
        b"\x50\x51\x52\x53\x54\x55\x56\x57",
        b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
    ];
    let roots = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let source = MemoryTree::of(leaves.map(<[u8]>::to_vec));
    for (size, root) in roots.iter().enumerate() {
        assert_eq!(tree::root(&source, size as u64 + 1), Ok(hash(root)));
    }
}

#[test]
fn the_signed_note_of_the_specification() {
    let vkey = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    let verifier = Verifier::parse(vkey).unwrap();
    assert_eq!(verifier.to_string(), vkey);
    let note = "This is an example message.\n\n\u{2014} example.com/foo Uw2QOkn8srV1yJGh2VYRlL1T\
                nagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";
    verifier.verify(&SignedNote::parse(note).unwrap()).unwrap();

    let edited = note.replace("example message", "Example message");
    let edited = SignedNote::parse(&edited).unwrap();
    assert_eq!(
        verifier.verify(&edited),
        Err(NoteError::BadSignature("example.com/foo".to_owned()))
    );
    let unsigned = SignedNote::parse(&note.replace("foo Uw2Q", "bar Uw2Q")).unwrap();
    assert_eq!(verifier.verify(&unsigned), Err(NoteError::Unsigned("example.com/foo".to_owned())));
}

#[test]
fn the_log_of_another_implementation() {
    let vkey = "example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx";
    let verifier = Verifier::parse(vkey).unwrap();
    let note = "example.com/log/testdata\n3\nWqx3HImawpLnS/Gv4ubjAvi1WIOy0b8Ze0amvqbavKk=\n\n\
                \u{2014} example.com/log/testdata M9e0lvAQRtH832pk2RTbeSeZMkp4FZSdJYFBUjO5SKxuRbyw\
                PUF3cx+HUrb50kjd3rUWW/fj53Wj1dwcwh9bGQnqVAg=\n";
    let checkpoint = Checkpoint::open(note, &verifier).unwrap();
    let source = MemoryTree::of(["one", "two", "three"].map(|leaf| leaf.as_bytes().to_vec()));
    assert_eq!(tree::root(&source, 3), Ok(checkpoint.root));
}

#[test]
fn set_a_roots_and_proofs() {
    let source = set_a(70_000);
    assert_eq!(
        source.leaves()[0],
        hash("40766b2033429026f53d54502679a839706b4741f8dcaf3a8bba5f41b5ffe075")
    );
    let root = |size| tree::root(&source, size).unwrap();
    assert_eq!(root(3), base64_hash("pkvybgkSj2/i/m+LLYyAHhZrV8BHp82bK4Ceepai8cs="));
    assert_eq!(root(7), base64_hash("kTlgHMHKirKnoMLBNMBIRfKxulSag9bIRc/NpDnMWF0="));
    for (size, expected) in [
        (256, "f85f4ead34080710b4d1e808301543aaab81aa04deb88599350dc26a4f2f58de"),
        (257, "918b1cec64f317c76e3cf55c0536841c039eff06772ebb8828ce7c176028b5ac"),
        (300, "aebb027d5c3dd08871ee52577a61fc83122d0d14352791943639bd4c12d36943"),
        (70_000, "a62a54be33294ffd5a5c4c637fd754630b71a892e8356e3a666a5c8a7ffd1518"),
    ] {
        assert_eq!(root(size), hash(expected));
    }
    let inclusion = [
        "GUu1otW9EOXRqm/V1CmAs1bK8dpiPNmYfEv6L4F3Htc=",
        "DP2ldv9LKeozw6/a7tG9Y362VLKKBDAvyrX9fbB4Acw=",
        "JWueiCXl03CkrgBdCQHqKRl34pJ/XPjj5yZg3QlRnts=",
    ];
    assert_eq!(tree::inclusion(&source, 5, 7), Ok(inclusion.map(base64_hash).to_vec()));
    let consistency = [
        "BJ19zbVrz+vTEzBMmDnxlqPUtu873AsIKY+TrIGR8Kg=",
        "J0ebarMh0u5HdFL2i6UndI6GPK/o+9HfK/idFXDRtpc=",
        "LyelCCwdQq+kiKw1Cp/EOQwIT1T3Hs3/hZ6Y24QptHk=",
        "5CnFtcyqlSPDcpfxhGdm+QMTfoIZXFGZ5r5XEw0QBsg=",
    ];
    assert_eq!(tree::consistency(&source, 3, 7), Ok(consistency.map(base64_hash).to_vec()));
}

#[test]
fn set_a_signatures() {
    let signer = log_signer();
    assert_eq!(
        signer.verifier().to_string(),
        "colearn.example/ledger/test+f4cbd379+AddamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea"
    );
    let source = set_a(7);
    let root = tree::root(&source, 7).unwrap();
    let checkpoint = Checkpoint { origin: "colearn.example/ledger/test".to_owned(), size: 7, root };
    let note = checkpoint.sign(&signer);
    assert!(note.ends_with(
        "\n\n\u{2014} colearn.example/ledger/test 9MvTeTa92ZQC/8QjLVtNZI86UkA0B+k8nSL3CJ5g9fc0rQA9\
         fXxFLy3azQNoPcTXb4xcaKyv+vovIiEieBilnNrztQw=\n"
    ));
    assert_eq!(Checkpoint::open(&note, signer.verifier()), Ok(checkpoint.clone()));

    // The seed of RFC 8032 section 7.1 TEST 2.
    let seed = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb";
    let witness = Signer::new("witness.example/w1", KeyKind::Witness, key(seed)).unwrap();
    assert_eq!(
        witness.verifier().to_string(),
        "witness.example/w1+04d2d833+BD1AF8PoQ4lakrcKp00bfrycmCzPLsSWjMDNVfEq9GYM"
    );
    let line = witness.sign(&checkpoint.text(), 1_700_000_000);
    assert_eq!(
        line,
        "\u{2014} witness.example/w1 BNLYMwAAAABlU/EAISy9Mw6MUcVgPeg/qUoBC9FWBdh4i2iLprolWw8KLSM9\
         dTm70toimXKH8zjYub23CT6ulBTilFotbW0d7WHkDA==\n"
    );
    let cosigned = note.clone() + &line;
    let parsed = SignedNote::parse(&cosigned).unwrap();
    witness.verifier().verify(&parsed).unwrap();
    // A log's reader ignores the witness's line.
    assert_eq!(Checkpoint::open(&cosigned, signer.verifier()), Ok(checkpoint));
}

#[test]
fn a_receipt_proves_its_entry_and_no_other() {
    let (signer, source) = (log_signer(), set_a(7));
    let root = tree::root(&source, 7).unwrap();
    let origin = signer.verifier().name().to_owned();
    let checkpoint = Checkpoint { origin, size: 7, root }.sign(&signer);
    let path = tree::inclusion(&source, 5, 7).unwrap();
    let receipt = Receipt { index: 5, path, checkpoint };
    let text = receipt.to_text();
    assert!(text.starts_with("c2sp.org/tlog-proof@v1\nindex 5\nGUu1otW9"));
    let read = Receipt::parse(&text).unwrap();
    assert_eq!(read, receipt);
    assert!(read.verify(Hash::leaf(b"entry-5"), &signer.verifier().clone().into()).is_ok());
    assert!(read.verify(Hash::leaf(b"entry-4"), &signer.verifier().clone().into()).is_err());
    let moved = Receipt { index: 4, ..read };
    assert!(moved.verify(Hash::leaf(b"entry-5"), &signer.verifier().clone().into()).is_err());
    for bad in ["", "c2sp.org/tlog-proof@v1\n"] {
        assert!(Receipt::parse(bad).is_err());
    }
    // An index has one spelling.
    for index in ["x", "+5", "05", "-5", " 5", "5 ", "", "18446744073709551616"] {
        let bad = text.replace("index 5", &format!("index {index}"));
        assert!(Receipt::parse(&bad).is_err(), "{index:?}");
    }
    // What an application adds stands before it, once, in base64.
    let with = |lines: &str| text.replace("index 5", &format!("{lines}index 5"));
    for good in ["extra YWdl\n", "extra \n"] {
        assert_eq!(Receipt::parse(&with(good)).as_ref(), Ok(&receipt), "{good:?}");
    }
    for bad in ["extra\n", "extra YWd\n", "extra YWdl\nextra YWdl\n", "other YWdl\n", "\n"] {
        assert!(Receipt::parse(&with(bad)).is_err(), "{bad:?}");
    }
    let behind = text.replace("index 5\n", "index 5\nextra YWdl\n");
    assert!(Receipt::parse(&behind).is_err());
}

#[test]
fn malformed_notes_and_keys_are_refused() {
    let signer = log_signer();
    let good = Checkpoint {
        origin: signer.verifier().name().to_owned(),
        size: 1,
        root: Hash::leaf(b"entry-0"),
    };
    for text in [
        "",
        "colearn.example/ledger/test\n1\n",
        "colearn.example/ledger/test\n01\nQHZrIDNCkCb1PVRQJnmoOXBrR0H43K86i7pfQbX/4HU=\n",
        "colearn.example/ledger/test\n-1\nQHZrIDNCkCb1PVRQJnmoOXBrR0H43K86i7pfQbX/4HU=\n",
        "colearn.example/ledger/test\n9223372036854775808\nQHZrIDNCkCb1PVRQJnmoOXBrR0H43K86i7pfQbX/4HU=\n",
        "colearn.example/ledger/test\n1\nQHZrIDNCkCb1PVRQJnmoOXBrR0H43K86i7pfQbX/4H=\n",
        "colearn.example/ledger/test\n1\nQHZrIDNCkCb1PVRQJnmoOXBrR0H43K86i7pfQbX/4HU=\nextra\n",
    ] {
        assert!(Checkpoint::parse(text).is_err(), "{text}");
    }
    assert!(Checkpoint::parse(&good.text()).is_ok());
    let note = good.sign(&signer);
    assert!(SignedNote::parse(note.trim_end()).is_err());
    assert!(SignedNote::parse(&note.replace('\u{2014}', "-")).is_err());
    assert!(SignedNote::parse(&note.replace("ledger", "led\u{7}ger")).is_err());
    // Whose name no key can have has signed nothing.
    for name in ["a b", "a+b", "a\u{a0}b", "\u{2003}", ""] {
        let line = format!("\u{2014} {name} AAAAAAAA\n");
        assert!(SignedNote::parse(&(note.clone() + &line)).is_err(), "{name:?}");
    }
    assert!(SignedNote::parse(&(note.clone() + "\u{2014} a/b AAAAAAAA\n")).is_ok());
    let cut = [note.as_bytes(), "\u{2014} a AAAAAAAA\n".as_bytes(), &[0xe2, 0x80]].concat();
    assert_eq!(from_bytes(cut), Err(NoteError::Malformed("not UTF-8")));
    let vkey = signer.verifier().to_string();
    assert!(Verifier::parse(&vkey.replace("f4cbd379", "f4cbd378")).is_err());
    assert!(Verifier::parse(&vkey.replace("test+", "test2+")).is_err());
    assert!(Verifier::parse("a+b").is_err());
}

#[test]
fn tile_paths_have_one_spelling() {
    let full = |number| Resource::Entries { number, width: 256 };
    assert_eq!(full(0).path(), "tile/entries/000");
    assert_eq!(full(1_234_067).path(), "tile/entries/x001/x234/067");
    assert_eq!(Resource::Hashes { level: 2, number: 5, width: 7 }.path(), "tile/2/005.p/7");
    for good in ["tile/entries/000", "tile/0/x001/x234/067.p/5", "tile/7/999"] {
        assert_eq!(Resource::parse(good).unwrap().path(), good);
    }
    for bad in [
        "tile/0/0",
        "tile/0/x000/001",
        "tile/8/000",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/001/002",
        "tile/0/x001",
        "tile/00/000",
        "tile/0/+01",
        "tile/entries/000.p/07",
        "x",
        "tile/0/x999/x999/x999/x999/x999/x999/x999/999",
    ] {
        assert_eq!(Resource::parse(bad), None, "{bad}");
    }
}
