"""The mail side: the server that sending tools talk to."""
