"""A fault drill: processes of a running Matte are killed and stopped while clients send jobs, and nothing is lost."""
