# Debian's Redis, for clusters that cannot pull the public image.
FROM debian:bookworm-slim
RUN groupadd --system --gid 999 redis && useradd --system --uid 999 --gid 999 --no-create-home redis \
    && apt-get update && apt-get install -y --no-install-recommends redis-server && rm -rf /var/lib/apt/lists/*
USER 999:999
WORKDIR /data
ENTRYPOINT ["redis-server"]
