//! What a status says of plans, histories and tiers.
