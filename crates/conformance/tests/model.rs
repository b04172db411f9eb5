//! The model, on every store there is.
#![allow(missing_docs, clippy::unwrap_used)] // they are tests

mod worlds;

use norikv_conformance::conformance;
use worlds::{File, Memory, Namespace, Served, TextNamespace};

conformance!(memory, Memory, [plain, millis, full, progress, own, vectors]);
conformance!(memory_namespace, Namespace(Memory), [plain, millis, full, progress, own]);
conformance!(memory_served, Served::new(Memory), [plain, millis, full, progress, own, vectors]);
conformance!(memory_served_namespace, Namespace(Served::new(Memory)), [plain, millis, full, progress, own]);

conformance!(file, File::FSYNC, [plain, millis, full, progress, own, disk, vectors, vectors_disk]);
conformance!(
    file_uncached,
    File::UNCACHED,
    [plain, millis, full, progress, own, disk, vectors, vectors_disk]
);
conformance!(file_namespace, Namespace(File::FSYNC), [plain, millis, full, progress, own, disk]);
conformance!(
    file_served,
    Served::new(File::FSYNC),
    [plain, millis, full, progress, own, disk, vectors, vectors_disk]
);
conformance!(
    file_served_namespace,
    Namespace(Served::new(File::RELAXED)),
    [plain, millis, full, progress, own, disk]
);

conformance!(memory_part, TextNamespace(Memory), [vectors]);
conformance!(memory_served_part, TextNamespace(Served::new(Memory)), [vectors]);
conformance!(file_served_part, TextNamespace(Served::new(File::RELAXED)), [vectors, vectors_disk]);

conformance!(norikv_v1_alone, Served { world: File::FSYNC, plain: true }, [plain, millis, lacking]);
