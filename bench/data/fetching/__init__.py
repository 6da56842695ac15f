"""Getting files: the archives that cards name, over HTTP, verified and unpacked."""
