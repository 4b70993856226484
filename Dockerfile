# The signaling server. The client's engine comes along, because the package depends on it; the server never loads it.
FROM python:3.13-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN pip wheel --no-deps --wheel-dir /wheels .
RUN python -m venv --without-pip /opt/p2pal
RUN pip --python /opt/p2pal/bin/python install --only-binary :all: "$(echo /wheels/p2pal-*.whl)[server]"

FROM python:3.13-slim
RUN groupadd --system --gid 10001 p2pal \
 && useradd --system --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin p2pal
COPY --from=build /opt/p2pal /opt/p2pal
# Nothing is written at run time: the root file system may be read-only.
ENV PATH=/opt/p2pal/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["python", "-c", "from http.client import HTTPConnection as C; c = C('127.0.0.1', 8080, timeout=2); c.request('GET', '/healthz'); raise SystemExit(c.getresponse().status != 200)"]
ENTRYPOINT ["p2pal"]
CMD ["server", "--host", "0.0.0.0", "--log-format", "json"]
