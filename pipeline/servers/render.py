"""Write the servers' configuration from the templates in ``infra/servers`` and the settings."""

from __future__ import annotations

from pathlib import Path
from string import Template

from readerflow.common.jars import jars_folder, templates
from readerflow.common.settings import Settings

from .catalogue import SERVERS, folder, ports_of
from .machine import spark_home

#: Files that are not configuration of the server itself.
OTHER = ("pom.xml", "java.args")


def render(settings: Settings, name: str) -> None:
    """Write ``conf`` and ``java.args`` of a server into its folder."""
    server, home = SERVERS[name], folder(settings, name)
    values = _values(settings, name)
    (home / "conf").mkdir(parents=True, exist_ok=True)
    for template in templates().joinpath(server.templates).iterdir():
        if template.name not in OTHER:
            text = template.read_text(encoding="utf-8")
            _write(home / "conf" / template.name, text, values)
    _write(home / "java.args", templates().joinpath(server.templates, "java.args").read_text(encoding="utf-8"), values)
    if server.templates == "hdfs":
        # The published jars carry no web pages; the servers only insist that these folders exist.
        for part in ("hdfs", "datanode", "static"):
            (home / "conf" / "webapps" / part).mkdir(parents=True, exist_ok=True)


def _values(settings: Settings, name: str) -> dict[str, str]:
    server, home = SERVERS[name], folder(settings, name)
    values = {
        "folder": str(home),
        "folder_url": home.as_uri(),
        "heap": getattr(settings, server.heap),
        "hdfs_user": settings.hdfs_user,
    }
    if server.jars:
        jars = jars_folder(settings, server.jars)
        values["jars"] = str(jars)
        values["jamm"] = str(next(iter(jars.glob("jamm-*.jar")), ""))
    else:
        values["spark_home"] = str(spark_home())
    for one in ("namenode", "datanode") if server.templates == "hdfs" else (name,):
        for port in ports_of(settings, one):
            values[_PORT_NAMES.get(port.setting, port.setting)] = str(port.number)
    return values


#: Settings that hold whole addresses, and what templates call their port.
_PORT_NAMES = {"kafka_bootstrap": "kafka_port", "hdfs_rpc": "hdfs_port", "hdfs_web": "hdfs_web_port"}


def _write(path: Path, template: str, values: dict[str, str]) -> None:
    path.write_text(Template(template).substitute(values), encoding="utf-8")
