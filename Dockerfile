# syntax=docker/dockerfile:1
# docs/container.md says how to run it.
FROM python:3.11-slim AS build
WORKDIR /src
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
# The build tools, by the hashes of the lock file for development.
COPY requirements-dev.lock requirements.lock ./
RUN sed -n -E '/^(hatchling|packaging|pathspec|pluggy|tomlkit|trove-classifiers)==/,/[^\\]$/p' requirements-dev.lock > tools.lock \
 && python -m venv /tools \
 && /tools/bin/pip install --only-binary :all: --require-hashes -r tools.lock
# What the gateway runs on; wheels only, so no compiler is needed.
RUN python -m venv --without-pip /app \
 && pip --python /app/bin/python install --no-compile --only-binary :all: --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE config.toml ./
COPY rules rules
COPY gateway gateway
RUN /tools/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheel . \
 && pip --python /app/bin/python install --no-compile --no-deps --no-index /wheel/*.whl

FROM python:3.11-slim
RUN useradd --system --uid 10525 --user-group --no-create-home --shell /usr/sbin/nologin gateway \
 && install -d -o gateway -g gateway -m 0700 /var/lib/suppression-gateway
COPY --from=build /app /app
COPY config.toml /etc/suppression-gateway/config.toml
ENV PATH=/app/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    GATEWAY_CONFIG=/etc/suppression-gateway/config.toml \
    GATEWAY_DATA_DIR=/var/lib/suppression-gateway \
    GATEWAY_SMTP__LISTEN='["0.0.0.0:2525"]' \
    GATEWAY_SMS__LISTEN='["0.0.0.0:8081"]' \
    GATEWAY_HTTP__LISTEN='["0.0.0.0:8080"]'
USER gateway
WORKDIR /
VOLUME /var/lib/suppression-gateway
# Pages and links, inbound mail and the API are off until they are set: docs/container.md.
EXPOSE 2525 8080 8081
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/healthz', timeout=3)"]
ENTRYPOINT ["suppression-gateway"]
CMD ["serve"]
