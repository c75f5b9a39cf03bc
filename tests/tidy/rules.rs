//! The rules as data: who may import whom, and what else holds of the sources.

/// What one module may name of this crate. A path allows everything below it.
pub struct Module {
    pub name: &'static str,
    pub may_import: &'static [&'static str],
    /// Paths of other crates, mostly `std`, that it must not name.
    pub must_not_name: &'static [&'static str],
}

const fn module(name: &'static str, may_import: &'static [&'static str]) -> Module {
    Module { name, may_import, must_not_name: &[] }
}

/// Every module may use the shared error types, and itself.
pub const FOR_ALL: &[&str] = &["error"];

/// The table of `docs/architecture.md`. A module that is not listed is a violation: decide where it belongs.
pub const MODULES: &[Module] = &[
    module("error", &[]),
    module("id", &[]),
    module("record", &["id"]),
    Module {
        name: "format",
        may_import: &["id", "record"],
        must_not_name: &["std::fs", "std::path", "std::time", "std::thread", "std::env"],
    },
    module("vfs", &["id"]),
    Module {
        name: "policy",
        may_import: &["id", "record"],
        must_not_name: &["std::fs", "std::time", "std::thread", "std::env", "std::io"],
    },
    module("crypt", &["id", "record::Timestamp", "format", "vfs"]),
    module("log", &["id", "record", "format", "vfs", "crypt"]),
    Module {
        name: "memtable",
        may_import: &["id", "record", "format::payload", "format::rows", "format::block"],
        must_not_name: &["std::fs", "std::path"],
    },
    module("cache", &[]),
    module("segment", &["id", "record", "format", "vfs", "cache"]),
    module("index", &["id", "record", "format", "vfs", "cache"]),
    module("manifest", &["id", "record::Timestamp", "format", "vfs"]),
    module("object", &[]),
    module(
        "archive",
        &["id", "format::edit::SegmentMeta", "format::header::hex", "format::segment", "vfs", "crypt", "object"],
    ),
    module("catalog", &["id", "record::Timestamp", "record::parse_duration_ns", "policy", "format", "vfs"]),
    Module {
        name: "query",
        may_import: &["record"],
        must_not_name: &["std::fs", "std::path", "std::thread", "std::io"],
    },
    Module {
        name: "exec",
        may_import: &["id", "record", "query::ast"],
        must_not_name: &["std::fs", "std::net::TcpStream"],
    },
    module(
        "tenant",
        &[
            "id",
            "record",
            "format",
            "vfs",
            "crypt",
            "log",
            "memtable",
            "cache",
            "segment",
            "index",
            "manifest",
            "archive",
            "policy",
            "query",
            "exec",
            // The one error type of the public API; nothing else of the store.
            "store::Error",
            "store::error",
        ],
    ),
    module(
        "store",
        &[
            "id",
            "record",
            "vfs",
            "crypt",
            "archive",
            "tenant",
            "catalog",
            "policy",
            "query",
            "exec",
            "cache",
            "segment",
            // The types of its errors, and of what an append is told.
            "log::Ack",
            "log::LogError",
            "index::BuildError",
            "manifest::ManifestError",
        ],
    ),
    // Copies files as they are, and opens stores only to write records anew.
    module(
        "backup",
        &[
            "id",
            "record",
            "vfs",
            "object",
            "archive",
            "store",
            "verify",
            "catalog",
            "log::Ack",
            "log::ReadOnlyError",
            "log::extents",
            "manifest::Manifest",
            "manifest::read_whole",
            "format::control",
            "format::edit",
            "format::header::hex",
            "format::segment",
            "format::sealed",
            "format::compress::Codec",
            "crypt",
            "format::version::Version",
        ],
    ),
    module("ingest", &["id", "record"]),
    module("verify", &["id", "record", "format", "vfs", "crypt"]),
    // What `verify` takes, signed and put into a folder.
    module("checkpoint", &["record", "format::checkpoint", "verify", "vfs", "crypt"]),
    // Below queries: files, and what a tenant makes of them.
    module(
        "repair",
        &[
            "id", "record", "format", "vfs", "crypt", "log", "segment", "cache", "manifest", "catalog", "archive",
            "tenant", "store",
        ],
    ),
    // What the command line and the server share: the same options and the same rows, however they come and go.
    module("front", &["record", "store", "format::Reader", "format::put_bytes", "format::put_varint"]),
    module(
        "server",
        &[
            "id",
            "record",
            "policy",
            "query",
            "store",
            "tenant",
            "ingest",
            "front",
            "backup",
            "checkpoint",
            "vfs::RealVfs",
        ],
    ),
    // A host's own events, as records.
    module("layer", &["record", "store"]),
    // Collects the bodies of the fuzz targets, wherever they are.
    module("fuzz", &["id", "record", "format", "query", "ingest", "index", "segment"]),
];

/// A crate, or a path in one, that only these modules may name.
pub struct Only {
    pub path: &'static str,
    pub importers: &'static [&'static str],
}

