"""The person's pages: refusing, agreeing, asking, without a script or a cookie."""
