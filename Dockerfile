# Built once, with the versions and hashes that were tested; run without root, without a shell's tools, on a read-only file system.
FROM python:3.11-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# gunicorn's parser in C comes as source only; the compiler stays behind in this stage.
RUN apt-get update -qq && apt-get install -qq --yes --no-install-recommends gcc libc6-dev
RUN python -m venv /opt/bucketline
WORKDIR /src
# The dependencies first: they change seldom, and this layer is kept. Stores that nobody uses here can be left out:
#   docker build --build-arg EXTRAS="s3 sftp" .
ARG EXTRAS="s3 gcs azure sftp smb webdav"
COPY deploy/requirements deploy/requirements
RUN set -- -r deploy/requirements/base.txt -r deploy/requirements/fast.txt \
 && for extra in $EXTRAS; do set -- "$@" -r "deploy/requirements/$extra.txt"; done \
 && /opt/bucketline/bin/pip install --require-hashes --no-deps "$@"
COPY pyproject.toml README.md LICENSE ./
COPY bucketline bucketline
COPY api api
COPY engine engine
COPY backends backends
RUN pip install --target /tmp/build 'hatchling>=1.27' \
 && PYTHONPATH=/tmp/build /opt/bucketline/bin/pip install --no-deps --no-build-isolation . \
 && /opt/bucketline/bin/python -m compileall -q /opt/bucketline/lib \
 && /opt/bucketline/bin/pip uninstall --yes --quiet pip setuptools

FROM python:3.11-slim
COPY --from=build /opt/bucketline /opt/bucketline
RUN groupadd --system --gid 10001 bucketline \
 && useradd --system --uid 10001 --gid bucketline --no-create-home --shell /usr/sbin/nologin bucketline \
 && install -d -o bucketline -g bucketline /var/lib/bucketline /etc/bucketline
ENV PATH=/opt/bucketline/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    BUCKETLINE_DATA=/var/lib/bucketline
USER 10001:10001
WORKDIR /var/lib/bucketline
VOLUME /var/lib/bucketline
EXPOSE 8000
STOPSIGNAL SIGTERM
ENTRYPOINT ["bucketline"]
CMD ["--help"]
