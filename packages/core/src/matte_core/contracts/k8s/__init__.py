"""What people and the operator keep in the Kubernetes API: group ``matte.dev``, version ``v1alpha1``."""

GROUP = "matte.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
