"""Gradio's API on durable jobs: any gateway answers any event."""
