"""The definitions that a lab's API server has from the start."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from apiserver_client import Http

from conftest import settings
from fairlead.api import crds
from fairlead.apiserver.server import Server
from fairlead.base.errors import UserError

FILES = sorted(crds.FOLDER.glob("*.yaml"))
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_holds_the_definition_that_it_is_named_after(path: Path) -> None:
    definition = yaml.safe_load(path.read_text())
    spec = definition["spec"]
    assert definition["kind"] == "CustomResourceDefinition"
    assert spec["names"]["plural"] == path.stem
    assert definition["metadata"]["name"] == f"{path.stem}.{spec['group']}"


async def test_all_are_served_when_the_server_answers(tmp_path: Path, certificates: Path) -> None:
    async with Server(settings(tmp_path, certificates, definitions=crds.FOLDER)) as server:
        http = Http(certificates, server.ports[0])
        try:
            for path in FILES:
                spec = yaml.safe_load(path.read_text())["spec"]
                version = next(each["name"] for each in spec["versions"] if each["served"])
                found = await http.ok("GET", f"/apis/{spec['group']}/{version}/{path.stem}")
                assert found["items"] == []
        finally:
            await http.close()


async def test_another_text_replaces_what_is_stored_and_an_equal_one_changes_nothing(
    tmp_path: Path, certificates: Path
) -> None:
    folder, seen = tmp_path / "crds", []
    folder.mkdir()
    text = (crds.FOLDER / "nodepolicyreports.yaml").read_text()
    for short in ("npr", "npr", "reports"):
        (folder / "nodepolicyreports.yaml").write_text(text.replace("[npr]", f"[{short}]"))
        async with Server(settings(tmp_path / "state", certificates, definitions=folder)) as server:
            http = Http(certificates, server.ports[0])
            try:
                seen.append(await http.ok("GET", f"{CRDS}/nodepolicyreports.fairlead.dev"))
            finally:
                await http.close()
    assert [each["spec"]["names"]["shortNames"] for each in seen] == [["npr"], ["npr"], ["reports"]]
    versions = [each["metadata"]["resourceVersion"] for each in seen]
    assert versions[0] == versions[1] != versions[2]


async def test_a_faulty_file_is_named(tmp_path: Path, certificates: Path) -> None:
    folder = tmp_path / "crds"
    folder.mkdir()
    (folder / "boats.yaml").write_text("kind: [")
    with pytest.raises(UserError, match=r"boats\.yaml"):
        async with Server(settings(tmp_path / "state", certificates, definitions=folder)):
            pass
