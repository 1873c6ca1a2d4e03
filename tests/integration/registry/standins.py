"""The subset of three protocols that the registry's clients speak: a hub, MLflow's server, an OCI registry."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import Any

from integration.registry.web import Request, Web


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class HubServer(Web):
    """Commits of one repository; ``large`` files have the hash that a hub keeps for those in large file storage."""

    def __init__(self) -> None:
        super().__init__()
        self.commits: dict[str, dict[str, bytes]] = {}
        self.refs: dict[str, str] = {}
        self.claimed: dict[str, bytes] = {}

    def commit(self, files: dict[str, bytes], ref: str = "main") -> str:
        oid = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        self.commits[oid], self.refs[ref] = files, oid
        return oid

    def answer(self, request: Request) -> None:
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return request.send_json({"error": "no"}, 401)
        if request.command == "POST":
            return self._post(request)
        if found := re.fullmatch(r"/api/models/o/m/(revision|tree)/(.+)", request.route):
            return self._tell(request, found[1], found[2])
        if found := re.fullmatch(r"/o/m/resolve/([^/]+)/(.+)", request.route):
            return request.send_file(found[2], self.commits[found[1]][found[2]])
        if request.route == "/api/models/o/m/refs":
            refs = [{"name": name, "ref": name, "targetCommit": oid} for name, oid in self.refs.items()]
            return request.send_json({"branches": refs, "tags": [], "converts": []})
        return request.send_json({"error": "Repository not found"}, 404, X_Error_Code="RepoNotFound")

    def _tell(self, request: Request, what: str, revision: str) -> None:
        oid = self.refs.get(revision, revision)
        if oid not in self.commits:
            return request.send_json({"error": "Invalid rev id"}, 404, X_Error_Code="RevisionNotFound")
        if what == "revision":
            return request.send_json({"id": "o/m", "sha": oid, "siblings": [], "tags": [], "private": False})
        return request.send_json(
            [self._entry(path, self.claimed.get(path, data)) for path, data in self.commits[oid].items()]
        )

    @staticmethod
    def _entry(path: str, data: bytes) -> dict[str, Any]:
        blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        lfs = (
            {"lfs": {"oid": sha(data), "size": len(data), "pointerSize": 130}} if path.endswith(".safetensors") else {}
        )
        return {"type": "file", "path": path, "size": len(data), "oid": blob, **lfs}

    def _post(self, request: Request) -> None:
        if request.route == "/api/repos/create":
            return request.send_json({"url": f"{self.url}/o/m"})
        if request.route == "/api/validate-yaml":
            return request.send_json({"errors": [], "warnings": []})
        if "/preupload/" in request.route:
            files = json.loads(request.body)["files"]
            modes = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]
            return request.send_json({"files": modes})
        lines = [json.loads(line) for line in request.body.splitlines()]
        files = {v["path"]: base64.b64decode(v["content"]) for v in (x["value"] for x in lines if x["key"] == "file")}
        oid = self.commit(files)
        return request.send_json({"success": True, "commitOid": oid, "commitUrl": f"{self.url}/o/m/commit/{oid}"})


class OciServer(Web):
    """One repository ``team/m``. With a ``token``, it wants one, and gives it for a password."""

    def __init__(self) -> None:
        super().__init__()
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, bytes] = {}
        self.tokens = 0

    @property
    def host(self) -> str:
        return self.url.removeprefix("http://")

    def answer(self, request: Request) -> None:
        if request.route == "/token":
            return self._give_token(request)
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            realm = f'Bearer realm="{self.url}/token",service="registry",scope="repository:team/m:pull,push"'
            return request.send(401, WWW_Authenticate=realm)
        where = request.route.removeprefix("/v2/team/m/")
        kind, _, name = where.partition("/")
        if request.command == "POST":
            return request.send(202, Location="/v2/team/m/blobs/uploads/1?state=x")
        if request.command == "PUT":
            return self._put(request, kind, name)
        return self._get(request, kind, name)

    def _give_token(self, request: Request) -> None:
        self.tokens += 1
        right = request.headers.get("Authorization") == "Basic " + base64.b64encode(b"user:word").decode()
        return request.send_json({"token": self.token}) if right else request.send(401)

    def _put(self, request: Request, kind: str, name: str) -> None:
        if kind == "manifests":
            self.manifests[name] = self.manifests[f"sha256:{sha(request.body)}"] = request.body
            return request.send(201)
        if request.query["digest"] != f"sha256:{sha(request.body)}":
            return request.send(400)
        self.blobs[request.query["digest"]] = request.body
        return request.send(201)

    def _get(self, request: Request, kind: str, name: str) -> None:
        if kind == "tags":
            return request.send_json({"name": "team/m", "tags": [n for n in self.manifests if ":" not in n]})
        if kind == "manifests" and name in self.manifests:
            return request.send(200, self.manifests[name], Content_Type="application/vnd.oci.image.manifest.v1+json")
        if kind == "blobs" and name in self.blobs:
            return request.send_file(name, self.blobs[name])
        return request.send_json({"errors": [{"code": "NAME_UNKNOWN", "message": "unknown"}]}, 404)


class MlflowServer(Web):
    """Runs, artifacts that it hands out itself, and the versions of the model ``cut``."""

    ranged = False

    def __init__(self) -> None:
        super().__init__()
        self.artifacts: dict[str, bytes] = {}
        self.versions: dict[str, str] = {}

    def publish(self, files: dict[str, bytes], uri: str | None = None) -> str:
        number = str(len(self.versions) + 1)
        self.artifacts |= {f"1/r{number}/artifacts/model/{path}": data for path, data in files.items()}
        self.versions[number] = uri or f"mlflow-artifacts:/1/r{number}/artifacts/model"
        return number

    def answer(self, request: Request) -> None:
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return request.send_json({"error_code": "UNAUTHENTICATED", "message": "who?"}, 401)
        root, _, path = request.route.removeprefix("/api/2.0/").partition("mlflow-artifacts/artifacts")
        if not root:
            return self._artifact(request, path.lstrip("/"))
        documents = json.loads(request.body) if request.body else request.query
        name = root.removeprefix("mlflow/").replace("-", "_").replace("/", "_")
        method = getattr(self, f"_{name}", None)
        if method is None:
            return request.send_json({"error_code": "ENDPOINT_NOT_FOUND", "message": request.route}, 404)
        found = method(documents)
        if found is None:
            return request.send_json({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such version"}, 404)
        return request.send_json(found)

    def _artifact(self, request: Request, path: str) -> None:
        if request.command == "PUT":
            self.artifacts[path] = request.body
            return request.send_json({})
        if not path:
            return request.send_json({"files": self._list(request.query.get("path", "").rstrip("/") + "/")})
        return request.send_file(path, self.artifacts[path]) if path in self.artifacts else request.send(404)

    def _list(self, folder: str) -> list[dict[str, Any]]:
        below = {path.removeprefix(folder): data for path, data in self.artifacts.items() if path.startswith(folder)}
        files = [{"path": p, "is_dir": False, "file_size": len(d)} for p, d in below.items() if "/" not in p]
        folders = sorted({p.split("/")[0] for p in below if "/" in p})
        return [*files, *({"path": name, "is_dir": True} for name in folders)]

    def _model_versions_get_download_uri(self, asked: Any) -> Any:
        uri = self.versions.get(asked["version"])
        return None if uri is None else {"artifact_uri": uri}

    def _model_versions_create(self, asked: Any) -> Any:
        number = str(len(self.versions) + 1)
        self.versions[number] = asked["source"]
        return {"model_version": {"name": asked["name"], "version": number}}

    def _model_versions_search(self, _: Any) -> Any:
        return {"model_versions": [{"name": "cut", "version": number} for number in self.versions]}

    def _model_versions_get(self, asked: Any) -> Any:
        known = asked["version"] in self.versions
        return {"model_version": {"name": asked["name"], "version": asked["version"]}} if known else None

    def _registered_models_get(self, asked: Any) -> Any:
        return {"registered_model": {"name": asked["name"]}}

    def _registered_models_create(self, asked: Any) -> Any:
        return {"registered_model": {"name": asked["name"]}}

    def _experiments_get_by_name(self, _: Any) -> Any:
        return {"experiment": {"experiment_id": "1", "name": "matte"}}

    def _runs_create(self, _: Any) -> Any:
        info = {"run_id": "new", "run_uuid": "new", "experiment_id": "1", "status": "RUNNING"}
        return {"run": {"info": info | {"artifact_uri": "mlflow-artifacts:/1/new/artifacts"}, "data": {}}}

    def _runs_update(self, _: Any) -> Any:
        return {"run_info": {"run_id": "new", "run_uuid": "new", "experiment_id": "1", "status": "FINISHED"}}

    def _runs_get(self, _: Any) -> Any:
        return self._runs_create(None)
