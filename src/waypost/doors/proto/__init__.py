"""The gRPC messages: `waypost.proto`, and what `make proto` makes of it. Nothing here is written by hand."""
