# The bundle with the versions of constraints.txt; the image's torch runs on CPUs and on NVIDIA cards.
#   docker build --tag gliomagen .
#   docker run --rm --gpus all --ipc host --user "$(id -u):$(id -g)" --volume "$PWD:/data" gliomagen \
#     inferring --config_file configs/inference.yaml --dataset_dir /data/masks --output_dir /data/synthetic
FROM python:3.11.14-slim-bookworm

ENV PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp
WORKDIR /gliomagen
COPY pyproject.toml constraints.txt LICENSE README.md ./
COPY bundle bundle
RUN pip install --constraint constraints.txt --editable . \
    && useradd --uid 1000 --create-home gliomagen
WORKDIR /gliomagen/bundle
USER 1000
ENTRYPOINT ["python", "-m", "monai.bundle", "run"]
CMD ["--help"]
