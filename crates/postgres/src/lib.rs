//! What only PostgreSQL needs: servers, dumps, restores, row counts.
