"""Open annotation sessions: registry, leases, jobs, events, models."""
