//! The operations: wire, keys, catalog, jobs, backup, verification, status, restore.
