"""The engine: jobs, their ledger in Redis, the spool on disk, and the workers that carry parts to buckets."""
