"""The frontend: HTTP, Gradio and the page, in front of durable jobs. It runs no model: jobs go through ``matte_jobs``.

Other packages may import its settings only.
"""

__all__ = ["settings"]
