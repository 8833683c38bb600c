"""The HTTP interface: control socket and TCP; knows the core and `Service`, never the engine."""
