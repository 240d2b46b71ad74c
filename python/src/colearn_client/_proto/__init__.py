"""Generated from the .proto files when the package is built."""