const fn only(path: &'static str, importers: &'static [&'static str]) -> Only {
    Only { path, importers }
}

pub const ONLY: &[Only] = &[
    only("tantivy", &["index"]),
    only("sled", &["catalog"]),
    only("nom", &["query::parse"]),
    only("axum", &["server"]),
    // The signals that a child is passed.
    only("tokio", &["server", "bin::duramen::commands::run", "object"]),
    only("memmap2", &["vfs"]),
    only("chacha20poly1305", &["crypt"]),
    only("zeroize", &["crypt"]),
    only("rustix", &["vfs", "bin::duramen::commands::run"]),
    // The filters' bytes are part of the format.
    only("xorf", &["index", "format::bundle"]),
    only("clap", &["bin"]),
    only("indicatif", &["bin"]),
    only("ed25519_dalek", &["format::checkpoint"]),
    only("ureq", &["bin", "object"]),
    only("object_store", &["object"]),
    only("http_body_util", &["object"]),
    // Rows of a CSV wait for their header in a temporary file that belongs to no store.
    // sled owns its folder, which the catalog moves aside where it does not open.
    only("std::fs", &["vfs", "bin", "catalog::view", "front::csv"]),
];

/// `unsafe` stands here and nowhere else: a memory map, and how the program shares its heap out (decision 8).
pub const UNSAFE_IN: &[&str] = &["vfs", "bin::duramen::heap"];

/// Another crate's types that the public API shows.
pub const PUBLIC_EXTERNAL: &[&str] = &["serde", "serde_json", "roaring", "tracing", "tracing_subscriber"];

/// An exception, with its reason. `line` is a part of the line, `""` for the whole file.
pub struct Allow {
    pub file: &'static str,
    pub line: &'static str,
    pub rule: &'static str,
    pub reason: &'static str,
}

pub const ALLOWED: &[Allow] = &[Allow {
    file: "src/format/bytes.rs",
    line: "use std::path::Path;",
    rule: "must not name std::path",
    reason: "attaches a file's name to an error, and opens nothing",
}];

/// A file past this is split by noun.
pub const FILE_LINES_MAX: usize = 700;

/// Macros that are left over from writing.
pub const UNFINISHED: &[&str] = &["todo", "unimplemented", "dbg"];

/// Everything that may lie at the top of the repository.
pub const TOP_LEVEL: &[&str] = &[
    ".cargo",
    ".ci",
    ".git",
    ".github",
    ".gitignore",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "SECURITY.md",
    "benches",
    "clippy.toml",
    "deny.toml",
    "docs",
    "examples",
    "fuzz",
    "grammar",
    "justfile",
    "packaging",
    // Seeds of cases that failed once, which proptest runs first.
    "proptest-regressions",
    "rustfmt.toml",
    "src",
    "target",
    "tests",
];
