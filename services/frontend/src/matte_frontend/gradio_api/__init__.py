"""Gradio's API on durable jobs: any frontend can answer any request."""
