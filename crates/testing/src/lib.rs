//! Test support: private PostgreSQL clusters, stock restic, file trees; for tests and the demo only.
