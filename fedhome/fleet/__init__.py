"""Who may take part: the owner's folder, invites, claims, and how a home joins and leaves."""
