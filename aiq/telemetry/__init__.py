"""What leaves the house for OpenTelemetry: spans and metrics of statements, requests and calls."""
