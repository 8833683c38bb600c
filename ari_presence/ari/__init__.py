"""The link to Asterisk: events in, requests out, over one websocket for each server (or HTTP on older ones)."""
