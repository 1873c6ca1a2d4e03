"""Gradio's API on durable jobs: any frontend answers any event."""
