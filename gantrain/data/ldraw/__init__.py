"""Parts of a user's own LDraw library, as triangles."""
