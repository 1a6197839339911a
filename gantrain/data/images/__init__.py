"""The one reader of users' images."""
