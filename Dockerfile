# One image for every service: `docker run IMAGE run inventory`, `... migrate`, `... tail`, `... status`.
# The target `development` adds the stand-ins and `arcadia token`.

FROM python:3.11-slim-bookworm AS packages
COPY requirements.lock .
RUN python -m venv /venv \
 && /venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements.lock

FROM python:3.11-slim-bookworm AS production
RUN useradd --system --uid 10001 --no-create-home arcadia
COPY --from=packages /venv /venv
WORKDIR /app
COPY contracts contracts
COPY shared shared
COPY services services
COPY cli cli
ENV PATH=/venv/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    GATEWAY_HOST=0.0.0.0 \
    HEALTH_HOST=0.0.0.0 \
    HEALTH_PORT=8080
USER 10001
EXPOSE 4005 8080
# Whether the process makes progress; whether it should get work is asked at /readyz.
HEALTHCHECK --interval=10s --timeout=6s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/healthz', timeout=5)"]
ENTRYPOINT ["python", "-m", "cli.main"]
CMD ["--help"]

FROM production AS development
COPY dev dev

# What a plain `docker build .` makes.
FROM production
