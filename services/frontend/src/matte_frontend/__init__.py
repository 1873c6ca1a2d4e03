"""The frontend: HTTP, Gradio and the page, in front of durable jobs."""
