"""One guest without an engine: state buffer, memory, page flags, stops, the engine protocol."""
